#!/bin/bash
# Installs lcsm into a scratch prefix, then builds and runs an outside project against it and the
# installed command with a model found beside it.
set -euo pipefail
cd "$(dirname "$0")/../.."
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
make install PREFIX="$scratch/prefix" > "$scratch/install.log" || { cat "$scratch/install.log"; exit 1; }
cmake -S tests/consumer -B "$scratch/build" -G Ninja -DCMAKE_PREFIX_PATH="$scratch/prefix" > "$scratch/configure.log" \
  || { cat "$scratch/configure.log"; exit 1; }
cmake --build "$scratch/build"
answer=$("$scratch/build/consumer" "$scratch/prefix/share/lcsm/models/kjv-bytes")
[ "$answer" = "1 0.5 0.25 0 
hyena" ] || { echo "the consumer printed: $answer" >&2; exit 1; }
[ -n "$("$scratch/prefix/bin/lcsm" generate --prompt Amen --max-new-tokens 5 --quiet)" ]
test -f "$scratch/prefix/share/bash-completion/completions/lcsm"
echo "1 passed, 0 failed"
