"""Held-out figures of an exported model and of Markov models on the same split: python evaluate.py kjv-bytes

The model side runs the numpy reference in float64, or with --fast the training code in float32. Every
held-out piece is scored on its own: windows of 8192 tokens advance by 4096 and only the new part of each counts, so that a token has between 4096 and
8191 tokens of context, or all that its piece offers. The first token of a piece is not scored.
Results go to evaluation.json in the model folder.
"""
import argparse
import json
import math
import os

import numpy as np

from fast import Fast
from presets import PRESETS
from reference import Reference

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))


def pieces_of(work):
    valid = np.load(os.path.join(work, "valid.npy")).astype(np.int64)
    lengths = json.load(open(os.path.join(work, "data.json")))["valid_piece_lengths"]
    return np.split(valid, np.cumsum(lengths)[:-1])


def model_bits(ref, pieces, window, stride):
    total, count = 0.0, 0
    for piece in pieces:
        done = 1
        for start in range(0, len(piece), stride):
            ids = piece[start:start + window]
            if start + len(ids) <= done:
                break
            logits = ref.logits(ids[:-1])[:, :ref.vocab]
            m = logits.max(-1, keepdims=True)
            logp = logits - m - np.log(np.exp(logits - m).sum(-1, keepdims=True))
            new = np.arange(done - start, len(ids))
            total -= logp[new - 1, ids[new]].sum()
            count += len(new)
            done = start + len(ids)
    return total / count / math.log(2), count


class Markov:
    """p_k(s | context) = (n(context, s) + a_k p_(k-1)(s)) / (n(context) + a_k), down to the uniform p_(-1).

    The a_k are chosen one after another on a slice of the training text that is left out for the purpose.
    """

    def __init__(self, streams, symbols, order):
        self.base = symbols
        self.tables = []
        for k in range(order + 1):
            keys = np.concatenate([self.keys(s, k) for s in streams])
            full, n = np.unique(keys, return_counts=True)
            ctx, first = np.unique(full // symbols, return_index=True)
            self.tables.append((full, n, ctx, np.add.reduceat(n, first)))

    def keys(self, s, k):
        """The last k symbols and the one they lead to, as one number, for every position from k on."""
        s = s.astype(np.uint64)
        key = np.zeros(len(s) - k, dtype=np.uint64)
        for j in range(k + 1):
            key = key * np.uint64(self.base) + s[j:len(s) - k + j]
        return key

    def counts(self, s, k):
        full, n, ctx, total = self.tables[k]
        key = self.keys(s, k)
        out = []
        for want, have, c in ((key, full, n), (key // np.uint64(self.base), ctx, total)):
            i = np.minimum(np.searchsorted(have, want), len(have) - 1)
            out.append(np.where(have[i] == want, c[i], 0))
        return out

    def mix(self, below, s, k, a):
        p = below.copy()
        both, alone = self.counts(s, k)
        p[k:] = (both + a * below[k:]) / (alone + a)
        return p

    @staticmethod
    def bits(ps):
        return -np.log2(np.concatenate([p[1:] for p in ps])).mean()


def markov_table(train, pieces, symbols, order, both_strands):
    def strands(s):
        return [s, symbols - 1 - s[::-1]] if both_strands else [s]

    # every 20th block of 20 000 training tokens serves to choose the a_k
    blocks = np.split(train, range(20000, len(train), 20000))
    dev = [b for i, b in enumerate(blocks) if i % 20 == 5]
    rest = np.concatenate([b for i, b in enumerate(blocks) if i % 20 != 5])
    m = Markov(strands(rest), symbols, order)
    chosen, ps = [], [np.full(len(d), 1 / symbols) for d in dev]
    for k in range(order + 1):
        best = None
        for a in 2.0 ** np.arange(-2, 13):
            q = [m.mix(p, d, k, a) for p, d in zip(ps, dev)]
            if best is None or m.bits(q) < best[0]:
                best = (m.bits(q), a, q)
        chosen.append(best[1])
        ps = best[2]
    m = Markov(strands(train), symbols, order)
    rows, ps = [], [np.full(len(d), 1 / symbols) for d in pieces]
    for k in range(order + 1):
        ps = [m.mix(p, d, k, chosen[k]) for p, d in zip(ps, pieces)]
        rows.append(dict(order=k, a=float(chosen[k]), bits=float(m.bits(ps))))
        print(rows[-1], flush=True)
    return rows


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    ap.add_argument("model", choices=PRESETS)
    ap.add_argument("--work", default=os.path.join(HERE, "work"))
    ap.add_argument("--models", default=os.path.join(ROOT, "models"))
    ap.add_argument("--only", choices=["model", "markov"])
    ap.add_argument("--fast", action="store_true",
                    help="float32 in torch from the checkpoint, not numpy from the files")
    args = ap.parse_args()
    work, out = (os.path.join(d, args.model) for d in (args.work, args.models))
    path = os.path.join(out, "evaluation.json")
    result = json.load(open(path)) if os.path.exists(path) else {}
    pieces = pieces_of(work)
    if args.only != "model":
        train = np.load(os.path.join(work, "train.npy")).astype(np.int64)
        if PRESETS[args.model]["data"] == "ecoli":
            # ids 7..10 -> 0..3; no other letter occurs in this genome
            result["markov"] = markov_table(train - 7, [p - 7 for p in pieces], 4, 12, True)
        else:
            result["markov"] = markov_table(train, pieces, 256, 6, False)
    if args.only != "markov":
        ref = Fast(work) if args.fast else Reference(out, direct_up_to=0)
        result["arithmetic"] = "float32 torch" if args.fast else "float64 numpy"
        for window, stride in ((8192, 4096), (1024, 512)):
            bits, count = model_bits(ref, pieces, window + 1, stride)
            result[f"bits_window_{window}"] = bits
            result["tokens_scored"] = count
            json.dump(result, open(path, "w"), indent=1)
            print(f"window {window}: {bits:.4f} bits per token over {count} tokens", flush=True)
    json.dump(result, open(path, "w"), indent=1)


if __name__ == "__main__":
    main()
