#!/bin/sh
# Runs every fuzzer of a build for some seconds, starting from its seeds; as many at a time as there
# are processors.
#
#   tools/run-fuzzers.sh BUILD_DIR SECONDS
#
# New inputs go to BUILD_DIR/corpus, never into the source tree; a crash leaves its input there too
# and ends the run with status 1. Put that input under fuzz/corpus with the fix: it is then a test.
set -eu
build=$1
seconds=$2
root=$(cd "$(dirname "$0")/.." && pwd)

# One fuzzer; what it has to say comes in one piece.
if [ $# -eq 3 ]; then
  fuzzer=$3
  name=$(basename "$fuzzer")
  seeds="$root/fuzz/corpus/${name%_fuzzer}"
  corpus="$build/corpus/$name"
  mkdir -p "$corpus"
  # Limits low enough that a file that asks for the moon is a finding: inputs are a few kilobytes.
  "$fuzzer" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -max_len=65536 \
    -print_final_stats=1 -verbosity=0 -artifact_prefix="$corpus/" "$corpus" \
    $(test -d "$seeds" && echo "$seeds") >"$corpus.log" 2>&1 || {
    tail -n 60 "$corpus.log"
    echo "run-fuzzers: $name failed; the input lies in $corpus" >&2
    exit 255 # Ends xargs at once.
  }
  printf '== %s for %s s\n%s\n' "$name" "$seconds" "$(grep -E \
    'number_of_executed_units|new_units_added|peak_rss' "$corpus.log" | sed 's/^stat::/   /')"
  exit 0
fi

fuzzers=$(find "$build" -type f -name '*_fuzzer' -perm -u+x | sort)
if [ -z "$fuzzers" ]; then
  echo "run-fuzzers: no fuzzer under $build" >&2
  exit 1
fi
echo "$fuzzers" | xargs -P "$(nproc 2>/dev/null || echo 1)" -n 1 "$0" "$build" "$seconds" || exit 1
echo "== $(echo "$fuzzers" | wc -l) fuzzers, no finding"
