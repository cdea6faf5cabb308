#!/bin/bash
# Builds the libraries for 64-bit Arm and runs their unit tests under qemu: the NEON code, and a C++
# whose char is unsigned, on a machine that has neither.
#
#   tools/neon.sh [JOBS]
#
# Our libraries' arm64 packages are downloaded with this machine's own apt sources and unpacked into
# build/neon/sysroot, not installed: the machine's packages and architectures stay as they are, and
# none of this needs root (the cross compiler and qemu do; tools/install-deps.sh neon installs them).
set -euo pipefail
cd "$(dirname "$0")/.."
jobs=${1:-$(nproc)}
sysroot=$PWD/build/neon/sysroot
packages="libhwy-dev libhwy1 libfmt-dev libfmt9 nlohmann-json3-dev libcli11-dev libzip-dev libzip4 zlib1g-dev zlib1g
  libbz2-1.0 libssl3 libxxhash-dev libkissfft-dev libkissfft-float131 libgtest-dev libgmock-dev googletest"

# A state of its own makes apt think of an arm64 machine without any packages.
fetch() {
  local scratch
  scratch=$(mktemp -d)
  # shellcheck disable=SC2064 # The folder of now.
  trap "rm -rf '$scratch'" RETURN
  mkdir -p "$scratch/state/lists/partial" "$scratch/cache/archives/partial" "$scratch/debs"
  : >"$scratch/state/status"
  local apt=(apt-get -q -o APT::Architecture=arm64 -o APT::Architectures::=arm64
    -o Dir::State="$scratch/state" -o Dir::State::status="$scratch/state/status"
    -o Dir::Cache="$scratch/cache" -o APT::Sandbox::User=)
  # shellcheck disable=SC2086 # A list on purpose.
  if ! { "${apt[@]}" update && cd "$scratch/debs" && "${apt[@]}" download $packages; } >"$scratch/log" 2>&1; then
    tail -n 20 "$scratch/log" >&2
    echo "neon.sh: the arm64 packages could not be had; see above" >&2
    return 1
  fi
  cd "$OLDPWD"
  rm -rf "$sysroot" && mkdir -p "$sysroot"
  local deb
  for deb in "$scratch"/debs/*.deb; do dpkg-deb -x "$deb" "$sysroot"; done
  echo "$packages" >"$sysroot/packages"  # Last: all of them are there.
}

if [ "$(cat "$sysroot/packages" 2>/dev/null)" != "$packages" ]; then
  echo "== fetching arm64 packages: $(echo $packages)"
  fetch
fi
cmake --preset neon >/dev/null
echo "== building for aarch64"
tests='base kernels dense pointwise conv mixers runtime io_files io_checkpoint io_tokenizer api'
# shellcheck disable=SC2086 # A list on purpose.
cmake --build --preset neon -j "$jobs" --target models_test $(printf '%s_test ' $tests)
echo "== running under qemu"
ctest --preset neon -j "$jobs" -R "^(${tests// /|})_test$"
# The whole of it, every method and tau on every golden model, takes far longer than all the rest.
GTEST_FILTER='Conformance*:*Golden*order3*' ctest --preset neon -R '^models_test$'
