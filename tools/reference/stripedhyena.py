"""StripedHyena 1 (Evo 1) and 2 (Evo 2): gated convolutions with modal or explicit filters, and attention."""
import numpy as np

import filters
import functions as f
from arrays import Maker


def mlp(m, p, d, inner):
    m.linear(p + "mlp.l1", inner, d, False)
    m.linear(p + "mlp.l2", inner, d, False)
    m.linear(p + "mlp.l3", d, inner, False)


def make1(seed, evo, dtype="F32"):
    """evo: Evo 1's variant (multi-head attention, exact GELU, tied head, eps outside the root); else SH-7B's."""
    d, heads, layers, vocab, inner, states = 16, 4, 3, 24, 24, 3
    config = {"model_type": "stripedhyena", "vocab_size": vocab, "hidden_size": d, "num_filters": d,
              "attn_layer_idxs": [1], "hyena_layer_idxs": [0, 2], "num_layers": layers,
              "short_filter_length": 3, "num_attention_heads": heads, "short_filter_bias": True,
              "eps": 1e-6 if evo else 1e-5, "state_size": states, "rotary_emb_base": 10000 if evo else 500000,
              "proj_groups": 1 if evo else 2, "hyena_filter_groups": 1, "column_split_hyena": True,
              "column_split": False, "tie_embeddings": evo, "inner_mlp_size": inner,
              "mha_out_proj_bias": evo, "qkv_proj_bias": evo, "max_seqlen": 256, "final_norm": True,
              "use_flash_rmsnorm": not evo, "mlp_activation": "gelu" if evo else "silu"}
    if evo:
        config.update(use_interpolated_rotary_pos_emb=True, rotary_emb_scaling_factor=16)
    m = Maker(seed, dtype)
    m.normal("backbone.embedding_layer.weight", (vocab, d), 0.5)
    for i in range(layers):
        p = f"backbone.blocks.{i}."
        m.normal(p + "pre_norm.scale", (d,), 0.1, 1)
        m.normal(p + "post_norm.scale", (d,), 0.1, 1)
        if i in config["attn_layer_idxs"]:
            kv = heads // config["proj_groups"]
            m.linear(p + "inner_mha_cls.Wqkv", (heads + 2 * kv) * d // heads, d, evo)
            m.linear(p + "inner_mha_cls.out_proj", d, d, evo)
            size = d // heads
            m.put(p + "inner_mha_cls.rotary_emb.inv_freq",
                  float(config["rotary_emb_base"]) ** (-np.arange(0, size, 2) / size))
        else:
            m.linear(p + "projections", 3 * d, d, True)
            m.normal(p + "filter.short_filter_weight", (3 * d, 1, 3), 0.6)
            m.normal(p + "filter.short_filter_bias", (3 * d,), 0.1)
            radius = m.random.uniform(0.5, 0.99, (d, states))
            angle = m.random.uniform(-np.pi, np.pi, (d, states))
            poles = np.stack([radius * np.cos(angle), radius * np.sin(angle)], -1)
            m.put(p + "filter.poles", poles[:, :, None, :], "F32")
            m.normal(p + "filter.residues", (d, states, 1, 2), 0.4, dtype="F32")
            m.normal(p + "filter.D", (d,), 0.5)
            m.linear(p + "out_filter_dense", d, d, True)
        mlp(m, p, d, inner)
    m.normal("backbone.norm.scale", (d,), 0.1, 1)
    if not evo:
        m.normal("backbone.unembed.weight", (vocab, d), 0.5)
    return config, m.tensors


def make2(seed, dtype="F32"):
    d, heads, vocab, inner, states, groups = 16, 2, 24, 24, 4, 4
    config = {"model_type": "stripedhyena2", "vocab_size": vocab, "hidden_size": d, "num_filters": d,
              "hcs_layer_idxs": [0], "hcm_layer_idxs": [1], "hcl_layer_idxs": [2], "attn_layer_idxs": [3],
              "hcs_filter_length": 7, "hcm_filter_length": 128, "hcl_filter_groups": d,
              "hcs_filter_groups": groups, "hcm_filter_groups": groups, "num_layers": 4,
              "short_filter_length": 3, "num_attention_heads": heads, "short_filter_bias": False,
              "eps": 1e-6, "state_size": states, "rotary_emb_base": 10000, "proj_groups": 1,
              "use_interpolated_rotary_pos_emb": True, "rotary_emb_scaling_factor": 32,
              "hyena_filter_groups": 1, "column_split_hyena": False, "column_split": True, "interleave": True,
              "evo2_style_activations": True, "mlp_activation": "gelu", "tie_embeddings": True,
              "inner_mlp_size": inner, "mha_out_proj_bias": True, "hyena_out_proj_bias": True,
              "qkv_proj_bias": False, "final_norm": True, "max_seqlen": 256}
    m = Maker(seed, dtype)
    m.normal("embedding_layer.weight", (vocab, d), 0.5)
    for i in range(4):
        p = f"blocks.{i}."
        m.normal(p + "pre_norm.scale", (d,), 0.1, 1)
        m.normal(p + "post_norm.scale", (d,), 0.1, 1)
        if i == 3:
            size = d // heads
            m.linear(p + "inner_mha_cls.Wqkv", 3 * d, d, False)
            m.linear(p + "inner_mha_cls.out_proj", d, d, True)
            # Not quite the base's: the stored ones are what counts.
            m.put(p + "inner_mha_cls.rotary_emb.inv_freq", 8000.0 ** (-np.arange(0, size, 2) / size), "F32")
        else:
            m.linear(p + "projections", 3 * d, d, False, gain=1.5)
            m.normal(p + "filter.short_filter_weight", (3 * d, 1, 3), 0.6)
            if i == 0:
                m.normal(p + "filter.h", (groups, 1, 7), 0.5)
            elif i == 1:
                m.normal(p + "filter.h", (groups, 1, 128), 0.2)
            else:
                m.uniform(p + "filter.log_poles", (d, states, 1), -2.0, -0.01, "F32")
                m.normal(p + "filter.residues", (d, states), 0.4, dtype="F32")
            if i > 0:
                m.normal(p + "filter.D", (d,), 0.5)
            m.linear(p + "out_filter_dense", d, d, True)
        mlp(m, p, d, inner)
    m.normal("norm.scale", (d,), 0.1, 1)
    m.tensors["unembed.weight"] = m.tensors["embedding_layer.weight"]
    return config, m.tensors


def forward1(config, w, tokens):
    w = {name.removeprefix("backbone."): array for name, array in w.items()}
    d, heads, length = config["hidden_size"], config["num_attention_heads"], len(tokens)
    size, kv = d // heads, heads // config["proj_groups"]

    def norm(x, name):
        return f.rms_norm(x, w[name + ".scale"], config["eps"], config["use_flash_rmsnorm"])

    x = w["embedding_layer.weight"][tokens]
    for i in range(config["num_layers"]):
        p = f"blocks.{i}."
        n = norm(x, p + "pre_norm")
        if i in config["attn_layer_idxs"]:
            q, k, v = np.split(f.linear(n, w, p + "inner_mha_cls.Wqkv"), [d, d + kv * size], 1)
            scaling = config.get("rotary_emb_scaling_factor", 1)
            y = f.attention(q, k, v, heads, kv,
                            rotary={"base": float(config["rotary_emb_base"]), "scaling": scaling})
            x = x + f.linear(y, w, p + "inner_mha_cls.out_proj")
        else:
            q = f.short_fir(f.linear(n, w, p + "projections"), w[p + "filter.short_filter_weight"],
                            w[p + "filter.short_filter_bias"])
            q = q.reshape(length, heads, 3, size)
            x2, x1, v = (q[:, :, j].reshape(length, d) for j in range(3))
            h = filters.z_plane(w[p + "filter.poles"], w[p + "filter.residues"], length)
            u = x1 * v
            x = x + f.linear((f.convolve(h, u) + w[p + "filter.D"] * u) * x2, w, p + "out_filter_dense")
        n = norm(x, p + "post_norm")
        act = {"silu": f.silu, "gelu": f.gelu}[config["mlp_activation"]]
        x = x + f.linear(act(f.linear(n, w, p + "mlp.l1")) * f.linear(n, w, p + "mlp.l2"), w, p + "mlp.l3")
    return norm(x, "norm") @ w["unembed.weight" if "unembed.weight" in w else "embedding_layer.weight"].T


def attention_with_frequencies(q, k, v, heads, frequencies, scaling):
    length, size = len(q), q.shape[1] // heads
    angle = np.outer(np.arange(length) / scaling, frequencies)[:, None, :]

    def turn(x):
        a, b = np.split(x.reshape(length, heads, size), 2, -1)
        return np.concatenate([a * np.cos(angle) - b * np.sin(angle),
                               a * np.sin(angle) + b * np.cos(angle)], -1).reshape(length, -1)

    return f.attention(turn(q), turn(k), v, heads)


def forward2(config, w, tokens):
    d, heads, length = config["hidden_size"], config["num_attention_heads"], len(tokens)
    size = d // heads

    def norm(x, name):
        return f.rms_norm(x, w[name + ".scale"], config["eps"], False)

    x = w["embedding_layer.weight"][tokens]
    for i in range(config["num_layers"]):
        p = f"blocks.{i}."
        n = norm(x, p + "pre_norm")
        if i in config["attn_layer_idxs"]:
            qkv = f.linear(n, w, p + "inner_mha_cls.Wqkv").reshape(length, heads, 3, size)
            q, k, v = (qkv[:, :, j].reshape(length, d) for j in range(3))
            y = attention_with_frequencies(q, k, v, heads, w[p + "inner_mha_cls.rotary_emb.inv_freq"],
                                           config["rotary_emb_scaling_factor"])
            x = x + f.linear(y, w, p + "inner_mha_cls.out_proj")
        else:
            q = f.short_fir(f.linear(n, w, p + "projections"), w[p + "filter.short_filter_weight"])
            x2, x1, v = q[:, 0::3], q[:, 1::3], q[:, 2::3]
            u = x1 * v
            if i in config["hcs_layer_idxs"]:
                y = f.convolve(np.repeat(w[p + "filter.h"][:, 0, ::-1], d // 4, 0).T, u)
            elif i in config["hcm_layer_idxs"]:
                y = f.convolve(np.repeat(w[p + "filter.h"][:, 0], d // 4, 0).T, u) + w[p + "filter.D"] * u
            else:
                h = filters.log_real(w[p + "filter.log_poles"], w[p + "filter.residues"], length)
                y = f.convolve(h, u) + w[p + "filter.D"] * u
            x = x + f.linear(y * x2, w, p + "out_filter_dense")
        n = norm(x, p + "post_norm")
        gate = f.linear(n, w, p + "mlp.l1")
        if i == 0:
            gate = f.gelu(gate)
        x = x + f.linear(gate * f.linear(n, w, p + "mlp.l2"), w, p + "mlp.l3")
    return norm(x, "norm") @ w["unembed.weight"].T
