#!/bin/bash
# Builds for this machine's GPU, checks, measures, within ten minutes: JSON and pictures.
#
#   bench/gpu.sh [OUTPUT_FOLDER]
#   bench/gpu.sh --pack FOLDER     # only builds; the programs and the libraries they need go to FOLDER
#   PACK=FOLDER bench/gpu.sh       # with those, on a machine that has a GPU and none of our dependencies
#
# What runs: the device tests for every GPU (mixers, models and golden logits; with SANITIZE=1 under
# compute-sanitizer as well, which takes longer), then lcsm_gpu_bench, then PyTorch as a rival where it is installed.
# Without a GPU the tests say so, and nothing is measured. GPU_SECONDS bounds the measurements (what is left of ten
# minutes), JOBS the build.
set -uo pipefail
cd "$(dirname "$0")/.."
failed=0
step() {
  local title=$1 start=$SECONDS
  shift
  echo "==== $title: $*"
  "$@" || { failed=1; echo "==== $title: FAILED"; }
  echo "==== $title: $((SECONDS - start)) s"
}

build=build/gpu
build() {
  step "configure" cmake -S . -B $build -G Ninja -DCMAKE_BUILD_TYPE=Release -DLCSM_DEVELOPER=ON -DLCSM_CUDA=ON "$@"
  step "build" cmake --build $build -j "${JOBS:-$(nproc)}" --target cuda_test lcsm_gpu_bench
  [ $failed -eq 0 ] || exit 1
}

if [ "${1:-}" = --pack ]; then
  pack=${2:?the folder to pack into}
  build
  mkdir -p "$pack"
  for program in $build/src/cuda/cuda_test $build/bench/lcsm_gpu_bench; do
    strip -o "$pack/$(basename $program)" $program
    # All but what every Linux has.
    ldd $program | awk '$2 == "=>" {print $3}' |
      grep -vE '/(libc|libm|libdl|librt|libpthread|libstdc\+\+|libgcc_s)\.so' | xargs -r -I{} cp -L {} "$pack/"
  done
  du -sh "$pack"
  exit $failed
fi

out=${1:-build/gpu-bench}
mkdir -p "$out"
out=$(cd "$out" && pwd)
# Python's own: libraries of a pack, libcrypto among them, are not for it.
theirs=${LD_LIBRARY_PATH:-}
if [ -n "${PACK:-}" ]; then
  tests=$PACK/cuda_test bench=$PACK/lcsm_gpu_bench
  # cuBLAS, cuFFT and cuDNN may be there as PyTorch's wheels alone.
  wheels=$(python3 -c 'import glob, nvidia; print(":".join(d for p in nvidia.__path__ for d in glob.glob(p + "/*/lib")))' \
    2>/dev/null)
  export LD_LIBRARY_PATH=$PACK${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}${wheels:+:$wheels}
else
  # Code for this GPU alone, so that nvcc takes half as long.
  architecture=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader 2>/dev/null | head -n 1 | tr -d .)
  build -DLCSM_CUDA_ARCHITECTURES="${architecture:-90}"
  tests=$build/src/cuda/cuda_test bench=$build/bench/lcsm_gpu_bench
fi
# Where the tests' models are: programs may have been built elsewhere.
export LCSM_SOURCE_DIR=$PWD
nvidia-smi 2>/dev/null | tee "$out/nvidia-smi.txt"

step "tests on every device" timeout 250 "$tests" --gtest_brief=1 \
  --gtest_filter='*cuda_*:CudaDevices.*:ReplayedTest.ModelsRunOneLaunchAfterAnother*' \
  --gtest_output=json:"$out/tests.json"
if [ "${SANITIZE:-0}" = 1 ]; then
  step "memory" timeout 300 compute-sanitizer --error-exitcode 9 "$tests" --gtest_brief=1 \
    --gtest_filter='*cuda_0*-*Sessions*:*RandomPlans*'
  step "races" timeout 300 compute-sanitizer --tool racecheck --error-exitcode 9 "$tests" --gtest_brief=1 \
    --gtest_filter='*TilesTest.Transforms*cuda_0*:*BlockKernels*cuda_0*'
fi
step "quick measurements" timeout 100 "$bench" "$out/quick" --quick
if [ $failed -eq 0 ]; then
  rival=false
  LD_LIBRARY_PATH=$theirs python3 -c 'import torch, sys; sys.exit(not torch.cuda.is_available())' 2>/dev/null && rival=true
  # Ten minutes in all: what is left of them, but for the rival's share. No case begins in the last of it.
  left=$((590 - SECONDS))
  $rival && left=$((left - 100))
  seconds=${GPU_SECONDS:-$((left > 120 ? left - 60 : 60))}
  step "measurements" timeout $((seconds + 60)) "$bench" "$out" --seconds "$seconds"
  if $rival; then
    for setting in mixers synthetic; do
      step "PyTorch, $setting" timeout 50 env LD_LIBRARY_PATH="$theirs" python3 bench/rivals/torch_gpu.py \
        --setting $setting --seconds 15 --json "$out/torch-$setting.json"
    done
  else
    echo "PyTorch with CUDA is not installed: no rival"
  fi
fi
exit $failed
