"""The model in plain numpy, from the files of a model folder alone.

Written from the format description, not from model.py, so that the two check each other: float64
throughout, the filter evaluated from the stored z, t, freq and deltas, the convolution a direct sum for
short inputs and a float64 FFT for long ones. `python reference.py DIR` writes the golden files
DIR/reference.safetensors and DIR/greedy.json from held-out text (--text, a .npy of token ids).
"""
import argparse
import json
import math
import os

import numpy as np
from safetensors.numpy import load_file, save_file


def layer_norm(x, w, b):
    m = x.mean(-1, keepdims=True)
    v = ((x - m) ** 2).mean(-1, keepdims=True)
    return (x - m) / np.sqrt(v + 1e-5) * w + b


def gelu_tanh(a):
    return 0.5 * a * (1 + np.tanh(math.sqrt(2 / math.pi) * (a + 0.044715 * a ** 3)))


def causal_convolution(h, u, direct_up_to):
    """y[t, c] = sum over s <= t of h[t - s, c] u[s, c]; both (L, D)."""
    L = len(u)
    if L <= direct_up_to:
        y = np.zeros_like(u)
        for lag in range(L):
            y[lag:] += h[lag] * u[:L - lag]
        return y
    n = 1 << (2 * L - 1).bit_length()
    return np.fft.irfft(np.fft.rfft(h, n, axis=0) * np.fft.rfft(u, n, axis=0), n, axis=0)[:L]


class Reference:
    def __init__(self, folder, direct_up_to=512):
        self.direct_up_to = direct_up_to
        self.config = json.load(open(os.path.join(folder, "config.json")))
        hf = self.config.get("model_type") == "hyenadna"
        raw = load_file(os.path.join(folder, "model.safetensors"))
        if any(v.dtype != np.float32 for v in raw.values()):
            raise SystemExit("all tensors are expected to be float32")
        self.w = {(k[6:] if k.startswith("hyena.") else k): v.astype(np.float64) for k, v in raw.items()}
        if hf:
            self.inner, self.shift, self.modulate = self.config["num_inner_mlps"], 0.05, True
        else:
            layer = self.config["layer"]
            self.inner, self.modulate = layer["num_inner_mlps"], layer["modulate"]
            self.shift = self.config["filter_shift"]
        self.vocab = self.config["vocab_size"]
        self.head = self.w.get("lm_head.weight", self.w["backbone.embeddings.word_embeddings.weight"])
        self.filters = [self.filter(f"backbone.layers.{i}.mixer.filter_fn.") for i in range(self.config["n_layer"])]
        self.l_max = len(self.filters[0])

    def filter(self, p):
        w = self.w
        z, t = w[p + "pos_emb.z"][0], w[p + "pos_emb.t"][0]
        freq = w[p + "implicit_filter.1.freq"]
        a = np.sin(freq * (z @ w[p + "implicit_filter.0.weight"].T + w[p + "implicit_filter.0.bias"]))
        for j in range(1, self.inner + 1):
            a = np.sin(freq * (a @ w[f"{p}implicit_filter.{2 * j}.weight"].T + w[f"{p}implicit_filter.{2 * j}.bias"]))
        h = a @ w[f"{p}implicit_filter.{2 * self.inner + 2}.weight"].T
        if self.modulate:
            h = h * (np.exp(-t * np.abs(w[p + "modulation.deltas"][0])) + self.shift)
        return h

    def logits(self, ids):
        w = self.w
        x = w["backbone.embeddings.word_embeddings.weight"][np.asarray(ids)]
        L, D = x.shape
        for i in range(self.config["n_layer"]):
            p = f"backbone.layers.{i}."
            u = layer_norm(x, w[p + "norm1.weight"], w[p + "norm1.bias"])
            s = u @ w[p + "mixer.in_proj.weight"].T + w[p + "mixer.in_proj.bias"]
            k = w[p + "mixer.short_filter.weight"][:, 0, :]
            q = w[p + "mixer.short_filter.bias"] + k[:, 2] * s
            q[1:] += k[:, 1] * s[:-1]
            q[2:] += k[:, 0] * s[:-2]
            x0, x1, v = q[:, :D], q[:, D:2 * D], q[:, 2 * D:]
            v = v * x1
            v = causal_convolution(self.filters[i][:L], v, self.direct_up_to) + w[p + "mixer.filter_fn.bias"] * v
            x = x + (v * x0) @ w[p + "mixer.out_proj.weight"].T + w[p + "mixer.out_proj.bias"]
            u = layer_norm(x, w[p + "norm2.weight"], w[p + "norm2.bias"])
            u = gelu_tanh(u @ w[p + "mlp.fc1.weight"].T + w[p + "mlp.fc1.bias"])
            x = x + u @ w[p + "mlp.fc2.weight"].T + w[p + "mlp.fc2.bias"]
        return layer_norm(x, w["backbone.ln_f.weight"], w["backbone.ln_f.bias"]) @ self.head.T


def greedy(ref, prompt, count):
    ids, margin = list(prompt), math.inf
    for _ in range(count):
        row = ref.logits(ids)[-1, :ref.vocab]
        second, first = np.sort(row)[-2:]
        margin = min(margin, first - second)
        ids.append(int(row.argmax()))
    return ids[len(prompt):], margin


def main():
    ap = argparse.ArgumentParser(description="writes reference.safetensors and greedy.json")
    ap.add_argument("folder")
    ap.add_argument("--text", required=True, help=".npy with held-out token ids")
    ap.add_argument("--tokens", type=int, default=300)
    args = ap.parse_args()
    ref = Reference(args.folder)
    text = np.load(args.text).astype(np.int64)
    ids = text[:args.tokens]
    save_file(dict(input_ids=ids, logits=ref.logits(ids)), os.path.join(args.folder, "reference.safetensors"))
    os.chmod(os.path.join(args.folder, "reference.safetensors"), 0o644)
    # A continuation is a fair test of a float32 engine only where no two tokens nearly tie.
    for at in range(1000, len(text), 1000):
        prompt = [int(i) for i in text[at:at + 64]]
        continuation, margin = greedy(ref, prompt, 192)
        if margin > 2e-3:
            break
    json.dump(dict(prompt_tokens=prompt, greedy_tokens=continuation, min_top2_margin=float(margin),
                   note="argmax over the first vocab_size logits, float64; "
                        f"prompt at offset {at} of the held-out text"),
              open(os.path.join(args.folder, "greedy.json"), "w"))
    print(f"{args.folder}: {len(ids)} reference tokens, greedy margin {margin:.4f}")
    if ref.vocab == 256:
        print(bytes(prompt).decode("latin1") + "|" + bytes(continuation).decode("latin1"))
    else:
        print(continuation)


if __name__ == "__main__":
    main()
