#!/bin/bash
# Every figure of the README, with the answers checked first. Wants an idle machine.
# Usage: tools/bench.sh LCSM [OUTPUT_FOLDER]
set -euo pipefail
lcsm=$1
out=${2:-build/bench}
mkdir -p "$out"
run() { echo; echo "\$ $*"; "$@"; }

run "$lcsm" bench tiles --json "$out/tiles.json"
run "$lcsm" bench mixer --channels 256 --lengths 4096,16384,65536 --methods lazy,eager,paper \
  --taus direct,direct-blocked,fft-library,fft-fused,hybrid --repeats 5 \
  --json "$out/mixer.json" --svg "$out/mixer-cost.svg"
run "$lcsm" bench mixer --mixers 8 --channels 256 --lengths 16384 --methods paper --threads 1,2 \
  --repeats 9 --json "$out/threads.json"
run "$lcsm" bench model --shape hyenadna-large-1m --at 1024,65536 --threads 1 --steps 512 \
  --json "$out/model-1.json"
run "$lcsm" bench model --shape hyenadna-large-1m --at 1024,65536 --threads 2 --steps 512 \
  --json "$out/model-2.json"
for rival in fftw avtx; do
  [ -x "build/fftw/bench/rival_$rival" ] || continue
  for length in 4096 16384 65536; do run "build/fftw/bench/rival_$rival" 256 "$length" 32; done
done
