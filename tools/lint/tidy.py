#!/usr/bin/env python3
"""Runs clang-tidy over our sources, two at a time, and remembers those that passed.

    tools/lint/tidy.py BUILD_DIR [FILE]...

A source is looked at again only when it, a header of ours, its compile command or .clang-tidy has
changed: the stamps lie in BUILD_DIR/tidy. A clean pass over everything takes minutes, the next one
seconds.
"""

import concurrent.futures
import hashlib
import json
import os
import pathlib
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
CLANG_TIDY = "clang-tidy-14"


def headers_digest():
    """One digest for all our headers: finer would need the dependencies of each source."""
    digest = hashlib.sha256((ROOT / ".clang-tidy").read_bytes())
    for top in ("include", "src", "apps", "bench", "fuzz"):
        for header in sorted((ROOT / top).rglob("*.h")):
            digest.update(str(header.relative_to(ROOT)).encode() + header.read_bytes())
    return digest


def main():
    build = pathlib.Path(sys.argv[1]).resolve()
    only = {(ROOT / name).resolve() for name in sys.argv[2:]}
    stamps = build / "tidy"
    stamps.mkdir(exist_ok=True)
    base = headers_digest()
    jobs = []
    for entry in json.loads((build / "compile_commands.json").read_text()):
        source = pathlib.Path(entry["file"])
        if not source.is_relative_to(ROOT) or source.is_relative_to(build):
            continue
        if only and source not in only:
            continue
        digest = base.copy()
        digest.update(source.read_bytes() + entry["command"].encode())
        stamp = stamps / digest.hexdigest()
        if not stamp.exists():
            jobs.append((source, stamp))

    def check(job):
        source, stamp = job
        start = time.monotonic()
        # The flags are gcc's; what clang does not know of them is no finding.
        result = subprocess.run(
            [CLANG_TIDY, "--quiet", "-p", str(build), "--extra-arg=-Wno-unknown-warning-option",
             "--extra-arg=-Wno-everything", str(source)],
            capture_output=True, text=True,
        )  # fmt: skip
        if result.returncode == 0:
            stamp.touch()
        return source, result, time.monotonic() - start

    failed = 0
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for source, result, seconds in pool.map(check, jobs):
            name = source.relative_to(ROOT)
            if result.returncode != 0:
                failed += 1
                print(f"{name}:\n{result.stdout.strip()}\n{result.stderr.strip()}", flush=True)
            elif os.environ.get("LCSM_TIDY_TIMES"):
                print(f"   {seconds:6.1f} s  {name}", flush=True)
    print(f"   {len(jobs)} sources looked at, {failed} with findings")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
