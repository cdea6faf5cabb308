"""Writes small random checkpoints in published layouts with float64 logits and greedy continuations.

    python3 tools/reference/make_golden.py tests/data/golden [NAME...]

Needs numpy. The same seeds give the same weights; logits agree to rounding. The forward passes are
written from the formulas, one file a family, and share no code with the library.
"""
import json
import os
import sys

import numpy as np

import h3
import own_stacks
import stripedhyena
import stu
from arrays import write_safetensors

# Name: how the checkpoint is made, given a seed, and its forward pass.
CASES = {
    "stu-approx": (lambda s: stu.make(s, True, False), stu.forward),
    "stu-full": (lambda s: stu.make(s, False, False), stu.forward),
    "stu-full-l": (lambda s: stu.make(s, False, True), stu.forward),
    "h3": (h3.make, h3.forward),
    "stripedhyena1": (lambda s: stripedhyena.make1(s, False), stripedhyena.forward1),
    "stripedhyena1-evo": (lambda s: stripedhyena.make1(s, True), stripedhyena.forward1),
    "stripedhyena2": (stripedhyena.make2, stripedhyena.forward2),
    "stack-ahead": (own_stacks.make_ahead, own_stacks.forward_ahead),
    "stack-filters": (own_stacks.make_filters, own_stacks.forward_filters),
    "stack-links": (own_stacks.make_links, own_stacks.forward_links),
    "stack-mixed": (own_stacks.make_mixed, own_stacks.forward_mixed),
    "stack-relaxed": (own_stacks.make_relaxed, own_stacks.forward_relaxed),
    "stripedhyena2-bf16": (lambda s: stripedhyena.make2(s, "BF16"), stripedhyena.forward2),
}
LENGTH, PROMPT, GREEDY = 64, 24, 40
WANTED_MARGIN = 5e-3


def continuation(forward, config, w, prompt):
    tokens, margin = list(prompt), np.inf
    for _ in range(GREEDY):
        logits = forward(config, w, np.array(tokens))[-1][:config["vocab_size"]]
        best = np.sort(logits)[-2:]
        margin = min(margin, best[1] - best[0])
        tokens.append(int(np.argmax(logits)))
    return tokens[len(prompt):], float(margin)


def write(folder, make, forward):
    for seed in range(1, 100):  # The first seed whose continuation is beyond doubt in float32.
        config, tensors = make(seed)
        w = {name: array for name, (array, _) in tensors.items()}
        random = np.random.default_rng(1000 + seed)
        ids = random.integers(0, config["vocab_size"], LENGTH)
        greedy, margin = continuation(forward, config, w, ids[:PROMPT])
        if margin > WANTED_MARGIN and len(set(greedy)) > 3:
            break
    else:
        raise SystemExit(f"{folder}: no seed gives a clear continuation")
    logits = forward(config, w, ids)
    assert np.isfinite(logits).all()
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "config.json"), "w") as file:
        json.dump(config, file, indent=2)
        file.write("\n")
    write_safetensors(os.path.join(folder, "model.safetensors"), tensors)
    write_safetensors(os.path.join(folder, "reference.safetensors"),
                      {"input_ids": (ids, "I64"), "logits": (logits, "F64")})
    with open(os.path.join(folder, "greedy.json"), "w") as file:
        json.dump({"prompt_tokens": [int(i) for i in ids[:PROMPT]], "greedy_tokens": greedy,
                   "min_top2_margin": margin}, file)
        file.write("\n")
    size = sum(os.path.getsize(os.path.join(folder, name)) for name in os.listdir(folder))
    print(f"{os.path.basename(folder)}: seed {seed}, margin {margin:.3g}, "
          f"largest logit {np.abs(logits).max():.3g}, {len(set(greedy))} distinct tokens, {size // 1024} KiB")


if __name__ == "__main__":
    if len(sys.argv) < 2:
        raise SystemExit(__doc__)
    for name in sys.argv[2:] or CASES:
        write(os.path.join(sys.argv[1], name), *CASES[name])
