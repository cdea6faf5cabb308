#!/usr/bin/env python3
"""Checks of the tree that need no compiler: layers, file sizes, links, paths of one machine.

Prints one line per finding, FILE:LINE: SENTENCE, and ends with status 1 if there is any; files that
begin to be long are noted without counting as findings. The build already refuses a layer that
links upwards; this also catches what it cannot see, such as "../" includes, and does so in a second.
"""

import os
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]

# Bottom to top, as in CMakeLists.txt. Folders of equal rank do not see each other.
RANKS = {
    "base": 0,
    "kernels": 1,
    "io": 1,
    "conv": 2,
    "mixers": 3,
    "runtime": 4,
    "models": 5,
    "cuda": 6,
    "api": 7,
    "bench": 7,
}
MAX_LINES = 600
LONG_LINES = 450  # Worth a note: the next feature should not go there.

# SIMD types and intrinsics belong into -inl.h and .cc files: a plain header is compiled once, for no
# target in particular, and whoever includes it must not need Highway.
SIMD = re.compile(r"\b(HWY_\w+|hwy::|hn::|__m(128|256|512)\w*|_mm\d*_\w+|immintrin\.h|arm_neon\.h)|hwy/")

# Paths that exist on somebody's machine only, and hosts of package registries: both belong into the
# configuration of a machine, not into the project. Written so that this file does not match itself.
FORBIDDEN = [
    (r"(?<![\w.])/(w[o]rk|f[a]rm|r[o]ot|h[o]me)/\w", "a path of one machine"),
    (r"\.l[i]brary/", "a path of one machine"),
    (r"\b(deb\.d[e]bian\.org|snapshot\.d[e]bian\.org|p[y]pi\.org|p[y]thonhosted\.org)\b", "a package registry's host"),
    (r"\b(registry\.n[p]mjs\.org|static\.cr[a]tes\.io|proxy\.g[o]lang\.org)\b", "a package registry's host"),
]
TEXT_SUFFIXES = {
    ".c", ".cc", ".cmake", ".cpp", ".css", ".cu", ".cuh", ".fish", ".h", ".hpp", ".html", ".in", ".json", ".md", ".py", ".sh",
    ".svg", ".txt", ".yml", ".yaml", ".bash", ".1", "",
}  # fmt: skip

findings = []


def report(path, line, sentence):
    findings.append(f"{path}:{line}: {sentence}")


def tracked_files():
    listing = subprocess.run(
        ["git", "-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, check=True, capture_output=True,
    ).stdout.decode()  # fmt: skip
    return [name for name in listing.split("\0") if name and (ROOT / name).is_file()]


def layer_of(path):
    parts = pathlib.PurePath(path).parts
    if parts[0] == "src" and len(parts) > 2:
        return parts[1]
    return "bench" if parts[0] == "bench" else None


def check_simd(path, lines):
    # The second holds macros that must come before Highway's headers, and nothing else.
    if path.endswith("-inl.h") or path == "src/base/simd_targets.h":
        return
    for number, line in enumerate(lines, 1):
        code = line.split("//")[0]
        if match := SIMD.search(code):
            report(path, number, f"{match.group(0)} in a plain header; SIMD stays in -inl.h and .cc files")


def check_includes(path, lines):
    own = layer_of(path)
    public = path.startswith("include/")
    for number, line in enumerate(lines, 1):
        match = re.match(r'\s*#\s*include\s*([<"])([^>"]+)[>"]', line)
        if not match:
            continue
        bracket, name = match.groups()
        if ".." in pathlib.PurePath(name).parts:
            report(path, number, f"{name} climbs out of its folder; include it as \"layer/file.h\"")
            continue
        head = name.split("/")[0] if "/" in name else None
        if bracket == "<":
            if head == "lcsm" or head in RANKS and (ROOT / "src" / name).exists():
                report(path, number, f"{name} is ours; include it with quotes")
            continue
        if public:
            if head != "lcsm":
                report(path, number, f"a public header includes {name}, which is not installed")
        elif path.startswith(("examples/", "tests/consumer/")):
            if head != "lcsm":
                report(path, number, f"programs of users see lcsm/ headers alone, not {name}")
        elif head == "lcsm":
            pass
        elif head in RANKS:
            if own is not None and head != own and RANKS[head] >= RANKS[own]:
                report(path, number, f"{own} includes {name} of {head}, which is not below it")
        elif own is not None and head is None:
            # A bare name hides which layer it comes from.
            report(path, number, f"include {name} as \"{own}/{name}\"")


def check_length(path, lines):
    if len(lines) > MAX_LINES:
        report(path, len(lines), f"{len(lines)} lines; look for the seam, the limit is {MAX_LINES}")
    elif len(lines) > LONG_LINES:
        print(f"   note: {path} has {len(lines)} lines, the limit is {MAX_LINES}")


def check_forbidden(path, lines):
    for number, line in enumerate(lines, 1):
        for pattern, what in FORBIDDEN:
            if match := re.search(pattern, line):
                report(path, number, f"{match.group(0)} is {what}")


def anchors_of(markdown):
    """The anchors that the usual renderers give to a page's headings."""
    anchors = set()
    for line in without_code(markdown):
        if match := re.match(r"#{1,6}\s+(.*?)\s*#*$", line):
            text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", match.group(1)).lower()
            anchor = re.sub(r"[^\w\- ]", "", text.replace("`", "")).replace(" ", "-")
            copies = sum(1 for other in anchors if re.fullmatch(re.escape(anchor) + r"(-\d+)?", other))
            anchors.add(f"{anchor}-{copies}" if copies else anchor)
    return anchors


def without_code(lines):
    """The lines with fenced and inline code blanked, so that line numbers stay."""
    fence = None
    for line in lines:
        marker = re.match(r"\s*(```+|~~~+)", line)
        if fence is None and marker:
            fence = marker.group(1)
            yield ""
        elif fence is not None:
            if marker and marker.group(1).startswith(fence):
                fence = None
            yield ""
        else:
            yield re.sub(r"`[^`]*`", "", line) if not line.startswith("#") else line


def check_links(path, lines):
    """Reports dead links; returns the files of ours that the page points to."""
    ours = []
    for number, line in enumerate(without_code(lines), 1):
        targets = re.findall(r"\]\(\s*<?([^)\s>]+)", line) + re.findall(r'(?:src|href)="([^"]+)"', line)
        targets += re.findall(r"^\[[^\]]+\]:\s*(\S+)", line)
        for target in targets:
            if re.match(r"[a-z][a-z0-9+.-]*:", target):
                continue  # The outside world; not checked, so that lint needs no network.
            file, _, anchor = target.partition("#")
            destination = (ROOT / path).parent / file if file else ROOT / path
            if not destination.exists():
                report(path, number, f"{target} leads nowhere")
            elif os.path.relpath(destination.resolve(), ROOT).startswith(".."):
                report(path, number, f"{target} leads out of the repository")
            else:
                ours.append(os.path.relpath(destination.resolve(), ROOT))
            if anchor and destination.exists() and destination.suffix == ".md":
                if anchor not in anchors_of(destination.read_text().splitlines()):
                    report(path, number, f"{target}: the page has no such heading")
    return ours


def check_reachable(pages, links):
    """Every page is a few links from the README; `links`: page -> the files it points to."""
    seen, todo = set(), ["README.md"]
    while todo:
        page = todo.pop()
        if page not in seen:
            seen.add(page)
            todo += links.get(page, ())
    # Pages beside data and scripts are found by whoever stands before those.
    for page in sorted(pages - seen):
        if page.startswith("docs/") or "/" not in page:
            report(page, 1, "no page leads here from README.md")


def main():
    pages, links = set(), {}
    for path in tracked_files():
        suffix = pathlib.PurePath(path).suffix
        if suffix not in TEXT_SUFFIXES or path.startswith(("tests/data/", "fuzz/corpus/")):
            continue
        try:
            lines = (ROOT / path).read_text(encoding="utf-8").splitlines()
        except UnicodeDecodeError:
            report(path, 1, "is not UTF-8")
            continue
        # The licence is quoted whole, and tables that a script wrote are read by nobody.
        generated = any("generated by tools/" in line.lower() for line in lines[:5])
        if suffix in {".cc", ".h", ".hpp", ".cpp", ".cu", ".cuh"}:
            check_includes(path, lines)
        if suffix in {".cc", ".h", ".hpp", ".cpp", ".cu", ".cuh", ".py", ".cmake", ".sh"} and not generated:
            check_length(path, lines)
        if suffix in {".h", ".hpp"}:
            check_simd(path, lines)
        if suffix == ".md":
            pages.add(path)
            links[path] = check_links(path, lines)
        check_forbidden(path, lines)
    check_reachable(pages, links)
    for finding in findings:
        print(finding)
    if findings:
        sys.exit(1)


if __name__ == "__main__":
    main()
