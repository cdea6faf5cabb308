#!/usr/bin/env python3
"""Draws docs/img/tiles.svg: how binary tiling covers the triangle of contributions.

Every small square is one contribution (input i, output t). The tiles are computed here by the
rule that the engine uses, U = r & -r, and the drawing asserts that each contribution is covered
exactly once, so the picture cannot drift from the method.

Usage: tools/draw/tiles.py > docs/img/tiles.svg
"""

LENGTH = 32
CELL = 17
LEFT, TOP = 64, 64
COLOURS = {1: "#e8e8e8", 2: "#cfdcec", 4: "#a9c4e0", 8: "#7fa8d1", 16: "#4f86bd"}


def main():
    covered = {}
    out = []
    side = LENGTH * CELL
    width, height = LEFT + side + 236, TOP + side + 30
    out.append(f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
               f'width="{width}" height="{height}" font-family="sans-serif" font-size="13">')
    out.append(f'<rect width="{width}" height="{height}" fill="#ffffff"/>')
    out.append(f'<text x="{LEFT}" y="28" font-size="16" font-weight="bold">'
               f'Binary tiling, {LENGTH} positions</text>')

    for r in range(1, LENGTH):
        u = r & -r
        columns = range(r - u, r)
        rows = range(r, min(r + u, LENGTH))
        for i in columns:
            for t in rows:
                assert (i, t) not in covered
                covered[(i, t)] = u
        x, y = LEFT + (r - u) * CELL, TOP + r * CELL
        out.append(f'<rect x="{x}" y="{y}" width="{u * CELL}" height="{len(rows) * CELL}" '
                   f'fill="{COLOURS[u]}" stroke="#ffffff" stroke-width="1.5"/>')
        if u >= 4:
            out.append(f'<text x="{x + u * CELL / 2}" y="{y + len(rows) * CELL / 2 + 5}" '
                       f'text-anchor="middle" fill="#12324f">U={u}</text>')
    for t in range(LENGTH):
        covered[(t, t)] = 0
        out.append(f'<rect x="{LEFT + t * CELL}" y="{TOP + t * CELL}" width="{CELL}" '
                   f'height="{CELL}" fill="#d5382f" stroke="#ffffff" stroke-width="1.5"/>')
    assert len(covered) == LENGTH * (LENGTH + 1) // 2, "every contribution exactly once"

    # What step 23 does: its red cell, and the tile that falls due right after (r = 24, U = 8).
    step = 23
    y = TOP + step * CELL
    out.append(f'<rect x="{LEFT + 16 * CELL}" y="{TOP + 24 * CELL}" width="{8 * CELL}" '
               f'height="{8 * CELL}" fill="none" stroke="#111111" stroke-width="2.5"/>')
    out.append(f'<rect x="{LEFT + step * CELL}" y="{y}" width="{CELL}" height="{CELL}" '
               f'fill="none" stroke="#111111" stroke-width="2.5"/>')
    note_x = LEFT + side + 14
    out.append(f'<path d="M {note_x - 6} {y + CELL / 2} L {LEFT + (step + 1) * CELL + 3} '
               f'{y + CELL / 2}" stroke="#111111" fill="none"/>')
    for line, text in enumerate(["step t = 23: one red", "cell, then the tile that", "falls due, inputs 16..23",
                                 "to outputs 24..31"]):
        out.append(f'<text x="{note_x}" y="{y + 4 + 17 * line}">{text}</text>')

    out.append(f'<text x="{LEFT + side / 2}" y="{TOP - 12}" text-anchor="middle">'
               f'input i (known once step i is done) &#8594;</text>')
    out.append(f'<text transform="translate({LEFT - 34} {TOP + side / 2}) rotate(-90)" '
               f'text-anchor="middle">&#8592; output t</text>')
    for t in range(0, LENGTH, 8):
        out.append(f'<text x="{LEFT - 8}" y="{TOP + t * CELL + 13}" text-anchor="end" '
                   f'fill="#555555">{t}</text>')
    legend_y = TOP + 6
    legend = [("#d5382f", "red cell, x[t]&#183;rho[0]")]
    legend += [(COLOURS[u], f"gray tile, U = {u}") for u in sorted(COLOURS)]
    for colour, text in legend:
        out.append(f'<rect x="{note_x}" y="{legend_y - 11}" width="14" height="14" fill="{colour}"/>'
                   f'<text x="{note_x + 22}" y="{legend_y + 1}">{text}</text>')
        legend_y += 22
    out.append("</svg>")
    print("\n".join(out))


if __name__ == "__main__":
    main()
