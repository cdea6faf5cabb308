"""The PyTorch model against lcsm, token by token: python3 compare.py FOLDER [LCSM].

PyTorch runs the whole prefix again for each token, as it has to; lcsm takes a step. Exits with 1 at the
first difference. The tokens go into FOLDER/greedy.json, which the project's tests hold lcsm to.
"""
import json
import os
import subprocess
import sys
import tempfile
import time

import torch

from export import make

PROMPT = list(b"Long convolutions, ")
STEPS = 200


@torch.no_grad()
def recompute(model):
    tokens, margin = list(PROMPT), float("inf")
    for _ in range(STEPS):
        logits = model(torch.tensor([tokens]))[0, -1]
        best = torch.topk(logits, 2)
        margin = min(margin, float(best.values[0] - best.values[1]))
        tokens.append(int(best.indices[0]))
    return tokens[len(PROMPT):], margin


def main():
    folder, lcsm = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else "lcsm"
    start = time.time()
    wanted, margin = recompute(make())
    slow = time.time() - start
    with tempfile.NamedTemporaryFile("w", suffix=".ids") as ids:
        ids.write(" ".join(map(str, PROMPT)))
        ids.flush()
        start = time.time()
        done = subprocess.run([lcsm, "generate", "--model", folder, "--prompt-tokens", ids.name, "--temperature", "0",
                               "--max-new-tokens", str(STEPS), "--format", "tokens", "--quiet"],
                              check=True, capture_output=True)
    fast = time.time() - start
    got = list(map(int, done.stdout.split()))
    for t, (a, b) in enumerate(zip(wanted, got)):
        if a != b:
            raise SystemExit(f"token {t} is {b}, and PyTorch says {a}")
    if len(got) != len(wanted):
        raise SystemExit(f"{len(got)} tokens, expected {len(wanted)}")
    with open(os.path.join(folder, "greedy.json"), "w") as out:
        json.dump({"prompt_tokens": PROMPT, "greedy_tokens": wanted, "min_top2_margin": margin}, out)
        out.write("\n")
    print(f"{STEPS} tokens are the same (smallest margin {margin:.3g}); PyTorch {slow:.2f} s, "
          f"lcsm {fast:.2f} s with its start")


if __name__ == "__main__":
    main()
