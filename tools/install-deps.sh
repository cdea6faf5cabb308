#!/bin/sh
# Installs what the build needs and the machine lacks, from Debian's packages.
#
# Usage: tools/install-deps.sh build|test|lint|tidy|fuzz|fftw|neon ...
# Works as root, through sudo, or as a user who may use sudo. Says what it installs; says nothing
# when nothing is missing. POSIX sh: on a bare machine there is nothing else yet.
set -eu

packages=""
for set in "$@"; do
  case $set in
    build) packages="$packages g++ cmake ninja-build pkg-config libhwy-dev libfmt-dev
             nlohmann-json3-dev libcli11-dev libzip-dev zlib1g-dev libxxhash-dev libkissfft-dev" ;;
    test) packages="$packages libgtest-dev libgmock-dev python3" ;;
    lint) packages="$packages git clang-format-14 python3" ;;
    tidy) packages="$packages git clang-format-14 clang-tidy-14 python3" ;;
    fuzz) packages="$packages clang libclang-rt-14-dev" ;;
    fftw) packages="$packages libfftw3-dev libavutil-dev" ;;
    neon) packages="$packages cmake ninja-build pkg-config g++-aarch64-linux-gnu qemu-user" ;;
    *) echo "install-deps.sh: unknown set \"$set\", expected build, test, lint, tidy, fuzz, fftw or neon" >&2; exit 2 ;;
  esac
done

missing=""
for package in $packages; do
  case " $missing " in *" $package "*) continue ;; esac
  status=$(dpkg-query -W -f='${Status}' "$package" 2>/dev/null || true)
  [ "$status" = "install ok installed" ] || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

if ! command -v apt-get >/dev/null 2>&1; then
  echo "install-deps.sh: this is not a Debian system; please install the likes of:$missing" >&2
  exit 1
fi
sudo=""
if [ "$(id -u)" -ne 0 ]; then
  if ! command -v sudo >/dev/null 2>&1; then
    echo "install-deps.sh: missing packages; run as root: apt-get install$missing" >&2
    exit 1
  fi
  sudo="sudo"
fi

echo "Installing:$missing"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
run() { # Mirrors hiccup: three tries. The log is shown only if all fail.
  for try in 1 2 3; do
    if $sudo env DEBIAN_FRONTEND=noninteractive "$@" >"$log" 2>&1 </dev/null; then return 0; fi
    [ "$try" = 3 ] || sleep $((5 * try))
  done
  tail -n 20 "$log" >&2
  echo "install-deps.sh: '$*' failed three times; see above" >&2
  return 1
}
run apt-get -q update
# shellcheck disable=SC2086 — a list on purpose.
run apt-get -q -y --no-install-recommends install $missing
