"""Models of nobody's family, written as descriptions of stacks (docs/stacks.md) and as formulas."""
import numpy as np

import filters
import functions as f
from arrays import Maker

D, LENGTH = 16, 96


def rms(name):
    return {"kind": "rms", "eps": 1e-6, "weight": name}


def linear(source, to, name, bias=False, **more):
    step = {"do": "linear", "from": source, "to": to, "weight": name + ".weight", **more}
    return {**step, "bias": name + ".bias"} if bias else step


def mlp_part(p, inner):
    return {"name": "mlp", "norm": rms(p + "norm2.weight"), "steps": [
        linear("input", "hidden", p + "up", True, width=inner),
        {"do": "activate", "from": "hidden", "with": "gelu-tanh"},
        linear("hidden", "output", p + "down", True)]}


def make_mlp(m, p, inner):
    m.normal(p + "norm2.weight", (D,), 0.1, 1)
    m.linear(p + "up", inner, D, True)
    m.linear(p + "down", D, inner, True)


def mlp(x, w, p):
    n = f.rms_norm(x, w[p + "norm2.weight"], 1e-6, True)
    return x + f.linear(f.gelu_tanh(f.linear(n, w, p + "up")), w, p + "down")


def whole(vocab, blocks, m):
    m.normal("embedding.weight", (vocab, D), 0.5)
    m.normal("final_norm.weight", (D,), 0.1, 1)
    m.normal("head.weight", (vocab, D), 0.5)
    return {"model_type": "lcsm-stack", "vocab_size": vocab, "width": D, "max_length": LENGTH,
            "embedding": "embedding.weight", "blocks": blocks, "final_norm": rms("final_norm.weight"),
            "head": "head.weight"}


def logits(x, w):
    return f.rms_norm(x, w["final_norm.weight"], 1e-6, True) @ w["head.weight"].T


def make_filters(seed):
    """One convolution after another, each with a filter of another kind: LongConv, SGConv, S4D, TNN."""
    m = Maker(seed)
    modes, hidden = 6, 8
    decay = np.exp(-np.arange(LENGTH) / 20)
    m.put("blocks.0.kernel", m.random.standard_normal((1, D, LENGTH)) * 0.4 * decay)
    for i, size in enumerate([8] * 4):
        m.normal(f"blocks.1.kernel_list.{i}", (1, D, size), 1)
    m.uniform("blocks.1.kernel_norm", (1, D, 1), 4, 8)
    m.normal("blocks.2.C", (1, D, modes, 2), 1)
    m.uniform("blocks.2.log_dt", (D,), np.log(0.01), np.log(0.3))
    m.put("blocks.2.log_w_real", np.log(0.5) + 0.1 * m.random.standard_normal((1, modes)))
    m.put("blocks.2.w_imag", np.pi * np.arange(modes)[None] + 0.1 * m.random.standard_normal((1, modes)))
    m.linear("blocks.3.rpe.pos_proj", hidden, 1, True)
    m.linear("blocks.3.rpe.layers.0.2", hidden, hidden, True)
    m.linear("blocks.3.rpe.out.2", D, hidden, True, gain=0.5)
    for i in range(4):
        m.normal(f"blocks.{i}.norm.weight", (D,), 0.1, 1)
        m.linear(f"blocks.{i}.out", D, D, True)
        if i < 3:
            m.normal(f"blocks.{i}.D", (D,), 0.5)
    for name in ["u_proj", "v_proj"]:
        m.linear("blocks.3." + name, D, D, True)
    make_mlp(m, "blocks.3.", 24)
    kinds = [
        {"kind": "taps", "tensor": "blocks.{i}.kernel", "soft_threshold": 0.1},
        {"kind": "multiscale", "tensors": [f"blocks.{{i}}.kernel_list.{i}" for i in range(4)],
         "multiplier": 0.5, "divisor": "blocks.{i}.kernel_norm"},
        {"kind": "s4d", "log_dt": "blocks.{i}.log_dt", "log_a_real": "blocks.{i}.log_w_real",
         "a_imag": "blocks.{i}.w_imag", "c": "blocks.{i}.C", "discretization": "zoh"}]
    blocks = []
    for filter in kinds:
        blocks.append({"parts": [{"name": "mixer", "norm": rms("blocks.{i}.norm.weight"), "steps": [
            {"do": "convolve", "from": "input", "to": "y", "filter": filter, "skip": "blocks.{i}.D"},
            {"do": "activate", "from": "y", "with": "gelu"},
            linear("y", "output", "blocks.{i}.out", True)]}]})
    blocks.append({"parts": [
        {"name": "gtu", "norm": rms("blocks.{i}.norm.weight"), "steps": [
            linear("input", "u", "blocks.{i}.u_proj", True),
            linear("input", "v", "blocks.{i}.v_proj", True),
            {"do": "activate", "from": "u", "with": "silu"},
            {"do": "activate", "from": "v", "with": "silu"},
            {"do": "convolve", "from": "v", "filter": {
                "kind": "toeplitz", "first": "blocks.{i}.rpe.pos_proj",
                "hidden": ["blocks.{i}.rpe.layers.0.2"], "last": "blocks.{i}.rpe.out.2", "width": hidden,
                "gamma": 0.95, "norm": {"kind": "rms", "eps": 1e-8, "eps_at": "outside"}}},
            {"do": "multiply", "from": ["u", "v"], "to": "y"},
            linear("y", "output", "blocks.{i}.out", True)]},
        mlp_part("blocks.{i}.", 24)]})
    return whole(19, blocks, m), m.tensors


def forward_filters(config, w, tokens):
    x = w["embedding.weight"][tokens]
    length = len(tokens)
    hs = [filters.soft_threshold(w["blocks.0.kernel"][0], 0.1)[:length],
          filters.multiscale([w[f"blocks.1.kernel_list.{i}"][0] for i in range(4)], 0.5, 0,
                             w["blocks.1.kernel_norm"][0, :, 0], length)]
    c = w["blocks.2.C"][0]
    a = np.repeat(-np.exp(w["blocks.2.log_w_real"]) + 1j * w["blocks.2.w_imag"], D, 0)
    hs.append(filters.s4d(a, w["blocks.2.log_dt"], np.ones_like(a), c[..., 0] + 1j * c[..., 1], length, True))
    for i, h in enumerate(hs):
        n = f.rms_norm(x, w[f"blocks.{i}.norm.weight"], 1e-6, True)
        x = x + f.linear(f.gelu(f.convolve(h, n) + w[f"blocks.{i}.D"] * n), w, f"blocks.{i}.out")
    n = f.rms_norm(x, w["blocks.3.norm.weight"], 1e-6, True)
    u, v = (f.silu(f.linear(n, w, "blocks.3." + name)) for name in ["u_proj", "v_proj"])
    h = filters.toeplitz_mlp(w, "blocks.3.rpe", 1, 0.95, length, 1e-8)
    x = x + f.linear(u * f.convolve(h, v), w, "blocks.3.out")
    return logits(mlp(x, w, "blocks.3."), w)


def make_mixed(seed):
    """Hyena's operator, softmax attention, a selective SSM and linear attention, one after another."""
    m = Maker(seed)
    inner, states, rank = 24, 4, 2
    for i in range(4):
        m.normal(f"blocks.{i}.norm.weight", (D,), 0.1, 1)
    m.linear("blocks.0.in", 3 * D, D, True, gain=1.5)
    m.normal("blocks.0.fir.weight", (3 * D, 1, 3), 0.6)
    m.normal("blocks.0.fir.bias", (3 * D,), 0.1)
    m.put("blocks.0.taps", m.random.standard_normal((D, LENGTH)) * 0.4 * np.exp(-np.arange(LENGTH) / 30))
    m.normal("blocks.0.skip", (D,), 0.5)
    m.linear("blocks.0.out", D, D, True)
    m.linear("blocks.1.q", D, D, False, gain=1.5)
    m.linear("blocks.1.k", D // 2, D, False, gain=1.5)
    m.linear("blocks.1.v", D // 2, D, False)
    m.linear("blocks.1.out", D, D, False)
    m.linear("blocks.2.in_proj", 2 * inner, D, False)
    m.normal("blocks.2.conv1d.weight", (inner, 1, 4), 0.5)
    m.normal("blocks.2.conv1d.bias", (inner,), 0.1)
    m.linear("blocks.2.x_proj", rank + 2 * states, inner, False, gain=2)
    m.linear("blocks.2.dt_proj", inner, rank, True)
    m.put("blocks.2.A_log", np.log(np.tile(np.arange(1.0, states + 1), (inner, 1))))
    m.normal("blocks.2.D", (inner,), 0.2, 1)
    m.linear("blocks.2.out_proj", D, inner, False)
    m.linear("blocks.3.qkv", 3 * D, D, False, gain=1.5)
    m.linear("blocks.3.out", D, D, False)
    make_mlp(m, "blocks.1.", 24)
    norm = rms("blocks.{i}.norm.weight")
    b = "blocks.{i}."
    blocks = [
        {"parts": [{"name": "hyena", "norm": norm, "steps": [
            linear("input", ["x0", "x1", "v"], b + "in", True),
            {"do": "convolve", "from": ["x0", "x1", "v"], "bias": b + "fir.bias",
             "filter": {"kind": "taps", "tensor": b + "fir.weight", "now": "last"}},
            {"do": "multiply", "from": ["x1", "v"], "to": "u"},
            {"do": "convolve", "from": "u", "filter": {"kind": "taps", "tensor": b + "taps"}, "skip": b + "skip"},
            {"do": "multiply", "from": ["x0", "u"], "to": "u"},
            linear("u", "output", b + "out", True)]}]},
        {"parts": [{"name": "attention", "norm": norm, "steps": [
            linear("input", "q", b + "q"), linear("input", "k", b + "k", width=D // 2),
            linear("input", "v", b + "v", width=D // 2),
            {"do": "attention", "from": ["q", "k", "v"], "to": "y", "heads": 4, "kv_heads": 2,
             "rotary": {"base": 10000}},
            linear("y", "output", b + "out")]}, mlp_part(b, 24)]},
        {"parts": [{"name": "mamba", "norm": norm, "steps": [
            linear("input", ["u", "z"], b + "in_proj", width=inner),
            {"do": "convolve", "from": "u", "bias": b + "conv1d.bias",
             "filter": {"kind": "taps", "tensor": b + "conv1d.weight", "now": "last"}},
            {"do": "activate", "from": "u", "with": "silu"},
            linear("u", ["rank", "B", "C"], b + "x_proj", width=[rank, states, states]),
            linear("rank", "dt", b + "dt_proj", True, width=inner),
            {"do": "activate", "from": "dt", "with": "softplus"},
            {"do": "selective-scan", "from": ["u", "dt", "B", "C"], "to": "y", "a_log": b + "A_log",
             "skip": b + "D"},
            {"do": "activate", "from": "z", "with": "silu"},
            {"do": "multiply", "from": ["y", "z"], "to": "y"},
            linear("y", "output", b + "out_proj")]}]},
        {"parts": [{"name": "linear attention", "norm": norm, "steps": [
            linear("input", ["q", "k", "v"], b + "qkv"),
            {"do": "linear-attention", "from": ["q", "k", "v"], "to": "y", "heads": 2, "feature": "elu+1"},
            linear("y", "output", b + "out")]}]}]
    return whole(18, blocks, m), m.tensors


def forward_mixed(config, w, tokens):
    x = w["embedding.weight"][tokens]
    length = len(tokens)

    def normed(i):
        return f.rms_norm(x, w[f"blocks.{i}.norm.weight"], 1e-6, True)

    p = "blocks.0."
    x0, x1, v = np.split(f.short_fir(f.linear(normed(0), w, p + "in"), w[p + "fir.weight"], w[p + "fir.bias"]), 3, 1)
    u = x1 * v
    x = x + f.linear(x0 * (f.convolve(w[p + "taps"].T, u) + w[p + "skip"] * u), w, p + "out")
    p = "blocks.1."
    n = normed(1)
    y = f.attention(*(f.linear(n, w, p + name) for name in "qkv"), 4, 2, rotary={"base": 10000.0})
    x = mlp(x + f.linear(y, w, p + "out"), w, p)
    p = "blocks.2."
    u, z = np.split(f.linear(normed(2), w, p + "in_proj"), 2, 1)
    u = f.silu(f.short_fir(u, w[p + "conv1d.weight"], w[p + "conv1d.bias"]))
    rank, b, c = np.split(f.linear(u, w, p + "x_proj"), [2, 6], 1)
    dt = np.log1p(np.exp(f.linear(rank, w, p + "dt_proj")))
    a, state, y = -np.exp(w[p + "A_log"]), 0, np.zeros_like(u)
    for t in range(length):
        state = np.exp(dt[t][:, None] * a) * state + dt[t][:, None] * b[t] * u[t][:, None]
        y[t] = state @ c[t] + w[p + "D"] * u[t]
    x = x + f.linear(y * f.silu(z), w, p + "out_proj")
    p = "blocks.3."
    q, k, v = (s.reshape(length, 2, -1) for s in np.split(f.linear(normed(3), w, p + "qkv"), 3, 1))
    q, k = (np.where(s > 0, s + 1, np.exp(s)) for s in (q, k))
    y = np.zeros_like(v)
    for head in range(2):
        weight = np.tril(q[:, head] @ k[:, head].T)
        y[:, head] = weight @ v[:, head] / weight.sum(-1, keepdims=True)
    x = x + f.linear(y.reshape(length, -1), w, p + "out")
    return logits(x, w)


def make_links(seed):
    """Blocks that read each other: block 2 reads block 0, block 0 what block 2 left one position ago."""
    m = Maker(seed)
    for i in range(3):
        m.normal(f"blocks.{i}.norm.weight", (D,), 0.1, 1)
        m.put(f"blocks.{i}.taps", m.random.standard_normal((D, LENGTH)) * 0.4 * np.exp(-np.arange(LENGTH) / 30))
        m.linear(f"blocks.{i}.in", D, D, True, gain=1.5)
        m.linear(f"blocks.{i}.gate", D, D, True, gain=1.5)
        m.linear(f"blocks.{i}.out", D, D, True, gain=1.5)
    norm = rms("blocks.{i}.norm.weight")
    b = "blocks.{i}."

    def block(read):
        seen = [{"do": "read", **read, "to": "seen"},
                {"do": "norm", "from": "seen", "norm": {"kind": "rms", "eps": 1e-6}}] if read else []
        return {"parts": [{"name": "gated convolution", "norm": norm, "steps": seen + [
            linear("input", "v", b + "in", True),
            linear("seen" if read else "input", "gate", b + "gate", True),
            {"do": "activate", "from": "gate", "with": "sigmoid"},
            {"do": "convolve", "from": "v", "filter": {"kind": "taps", "tensor": b + "taps"}},
            {"do": "multiply", "from": ["gate", "v"], "to": "v"},
            linear("v", "output", b + "out", True)]}]}

    return whole(17, [block({"block": 2, "delay": 1}), block(None), block({"block": 0})], m), m.tensors


def forward_links(config, w, tokens):
    length = len(tokens)
    streams, inputs, out = np.zeros((3, D)), np.zeros((3, length, D)), np.zeros((length, len(w["head.weight"])))
    for t in range(length):
        x, past = w["embedding.weight"][tokens[t]], streams[2].copy()
        for i in range(3):
            n = f.rms_norm(x, w[f"blocks.{i}.norm.weight"], 1e-6, True)
            seen = [past, None, streams[0]][i]
            seen = n if seen is None else f.rms_norm(seen, 1.0, 1e-6, True)
            inputs[i, t] = f.linear(n, w, f"blocks.{i}.in")
            y = (w[f"blocks.{i}.taps"][:, :t + 1] * inputs[i, t::-1].T).sum(1)
            x = x + f.linear(f.sigmoid(f.linear(seen, w, f"blocks.{i}.gate")) * y, w, f"blocks.{i}.out")
            streams[i] = x
        out[t] = logits(x, w)
    return out


def make_relaxed(seed):
    """Hyena's operator with filters that the tokens make: the newest tap of each channel comes with its position."""
    m = Maker(seed)
    for i in range(2):
        p = f"blocks.{i}."
        m.normal(p + "norm.weight", (D,), 0.1, 1)
        m.linear(p + "in", 4 * D, D, True, gain=1.5)
        m.normal(p + "fir.weight", (4 * D, 1, 3), 0.5)
        m.linear(p + "out", D, D, True)
        make_mlp(m, p, 24)
    b = "blocks.{i}."
    streams = ["x0", "x1", "v", "taps"]
    return whole(18, [{"repeat": 2, "parts": [
        {"name": "hyena with filters of its own making", "norm": rms(b + "norm.weight"), "steps": [
            linear("input", streams, b + "in", True),
            {"do": "convolve", "from": streams,
             "filter": {"kind": "taps", "tensor": b + "fir.weight", "now": "last"}},
            {"do": "multiply", "from": ["x1", "v"], "to": "u"},
            {"do": "relaxed-convolve", "from": ["u", "taps"], "to": "y"},
            {"do": "norm", "from": "y", "norm": {"kind": "rms", "eps": 1e-6}},
            {"do": "multiply", "from": ["x0", "y"], "to": "y"},
            linear("y", "output", b + "out", True)]},
        mlp_part(b, 24)]}], m), m.tensors


def forward_relaxed(config, w, tokens):
    x = w["embedding.weight"][tokens]
    for i in range(2):
        p = f"blocks.{i}."
        n = f.rms_norm(x, w[p + "norm.weight"], 1e-6, True)
        x0, x1, v, taps = np.split(f.short_fir(f.linear(n, w, p + "in"), w[p + "fir.weight"], 0), 4, 1)
        u = x1 * v
        y = np.stack([(u[:t + 1] * taps[t::-1]).sum(0) for t in range(len(tokens))])
        x = x + f.linear(x0 * f.rms_norm(y, 1.0, 1e-6, True), w, p + "out")
        x = mlp(x, w, p)
    return logits(x, w)


def make_ahead(seed):
    """Block 1 gates with what block 0's convolution is about to give, block 2 with what block 1's is."""
    m = Maker(seed)
    for i in range(3):
        p = f"blocks.{i}."
        m.normal(p + "norm.weight", (D,), 0.1, 1)
        m.put(p + "taps", m.random.standard_normal((D, LENGTH)) * 0.4 * np.exp(-np.arange(LENGTH) / 30))
        m.normal(p + "skip", (D,), 0.5)
        for name in ["in", "gate", "out"]:
            m.linear(p + name, D, D, True, gain=1.5)
    norm, b = rms("blocks.{i}.norm.weight"), "blocks.{i}."

    def block(i):
        seen = [{"do": "read", "block": i - 1, "ahead": True, "to": "seen"}] if i else []
        return {"parts": [{"name": "gated convolution", "norm": norm, "steps": seen + [
            linear("input", "v", b + "in", True),
            linear("seen" if i else "input", "gate", b + "gate", True),
            {"do": "activate", "from": "gate", "with": "sigmoid"},
            {"do": "convolve", "from": "v", "filter": {"kind": "taps", "tensor": b + "taps"}, "skip": b + "skip",
             "as": "convolution"},
            {"do": "multiply", "from": ["gate", "v"], "to": "v"},
            linear("v", "output", b + "out", True)]}]}

    return whole(17, [block(i) for i in range(3)], m), m.tensors


def forward_ahead(config, w, tokens):
    x, coming = w["embedding.weight"][tokens], None
    length = len(tokens)
    for i in range(3):
        p = f"blocks.{i}."
        n = f.rms_norm(x, w[p + "norm.weight"], 1e-6, True)
        gate = f.sigmoid(f.linear(n if coming is None else coming, w, p + "gate"))
        v, taps = f.linear(n, w, p + "in"), w[p + "taps"]
        y = f.convolve(taps.T, v) + w[p + "skip"] * v
        # What the inputs up to t give to output t + 1: nothing of the skip, which wants that one's own.
        coming = np.stack([(v[:t + 1] * taps[:, t + 1:0:-1].T).sum(0) for t in range(length)])
        x = x + f.linear(gate * y, w, p + "out")
    return logits(x, w)
