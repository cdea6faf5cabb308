#!/bin/sh
# Prints the C++ sources that the formatter and the linters look at: what git tracks or would track.
set -eu
cd "$(dirname "$0")/../.."
# Run by sudo in somebody's checkout git would refuse otherwise, and an empty list would pass as clean.
files=$(git -c safe.directory='*' ls-files --cached --others --exclude-standard -- '*.cc' '*.h' '*.hpp' '*.cpp' '*.cu' '*.cuh')
[ -n "$files" ] || { echo "sources.sh: git lists no sources here" >&2; exit 1; }
# A file removed but not yet committed is still listed.
echo "$files" | while read -r file; do
  if [ -e "$file" ]; then echo "$file"; fi
done
