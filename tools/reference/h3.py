"""H3: a shift SSM on k, a diagonal SSM on k' * v, gated by q; attention in some layers."""
import numpy as np

import filters
import functions as f
from arrays import Maker


def make(seed, dtype="F32"):
    d, layers, vocab, shift, modes, inner = 16, 3, 21, 12, 8, 32
    config = {"d_model": d, "n_layer": layers, "d_inner": inner, "vocab_size": vocab,
              "pad_vocab_size_multiple": 8, "attn_layer_idx": [1],
              "attn_cfg": {"causal": True, "num_heads": 2, "rotary_emb_dim": 4},
              "layer": {"_name_": "h3", "mode": "diag", "measure": "diag-lin"}}
    m = Maker(seed, dtype)
    m.normal("backbone.embeddings.word_embeddings.weight", (24, d), 0.5)
    for i in range(layers):
        p = f"backbone.layers.{i}."
        for norm in ["norm1", "norm2"]:
            m.normal(p + norm + ".weight", (d,), 0.1, 1)
            m.normal(p + norm + ".bias", (d,), 0.1)
        if i in config["attn_layer_idx"]:
            m.linear(p + "mixer.Wqkv", 3 * d, d, True)
            m.linear(p + "mixer.out_proj", d, d, True)
        else:
            for name in ["q_proj", "k_proj", "v_proj", "output_linear"]:
                m.linear(p + "mixer." + name, d, d, True)
            b = np.zeros((d, shift))
            b[:, 0] = 1
            m.put(p + "mixer.ssm_k_kernel.kernel.B", b + 0.05 * m.random.standard_normal(b.shape))
            m.normal(p + "mixer.ssm_k_kernel.kernel.C", (1, d, shift), 0.3)
            m.normal(p + "mixer.ssm_k_D", (d,), 0.5)
            k = p + "mixer.kernel.kernel."
            m.uniform(k + "log_dt", (d,), np.log(0.01), np.log(0.3))
            m.put(k + "inv_A_real", np.log(0.5) + 0.1 * m.random.standard_normal((d, modes)))
            m.put(k + "A_imag", np.pi * np.arange(modes) + 0.1 * m.random.standard_normal((d, modes)))
            m.normal(k + "B", (d, modes, 2), 1)
            m.normal(k + "C", (1, d, modes, 2), 0.5)
            m.normal(p + "mixer.D", (d,), 0.5)
        m.linear(p + "mlp.fc1", inner, d, True)
        m.linear(p + "mlp.fc2", d, inner, True)
    m.normal("backbone.ln_f.weight", (d,), 0.1, 1)
    m.normal("backbone.ln_f.bias", (d,), 0.1)
    m.tensors["lm_head.weight"] = m.tensors["backbone.embeddings.word_embeddings.weight"]
    return config, m.tensors


def mixer(x, w, p):
    length = len(x)
    q, k, v = (f.linear(x, w, p + name) for name in ["q_proj", "k_proj", "v_proj"])
    shift = filters.shift_ssm(w[p + "ssm_k_kernel.kernel.B"], w[p + "ssm_k_kernel.kernel.C"][0], length)
    u = (f.convolve(shift, k) + w[p + "ssm_k_D"] * k) * v
    s = {n: w[p + "kernel.kernel." + n] for n in ["log_dt", "inv_A_real", "A_imag", "B", "C"]}
    h = filters.s4d(-np.exp(s["inv_A_real"]) + 1j * s["A_imag"], s["log_dt"],
                    s["B"][..., 0] + 1j * s["B"][..., 1], s["C"][0, ..., 0] + 1j * s["C"][0, ..., 1],
                    length, zoh=False)
    return f.linear(q * (f.convolve(h, u) + w[p + "D"] * u), w, p + "output_linear")


def forward(config, w, tokens):
    x = w["backbone.embeddings.word_embeddings.weight"][tokens]
    d, heads = config["d_model"], config["attn_cfg"]
    for i in range(config["n_layer"]):
        p = f"backbone.layers.{i}."
        n = f.layer_norm(x, w[p + "norm1.weight"], w[p + "norm1.bias"])
        if i in config["attn_layer_idx"]:
            qkv = f.linear(n, w, p + "mixer.Wqkv")
            y = f.attention(qkv[:, :d], qkv[:, d:2 * d], qkv[:, 2 * d:], heads["num_heads"],
                            rotary={"base": 10000.0, "size": heads["rotary_emb_dim"]})
            x = x + f.linear(y, w, p + "mixer.out_proj")
        else:
            x = x + mixer(n, w, p + "mixer.")
        n = f.layer_norm(x, w[p + "norm2.weight"], w[p + "norm2.bias"])
        x = x + f.linear(f.gelu_tanh(f.linear(n, w, p + "mlp.fc1")), w, p + "mlp.fc2")
    x = f.layer_norm(x, w["backbone.ln_f.weight"], w["backbone.ln_f.bias"])
    return x @ w["lm_head.weight"].T
