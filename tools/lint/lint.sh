#!/bin/bash
# What `make lint` and CI check without a compiler, in seconds; all stages run, so that one round shows
# every finding.
#
#   tools/lint/lint.sh [--tidy]
#
# --tidy adds clang-tidy-14 over everything that the dev preset builds: minutes on a fast machine, half
# an hour on a slow one, which is why it is asked for. Sources that passed are not looked at again.
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1
failed=0

stage() {
  echo "== $1"
  shift
  "$@" || failed=1
}

format() {
  local sources
  sources=$(tools/lint/sources.sh) || return 1
  xargs clang-format-14 --dry-run --Werror <<<"$sources" 2>&1 | sed -n 's/ error: code should be/ should be/p'
  return "${PIPESTATUS[0]}"
}

# clang-tidy sees what the compiler sees, so it takes a configured build; it compiles nothing.
tidy() {
  command -v clang-tidy-14 >/dev/null || { echo 'clang-tidy-14 is not installed' >&2; return 1; }
  cmake --preset dev --log-level=WARNING >/dev/null || return 1
  tools/lint/tidy.py build/dev
}

# One at a time: `bash -n a b` looks at a alone.
shells() {
  local script status=0
  for script in tools/*.sh tools/*/*.sh tests/*/*.sh bench/*.sh .ci/run; do
    bash -n "$script" || status=1
  done
  return $status
}

stage 'formatting (clang-format 14)' format
stage 'layers, sizes, links, paths' python3 -B tools/lint/check_tree.py
stage 'shell syntax' shells
[ "${1:-}" != --tidy ] || stage 'clang-tidy 14' tidy
if [ $failed -ne 0 ]; then
  echo 'lint: see the findings above; `make format` mends the formatting' >&2
  exit 1
fi
echo '== lint: nothing found'
