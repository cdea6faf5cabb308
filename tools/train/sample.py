"""Prints a sample of an exported model with the numpy reference: python sample.py ../../models/kjv-bytes"""
import argparse

import numpy as np

from fast import Fast
from reference import Reference


def main():
    ap = argparse.ArgumentParser(description=__doc__)
    ap.add_argument("folder")
    ap.add_argument("--prompt", default="Genesis 51\n\n1 ")
    ap.add_argument("--tokens", type=int, default=500)
    ap.add_argument("--temperature", type=float, default=0.8)
    ap.add_argument("--seed", type=int, default=1)
    ap.add_argument("--fast", metavar="WORKDIR", help="sample in torch from the checkpoint in WORKDIR")
    args = ap.parse_args()
    # the direct sum would be ten times slower
    ref = Fast(args.fast) if args.fast else Reference(args.folder, direct_up_to=0)
    text = ref.vocab == 256
    ids = list(args.prompt.encode()) if text else [dict(A=7, C=8, G=9, T=10)[c] for c in args.prompt]
    rng = np.random.default_rng(args.seed)
    for _ in range(args.tokens):
        row = ref.logits(ids)[-1, :ref.vocab] / args.temperature
        if not text:
            row[:7] = row[11:] = -np.inf
        p = np.exp(row - row.max())
        ids.append(int(rng.choice(len(p), p=p / p.sum())))
    print(bytes(ids).decode("latin1") if text else "".join("ACGT"[i - 7] for i in ids))


if __name__ == "__main__":
    main()
