#!/bin/bash
# Installs a finished build into a scratch prefix, then builds and runs an outside project against it,
# and the installed command with a model found beside it.
#
#   tests/consumer/run.sh BUILD_DIR
set -euo pipefail
build=$(realpath "$1")
here=$(cd "$(dirname "$0")" && pwd)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
# The build's own environment must not leak in: the package has to stand alone.
unset DESTDIR CMAKE_PREFIX_PATH lcsm_DIR lcsm_ROOT LCSM_MODELS

quietly() {
  "$@" >"$scratch/log" 2>&1 || { cat "$scratch/log" >&2; echo "consumer: '$*' failed; see above" >&2; exit 1; }
}

expect() {
  [ "$2" = "$3" ] || { echo "consumer: $1 printed '$2', expected '$3'" >&2; exit 1; }
}

prefix=$scratch/prefix
quietly cmake --install "$build" --prefix "$prefix"
quietly cmake -S "$here" -B "$scratch/build" -G Ninja -DCMAKE_PREFIX_PATH="$prefix"
quietly cmake --build "$scratch/build"

# What stands in the package files must be true on every machine.
if grep -rl -e "$build" -e "$scratch" "$prefix/lib" --include='*.cmake'; then
  echo "consumer: the package files above name folders of this build" >&2
  exit 1
fi

# A copy elsewhere, the sources out of sight: nothing may depend on where it was installed.
mv "$prefix" "$scratch/elsewhere"
prefix=$scratch/elsewhere
cd /
expect 'the convolution' "$("$scratch/build/consumer")" '1 0.5 0.25 0'
expect 'the model' "$("$scratch/build/consumer" "$prefix/share/lcsm/models/kjv-bytes")" $'1 0.5 0.25 0\nhyena'
"$prefix/bin/lcsm" generate --prompt Amen --max-new-tokens 5 --quiet >"$scratch/text"
[ -s "$scratch/text" ] || { echo 'consumer: the installed lcsm generated nothing' >&2; exit 1; }
for file in bash-completion/completions/lcsm zsh/site-functions/_lcsm fish/vendor_completions.d/lcsm.fish \
  man/man1/lcsm.1 doc/lcsm/LICENSE; do
  [ -s "$prefix/share/$file" ] || { echo "consumer: share/$file was not installed" >&2; exit 1; }
done
echo "consumer: installed, found, linked and run"
