#!/bin/sh
# Everything for one model, from the Debian package's text to the files in models/:
#   ./make_model.sh kjv-bytes
# Safe to interrupt: a second call goes on from the last checkpoint. PYTHON chooses the interpreter.
set -eu
cd "$(dirname "$0")"
python=${PYTHON:-python3}
model=$1
tokens=300
[ "$model" = kjv-bytes ] && tokens=140   # 256 logits per row: keeps the golden file below 300 kB
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
"$python" prepare.py "$model"
"$python" train.py "$model"
"$python" export.py "$model"
"$python" reference.py "../../models/$model" --text "work/$model/valid.npy" --tokens "$tokens"
"$python" evaluate.py "$model"
