#!/bin/bash
# Runs the README's shell blocks that are marked <!-- run -->, in a copy of the tree's state but a
# scratch working folder's outputs removed after: what stands there must work as it stands there.
set -euo pipefail
cd "$(dirname "$0")/.."
script=$(mktemp)
trap 'rm -f "$script" ids.txt logits.npy embeddings.npy' EXIT
awk '/^<!-- run -->$/ {marked = 1; next}
     marked && /^```sh$/ {inside = 1; marked = 0; next}
     /^```$/ {inside = 0}
     inside' README.md > "$script"
[ -s "$script" ] || { echo "run-readme.sh: README.md has no block marked to run" >&2; exit 1; }
bash -euxo pipefail "$script"
