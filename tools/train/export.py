"""Turns a checkpoint into a model folder: python export.py kjv-bytes

Writes config.json, model.safetensors, tokenizer_config.json, loss.csv and loss.png, and checks that the
numpy reference computes the same logits from the written files as the training code from the checkpoint.
"""
import argparse
import csv
import json
import os

import numpy as np
import torch
from safetensors.numpy import save_file

from model import Model
from presets import PRESETS
from reference import Reference

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))


def tensors(model, cfg):
    P = {k: v.detach().float() for k, v in model.P.items()}
    D, hf = cfg["d_model"], cfg["style"] == "hf"
    T = {"backbone.embeddings.word_embeddings.weight": P["emb"]}
    for i in range(cfg["n_layer"]):
        p, q = f"backbone.layers.{i}.", f"l{i}_"
        f = p + "mixer.filter_fn."
        T[p + "norm1.weight"], T[p + "norm1.bias"] = P[q + "n1_w"], P[q + "n1_b"]
        T[p + "mixer.in_proj.weight"] = P[q + "in_w"].reshape(3 * D, D)
        T[p + "mixer.in_proj.bias"] = P[q + "in_b"]
        T[p + "mixer.short_filter.weight"] = P[q + "fir_w"].reshape(3 * D, 1, 3)
        T[p + "mixer.short_filter.bias"] = P[q + "fir_b"]
        T[f + "bias"] = P[q + "skip"]
        T[f + "pos_emb.z"] = model.z[None]
        T[f + "pos_emb.t"] = model.t[None, :, None]
        for j, n in enumerate(("f0", "f2", "f4")):
            T[f"{f}implicit_filter.{2 * j}.weight"] = P[f"{q}{n}_w"]
            T[f"{f}implicit_filter.{2 * j}.bias"] = P[f"{q}{n}_b"]
            # The three sines share one frequency vector. PyTorch's state dict lists it under each of
            # its names; the Hugging Face files keep the first only.
            if j == 0 or not hf:
                T[f"{f}implicit_filter.{2 * j + 1}.freq"] = P[q + "freq"][None]
        T[f + "implicit_filter.6.weight"] = P[q + "f6_w"] * model.scale[:, None]
        T[f + "modulation.deltas"] = model.deltas[None, None]
        T[p + "mixer.out_proj.weight"], T[p + "mixer.out_proj.bias"] = P[q + "out_w"], P[q + "out_b"]
        T[p + "norm2.weight"], T[p + "norm2.bias"] = P[q + "n2_w"], P[q + "n2_b"]
        for n in ("fc1", "fc2"):
            T[f"{p}mlp.{n}.weight"], T[f"{p}mlp.{n}.bias"] = P[f"{q}{n}_w"], P[f"{q}{n}_b"]
    T["backbone.ln_f.weight"], T["backbone.ln_f.bias"] = P["lnf_w"], P["lnf_b"]
    if hf:
        T = {"hyena." + k: v for k, v in T.items()}
    if not cfg["tied"]:
        T["lm_head.weight"] = P["head"]
    return {k: np.array(v.numpy(), dtype=np.float32, order="C") for k, v in T.items()}


def config(cfg):
    if cfg["style"] == "hf":
        return dict(
            model_type="hyenadna", architectures=["HyenaDNAForCausalLM"], torch_dtype="float32",
            vocab_size=cfg["vocab"], pad_vocab_size_multiple=8, d_model=cfg["d_model"], n_layer=cfg["n_layer"],
            d_inner=cfg["d_inner"], max_seq_len=cfg["l_max"], hyena_order=2, short_filter_order=3,
            emb_dim=cfg["emb_dim"], filter_order=cfg["filter_order"], num_inner_mlps=2,
            activation_freq=cfg["w"], train_freq=True, use_bias=True, embed_dropout=0.0, hyena_dropout=0.0,
            hyena_filter_dropout=0.0, layer_norm_epsilon=1e-5, initializer_range=0.02, pad_token_id=4,
            tie_word_embeddings=False)
    return dict(
        d_model=cfg["d_model"], n_layer=cfg["n_layer"], d_inner=cfg["d_inner"], vocab_size=cfg["vocab"],
        pad_vocab_size_multiple=8, residual_in_fp32=True,
        layer=dict(_name_="hyena", order=2, emb_dim=cfg["emb_dim"], filter_order=cfg["filter_order"],
                   num_inner_mlps=2, short_filter_order=3, l_max=cfg["l_max"], modulate=True, w=cfg["w"]),
        filter_shift=cfg["shift"], filter_layout="order_slowest")


def tokenizer(cfg):
    if cfg["data"] == "kjv":
        return dict(tokenizer_class="ByteTokenizer")
    return dict(tokenizer_class="HyenaDNATokenizer", model_max_length=cfg["l_max"], padding_side="left",
                characters=["A", "C", "G", "T", "N"])


def curve(log, name, unit, out):
    with open(os.path.join(out, "loss.csv"), "w", newline="") as f:
        w = csv.writer(f, lineterminator="\n")
        w.writerow(["step", "train_bits", "valid_bits", "wall_s", "cpu_s"])
        for r in log:
            v = r.get("valid_bits")
            w.writerow([r["step"], f"{r['train_bits']:.4f}", "" if v is None else f"{v:.4f}", r["wall"], r["cpu"]])
    import matplotlib
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    fig, ax = plt.subplots(figsize=(7, 4), dpi=110)
    step = [r["step"] for r in log]
    ax.plot(step, [r["train_bits"] for r in log], lw=0.8, color="#8899bb", label="training (mean of 20 steps)")
    v = [(r["step"], r["valid_bits"]) for r in log if "valid_bits" in r]
    ax.plot(*zip(*v), "o-", ms=3, lw=1.2, color="#bb3322", label="held out (cold windows of 1024)")
    tail = sorted(r["train_bits"] for r in log[3:])
    lo, hi = min([b for _, b in v] + tail), tail[-max(1, len(tail) // 50)]
    ax.set_ylim(lo - 0.05 * (hi - lo), hi + 0.05 * (hi - lo))
    ax.set_xlabel("step")
    ax.set_ylabel(f"bits per {unit}")
    ax.set_title(name)
    ax.grid(alpha=0.3)
    ax.legend()
    fig.tight_layout()
    fig.savefig(os.path.join(out, "loss.png"))


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    ap.add_argument("model", choices=PRESETS)
    ap.add_argument("--work", default=os.path.join(HERE, "work"))
    ap.add_argument("--models", default=os.path.join(ROOT, "models"))
    args = ap.parse_args()
    torch.set_num_threads(1)
    work = os.path.join(args.work, args.model)
    ck = torch.load(os.path.join(work, "checkpoint.pt"), weights_only=False)
    cfg = ck["cfg"]
    model = Model(cfg)
    model.load_state_dict(ck["model"])
    out = os.path.join(args.models, args.model)
    os.makedirs(out, exist_ok=True)
    save_file(tensors(model, cfg), os.path.join(out, "model.safetensors"), metadata={"format": "pt"})
    for name, d in (("config.json", config(cfg)), ("tokenizer_config.json", tokenizer(cfg))):
        with open(os.path.join(out, name), "w") as f:
            json.dump(d, f, indent=2)
            f.write("\n")
    os.chmod(os.path.join(out, "model.safetensors"), 0o644)  # the library creates it private
    curve(ck["log"], args.model, "byte" if cfg["data"] == "kjv" else "base", out)
    ids = np.load(os.path.join(work, "valid.npy"))[:2000].astype(np.int64)
    with torch.no_grad():
        ours = model(torch.from_numpy(ids)[None])[0].double().numpy()
    diff = np.abs(Reference(out).logits(ids) - ours).max()
    print(f"step {ck['step']}, used {ck['used']}, logits differ from the numpy reference by at most {diff:.2e}")
    if diff > 1e-3:
        raise SystemExit("the exported model does not match")


if __name__ == "__main__":
    main()
