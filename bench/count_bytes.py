#!/usr/bin/env python3
"""What a cache fetches while online convolutions run, beside what `lcsm bench bytes` counts from their plans.

    bench/count_bytes.py --lcsm build/release/bin/lcsm [--lengths 1024,4096] [--cache 262144,16,64]

The cache is simulated by valgrind's cachegrind (Debian's package `valgrind`): of the processes of one and of three passes, the
difference is that of two passes, without start, plan and filters. A simulator counts lines that are fetched, whether for reading or
for writing, and no lines written back, so what is counted is shown without the second half of read-modify-write outputs.
"""
import argparse
import json
import os
import re
import subprocess
import tempfile


def fetched(arguments, case, passes):
    """Lines fetched into the last level by a whole process."""
    with tempfile.TemporaryDirectory() as scratch:
        command = ["valgrind", "--tool=cachegrind", "--cache-sim=yes", f"--LL={arguments.cache}", f"--D1={arguments.first}",
                   f"--cachegrind-out-file={scratch}/out", arguments.lcsm, *case, "--passes", str(passes)]
        # valgrind knows no AVX-512.
        done = subprocess.run(command, capture_output=True, text=True, env=dict(os.environ, LCSM_SIMD="avx2"), check=False)
    if done.returncode != 0:
        raise SystemExit(f"count_bytes: {' '.join(command)} failed:\n{done.stderr}")
    found = re.search(r"LLd misses:\s+([\d,]+)", done.stderr)
    return int(found.group(1).replace(",", ""))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lcsm", required=True)
    parser.add_argument("--methods", default="lazy,eager,paper,planned")
    parser.add_argument("--batches", default="1,4")
    parser.add_argument("--lengths", default="1024,4096")
    parser.add_argument("--channels", default="64")
    parser.add_argument("--cache", default="262144,16,64", help="bytes, ways, line of the simulated last level")
    parser.add_argument("--first", default="32768,8,64", help="the same of the first level")
    arguments = parser.parse_args()
    line = int(arguments.cache.split(",")[2])
    print(f"bytes a token and channel; {arguments.channels} channels, a cache of {arguments.cache}")
    print(f"{'method':>8} {'batch':>5} {'length':>7} {'counted':>9} {'fetched':>9} {'ratio':>6} {'set KiB':>8}")
    for method in arguments.methods.split(","):
        for batch in arguments.batches.split(","):
            for length in arguments.lengths.split(","):
                with tempfile.TemporaryDirectory() as scratch:
                    answer = os.path.join(scratch, "answer.json")
                    case = ["bench", "bytes", "--count-only", "--quiet", "--threads", "1", "--methods", method, "--batches", batch,
                            "--lengths", length, "--channels", arguments.channels]
                    subprocess.run([arguments.lcsm, *case, "--json", answer], check=True, stdout=subprocess.DEVNULL)
                    with open(answer, encoding="utf-8") as file:
                        row = json.load(file)["results"][0]
                cells = int(batch) * int(length) * int(arguments.channels)
                counted = row["bytes"] - row["output_bytes"] / 2
                moved = (fetched(arguments, case, 3) - fetched(arguments, case, 1)) / 2 * line / cells
                print(f"{method:>8} {batch:>5} {length:>7} {counted:9.1f} {moved:9.1f} {moved / counted:6.2f} "
                      f"{row['working_set_bytes'] / 1024:8.0f}", flush=True)


if __name__ == "__main__":
    main()
