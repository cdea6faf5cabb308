#!/bin/sh
# What `make demo` shows once lcsm is built: the model in the box writes, and lcsm says on stderr
# what it measured.
#
#   tools/demo.sh PATH/TO/lcsm
set -eu
lcsm=$1
prompt='And it came to pass in those days, that'

echo
echo "== the model in the box (models/kjv-bytes: a Hyena on the bytes of the King James Bible) writes:"
echo "   $lcsm generate --prompt '$prompt' --max-new-tokens 800 --temperature 0.7 --top-p 0.95 --seed 7"
echo
printf '%s' "$prompt"
"$lcsm" generate --prompt "$prompt" --max-new-tokens 800 --temperature 0.7 --top-p 0.95 --seed 7
echo
cat <<NEXT
== what to try next
   $lcsm generate --prompt 'In the beginning' --seed 1        another text; --seed changes it
   $lcsm generate --model ecoli-hyenadna --prompt ACGT --max-new-tokens 200
   $lcsm generate --prompt 'Behold' --method lazy --max-new-tokens 4000     the slow way, to compare
   $lcsm inspect                                              what a model is and what memory it needs
   $lcsm bench mixer                                          the convolution alone, all methods
   make install                                               lcsm, its models and its library
NEXT
