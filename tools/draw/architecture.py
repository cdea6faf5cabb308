#!/usr/bin/env python3
"""Draws docs/img/architecture.svg: the layers, and who owns what while a model runs.

The arrows between layers are not drawn from memory: they are read from the lcsm_layer() calls of
the build, less those that follow from others. A layer that is missing here, or a dependency that
would point upwards or sideways, ends the script with an error, so the picture cannot drift.

Usage: tools/draw/architecture.py > docs/img/architecture.svg
"""

import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]

# name: (row from the bottom, first column, columns, what it is)
LAYERS = {
    "base": (0, 0, 2, "aligned buffers, thread pool, facts about the CPU"),
    "kernels": (1, 0, 1, "SIMD kernels, scalar twins"),
    "io": (1, 1, 1, "files, checkpoints, tokenizers"),
    "conv": (2, 0, 1, "online convolution: plans, tiles"),
    "mixers": (3, 0, 1, "gated long convolution, short FIR"),
    "runtime": (3, 1, 1, "Model interface, sampling, texts"),
    "models": (4, 0, 2, "one family each: config, weights, filters, order of blocks"),
    "cuda": (5, 0, 1, "models on GPUs"),
    "api": (6, 0, 1, "what the public headers promise"),
    "bench": (6, 1, 1, "timings of answers checked first"),
    "apps/cli": (7, 0, 2, "the lcsm command"),
}
COLUMN, GAP_X, BOX, PITCH = 226, 24, 50, 78
LEFT, TOP = 92, 62
BLUE, SAND, GREY = "#dbe7f3", "#fbe9cf", "#eeeeee"
INK, SOFT, LINE = "#12324f", "#555555", "#4f86bd"


def read_dependencies():
    """Layer -> the layers it links directly, from the build files."""
    found = {}
    for folder in sorted((ROOT / "src").iterdir()) + [ROOT / "bench"]:
        build = folder / "CMakeLists.txt"
        if not build.exists():
            continue
        text = re.sub(r"#.*", "", build.read_text())
        for call in re.findall(r"lcsm_layer\(([^)]*)\)", text):
            name = re.search(r"NAME\s+(\S+)", call).group(1)
            deps = re.search(r"\bDEPS((?:\s+(?!LIBS\b|SOURCES\b)\S+)*)", call)
            found[name] = set(deps.group(1).split()) if deps else set()
    command = (ROOT / "apps/cli/CMakeLists.txt").read_text()
    links = re.search(r"target_link_libraries\(lcsm_cli([^)]*)\)", command).group(1)
    found["apps/cli"] = set(re.findall(r"lcsm_(\w+)", links)) - {"cli", "flags", "public"}
    return found


def below(name, dependencies):
    """All layers that `name` reaches, directly or not."""
    reached = set()
    for dep in dependencies[name]:
        reached |= {dep} | below(dep, dependencies)
    return reached


def reduced(dependencies):
    """The arrows worth drawing: those that no other arrow implies."""
    return sorted((name, dep) for name, deps in dependencies.items() for dep in deps
                  if not any(dep in below(other, dependencies) for other in deps if other != dep))


class Canvas:
    def __init__(self, width, height):
        self.out = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
            f'width="{width}" height="{height}" font-family="sans-serif" font-size="13">',
            f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
            '<defs><marker id="tip" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" '
            f'markerHeight="7" orient="auto"><path d="M 0 0 L 10 5 L 0 10 z" fill="{LINE}"/>'
            '</marker></defs>',
        ]

    def text(self, x, y, text, size=13, weight="normal", fill=INK, anchor="start", turn=None):
        place = f'x="{x}" y="{y}"' if turn is None else f'transform="translate({x} {y}) rotate({turn})"'
        self.out.append(f'<text {place} font-size="{size}" font-weight="{weight}" fill="{fill}" '
                        f'text-anchor="{anchor}">{text}</text>')

    def box(self, x, y, width, height, fill, stroke=LINE, dash=""):
        dashes = f' stroke-dasharray="{dash}"' if dash else ""
        self.out.append(f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="5" '
                        f'fill="{fill}" stroke="{stroke}" stroke-width="1.3"{dashes}/>')

    def arrow(self, x0, y0, x1, y1):
        self.out.append(f'<path d="M {x0} {y0} L {x1} {y1}" stroke="{LINE}" stroke-width="1.6" '
                        'fill="none" marker-end="url(#tip)"/>')

    def print(self):
        print("\n".join(self.out + ["</svg>"]))


def place(name):
    row, column, columns, _ = LAYERS[name]
    x = LEFT + column * (COLUMN + GAP_X)
    y = TOP + (max(r for r, *_ in LAYERS.values()) - row) * PITCH
    return x, y, columns * COLUMN + (columns - 1) * GAP_X


def draw_layers(canvas, dependencies):
    canvas.text(LEFT - 62, 30, "Layers", size=16, weight="bold")
    canvas.text(LEFT + 6, 30, "an arrow: links, may include; nothing points up", fill=SOFT)
    height = place("base")[1] + BOX - TOP
    canvas.box(LEFT - 62, TOP, 40, height, GREY, "#999999")
    canvas.text(LEFT - 37, TOP + height / 2, "include/lcsm: public headers, open to all layers",
                anchor="middle", turn=-90)
    for name, dep in reduced(dependencies):
        x0, y0, w0 = place(name)
        x1, y1, w1 = place(dep)
        # Straight down where the boxes overlap, else from one middle to the other.
        first, last = max(x0, x1), min(x0 + w0, x1 + w1)
        if first < last:
            canvas.arrow((first + last) / 2, y0 + BOX, (first + last) / 2, y1 - 1)
        else:
            canvas.arrow(x0 + w0 / 5, y0 + BOX, x1 + w1 * 4 / 5, y1 - 1)
    for name, (_, _, _, line) in LAYERS.items():
        x, y, width = place(name)
        canvas.box(x, y, width, BOX, BLUE)
        title = name if "/" in name or name == "bench" else f"src/{name}"
        canvas.text(x + 10, y + 19, title, weight="bold")
        canvas.text(x + 10, y + 38, line, size=12)


# (title, lines) from top to bottom.
SHARED = [
    ("Model", ["weights bound and checked; made once per folder",
               "WeightSet: the mapped safetensors files"]),
    ("PreparedModel", ["for one length and plan; shared by sessions",
                       "FilterBank: taps &#183; TileOp: spectra of one level",
                       "PreparedConvolution: plan, bank and tile ops"]),
]
MOVING = [
    ("ModelState", ["one sequence: FIR tails, activations, position",
                    "OnlineConvolution: histories, tiles' scratch"]),
    ("Generator", ["one text: sampler, stop texts, pending tokens"]),
]


def draw_owners(canvas):
    x, width, y = LEFT + 2 * COLUMN + GAP_X + 56, 350, TOP
    canvas.text(x, 30, "Who owns what", size=16, weight="bold")
    last = None
    for title, parts, fill in (("immutable, shared by threads", SHARED, BLUE),
                               ("moves; one thread at a time", MOVING, SAND)):
        height = 22 + sum(53 + 18 * len(lines) for _, lines in parts)
        canvas.box(x, y, width, height, "#ffffff", "#999999", "5 4")
        canvas.text(x + 12, y + 21, title, fill=SOFT)
        inner = y + 32
        for name, lines in parts:
            box = 31 + 18 * len(lines)
            canvas.box(x + 12, inner, width - 24, box, fill)
            canvas.text(x + 24, inner + 19, name, weight="bold")
            for k, line in enumerate(lines):
                canvas.text(x + 24, inner + 38 + 18 * k, line, size=12)
            if last is not None:
                canvas.arrow(x + width - 60, inner, x + width - 60, last + 1)
            last = inner + box
            inner += box + 22
        y += height + 18
    canvas.box(x, y, width, 50, GREY, "#999999")
    canvas.text(x + 24, y + 20, "ThreadPool", weight="bold")
    canvas.text(x + 24, y + 39, "lent to states; one ParallelFor at a time", size=12)
    canvas.text(x, y + 70, "an arrow: keeps alive, or must not outlive", fill=SOFT)


def main():
    dependencies = read_dependencies()
    for name, deps in dependencies.items():
        for dep in deps:
            if name not in LAYERS or dep not in LAYERS:
                sys.exit(f"architecture.py: {name} -> {dep} is not in the drawing")
            if LAYERS[dep][0] >= LAYERS[name][0]:
                sys.exit(f"architecture.py: {name} -> {dep} does not point down")
    missing = sorted(set(LAYERS) - set(dependencies))
    if missing:
        sys.exit(f"architecture.py: drawn, but not in the build: {', '.join(missing)}")
    canvas = Canvas(LEFT + 2 * COLUMN + GAP_X + 56 + 350 + 30, place("base")[1] + BOX + 30)
    draw_layers(canvas, dependencies)
    draw_owners(canvas)
    canvas.print()


if __name__ == "__main__":
    main()
