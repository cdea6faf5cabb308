"""Flash-STU: spectral filters and sliding-window attention in turn."""
import math

import numpy as np

import functions as f
from arrays import Maker


def spectral_filters(length, count, hankel_l):
    s = np.arange(1, length + 1)[:, None] + np.arange(1, length + 1)[None, :]
    if hankel_l:
        hankel = ((-1.0) ** (s - 2) + 1) * 8 / ((s + 3) * (s - 1) * (s + 1))
    else:
        hankel = 2.0 / (s ** 3 - s)
    sigma, phi = np.linalg.eigh(hankel)
    return phi[:, -count:] * np.maximum(sigma[-count:], 0) ** 0.25


def slopes(heads):
    def powers(n):
        start = 2.0 ** -(2.0 ** -(math.log2(n) - 3))
        return [start ** (i + 1) for i in range(n)]
    whole = 1 << (heads.bit_length() - 1)
    return 0.25 * np.array(powers(whole) + powers(2 * whole)[0::2][:heads - whole])


def make(seed, approx, hankel_l, dtype="F32"):
    d, vocab, length, filters, inner = 16, 20, 96, 4, 2
    config = {"model_type": "FlashSTU", "n_embd": d, "n_heads": 2, "n_layers": 3, "seq_len": length,
              "window_size": 9, "vocab_size": vocab, "mlp_scale": inner, "bias": False, "num_eigh": filters,
              "use_hankel_L": hankel_l, "use_approx": approx, "use_attn": True, "softcap": 3.0,
              "hidden_act": "swish"}
    m = Maker(seed, dtype)
    m.normal("tok_emb.weight", (vocab, d), 0.5)
    m.tensors["lm_head.weight"] = m.tensors["tok_emb.weight"]
    phi = spectral_filters(length, filters, hankel_l)
    for i in range(3):
        p = f"layers.{i}."
        if i % 2 == 0:
            m.normal(p + "stu_norm.weight", (d,), 0.1, 1)
            m.put(p + "stu.phi", phi)
            if approx:
                m.normal(p + "stu.M_inputs", (d, d), 1 / math.sqrt(d))
                m.normal(p + "stu.M_filters", (filters, d), 1.5)
            else:
                for sign in ["plus"] if hankel_l else ["plus", "minus"]:
                    m.normal(p + "stu.M_phi_" + sign, (filters, d, d), 1 / math.sqrt(d))
        else:
            m.normal(p + "attn_norm.weight", (d,), 0.1, 1)
            m.linear(p + "attn.c_attn", 3 * d, d, False)
            m.linear(p + "attn.c_proj", d, d, False)
        m.normal(p + "mlp_norm.weight", (d,), 0.1, 1)
        m.linear(p + "mlp.gate_proj", inner * d, d, False)
        m.linear(p + "mlp.up_proj", inner * d, d, False)
        m.linear(p + "mlp.down_proj", d, inner * d, False)
    m.normal("norm.weight", (d,), 0.1, 1)
    return config, m.tensors


def spectral(x, w, p, config):
    sign = ((-1.0) ** np.arange(len(x)))[:, None]
    phi = w[p + "phi"]
    if config["use_approx"]:
        x, h = x @ w[p + "M_inputs"], phi @ w[p + "M_filters"]
        y = f.convolve(h, x)
        return y if config["use_hankel_L"] else y + sign * f.convolve(h, sign * x)
    y = 0
    for k in range(phi.shape[1]):
        h = np.repeat(phi[:, k:k + 1], x.shape[1], 1)
        y = y + f.convolve(h, x) @ w[p + "M_phi_plus"][k]
        if not config["use_hankel_L"]:
            y = y + sign * f.convolve(h, sign * x) @ w[p + "M_phi_minus"][k]
    return y


def forward(config, w, tokens):
    x = w["tok_emb.weight"][tokens]
    d = config["n_embd"]
    for i in range(config["n_layers"]):
        p = f"layers.{i}."
        if i % 2 == 0 or not config["use_attn"]:
            x = x + spectral(f.rms_norm(x, w[p + "stu_norm.weight"], 1e-6, True), w, p + "stu.", config)
        else:
            qkv = f.linear(f.rms_norm(x, w[p + "attn_norm.weight"], 1e-6, True), w, p + "attn.c_attn")
            y = f.attention(qkv[:, :d], qkv[:, d:2 * d], qkv[:, 2 * d:], config["n_heads"],
                            window=config["window_size"], slopes=slopes(config["n_heads"]),
                            soft_cap=config["softcap"])
            x = x + f.linear(y, w, p + "attn.c_proj")
        n = f.rms_norm(x, w[p + "mlp_norm.weight"], 1e-6, True)
        gate = f.silu(f.linear(n, w, p + "mlp.gate_proj")) * f.linear(n, w, p + "mlp.up_proj")
        x = x + f.linear(gate, w, p + "mlp.down_proj")
    return f.rms_norm(x, w["norm.weight"], 1e-6, True) @ w["lm_head.weight"].T
