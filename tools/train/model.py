"""The Hyena language model of order 2 in PyTorch, arranged for training on a few CPU cores.

Activations stay (batch, channel, time) between in_proj and out_proj, so that the short
filter, the gates and the FFTs all run along contiguous rows. Everything between the two
projections is one autograd function with a hand-written backward pass, which needs real
transforms only and keeps few intermediates.
"""
import math

import torch
import torch.nn.functional as F


def positional_features(l_max, emb_dim):
    """z (l_max, E) and t (l_max): what the checkpoint stores as pos_emb.

    The usual features are sines of the lag over the whole context, which cannot tell
    neighbouring small lags apart. Language lives in small lags, so the features here are
    sines of the *logarithm* of the lag, 0 at lag 0 and 1 at the far end. Column 0 remains
    the plain linear t.
    """
    n = torch.arange(l_max, dtype=torch.float64)
    t = n / (l_max - 1)
    lam = torch.log1p(n) / math.log(l_max)
    bands = (emb_dim - 1) // 2
    f = torch.linspace(0.5, 6.0, bands, dtype=torch.float64)
    ang = 2 * math.pi * lam[:, None] * f[None, :]
    z = torch.cat([t[:, None], torch.cos(ang), -torch.sin(ang)], dim=1)
    return z.float(), t.float()


def window_deltas(l_max, channels):
    """Decay rates such that the windows' time constants run geometrically from 1.5 taps to l_max taps."""
    tau = torch.logspace(math.log10(1.5), math.log10(l_max), channels, dtype=torch.float64)
    return -((l_max - 1) / tau).float(), tau


class GatedLongConv(torch.autograd.Function):
    """p (B, 3D, L) -> x0 * (h * (x1 * v)), with [x0, x1, v] the short-filtered p; h includes the skip in tap 0."""

    @staticmethod
    def forward(ctx, p, fw, fb, h):
        B, C, L = p.shape
        D = C // 3
        q = p * fw[:, 2:3]
        q += fb[:, None]
        q[:, :, 1:].addcmul_(p[:, :, :-1], fw[:, 1:2])
        q[:, :, 2:].addcmul_(p[:, :, :-2], fw[:, 0:1])
        x0, x1, v = q[:, :D], q[:, D:2 * D], q[:, 2 * D:]
        U = torch.fft.rfft(x1 * v, n=2 * L)
        H = torch.fft.rfft(h, n=2 * L)
        y = torch.fft.irfft(U * H, n=2 * L)[..., :L]
        ctx.save_for_backward(p, q, fw, U, H, y)
        return y * x0

    @staticmethod
    def backward(ctx, g):
        p, q, fw, U, H, y = ctx.saved_tensors
        B, C, L = p.shape
        D = C // 3
        x0, x1, v = q[:, :D], q[:, D:2 * D], q[:, 2 * D:]
        dq = torch.empty_like(q)
        torch.mul(g, y, out=dq[:, :D])
        G = torch.fft.rfft(g * x0, n=2 * L)
        gh = torch.fft.irfft((G * U.conj()).sum(0), n=2 * L)[..., :L]
        gu = torch.fft.irfft(G.mul_(H.conj()), n=2 * L)[..., :L]
        torch.mul(gu, v, out=dq[:, D:2 * D])
        torch.mul(gu, x1, out=dq[:, 2 * D:])
        gp = dq * fw[:, 2:3]
        gp[:, :, :-1].addcmul_(dq[:, :, 1:], fw[:, 1:2])
        gp[:, :, :-2].addcmul_(dq[:, :, 2:], fw[:, 0:1])
        gw = torch.stack([
            (dq[:, :, 2:] * p[:, :, :-2]).sum((0, 2)),
            (dq[:, :, 1:] * p[:, :, :-1]).sum((0, 2)),
            (dq * p).sum((0, 2)),
        ], dim=1)
        return gp, gw, dq.sum((0, 2)), gh


class Model(torch.nn.Module):
    """Parameters carry short names here; export.py maps them to the checkpoint's."""

    def __init__(self, cfg):
        super().__init__()
        self.cfg = cfg
        D, M, I, E, FW = (cfg[k] for k in ("d_model", "n_layer", "d_inner", "emb_dim", "filter_order"))
        gen = torch.Generator().manual_seed(cfg["seed"])
        P = {}

        def normal(name, shape, std):
            P[name] = torch.randn(shape, generator=gen) * std

        def uniform(name, shape, bound):
            P[name] = (torch.rand(shape, generator=gen) * 2 - 1) * bound

        normal("emb", (cfg["padded_vocab"], D), 0.05)
        if not cfg["tied"]:
            normal("head", (cfg["padded_vocab"], D), 0.02)
        P["lnf_w"], P["lnf_b"] = torch.ones(D), torch.zeros(D)
        for i in range(M):
            q = f"l{i}_"
            for n in ("n1", "n2"):
                P[q + n + "_w"], P[q + n + "_b"] = torch.ones(D), torch.zeros(D)
            normal(q + "in_w", (3, D, D), 0.5 / math.sqrt(D))
            P[q + "in_b"] = torch.zeros(3 * D)
            uniform(q + "fir_w", (3 * D, 3), 1 / math.sqrt(3))
            P[q + "fir_b"] = torch.zeros(3 * D)
            P[q + "skip"] = torch.ones(D)
            uniform(q + "f0_w", (FW, E), 1 / math.sqrt(E))
            uniform(q + "f0_b", (FW,), 1 / math.sqrt(E))
            P[q + "freq"] = torch.full((FW,), float(cfg["w"]))
            for n in ("f2", "f4"):
                uniform(q + n + "_w", (FW, FW), 1 / math.sqrt(FW))
                uniform(q + n + "_b", (FW,), 1 / math.sqrt(FW))
            uniform(q + "f6_w", (D, FW), 1 / math.sqrt(FW))
            normal(q + "out_w", (D, D), 0.3 / math.sqrt(D * M))
            P[q + "out_b"] = torch.zeros(D)
            normal(q + "fc1_w", (I, D), 0.5 / math.sqrt(D))
            P[q + "fc1_b"] = torch.zeros(I)
            normal(q + "fc2_w", (D, I), 0.3 / math.sqrt(I * M))
            P[q + "fc2_b"] = torch.zeros(D)
        self.P = torch.nn.ParameterDict({k: torch.nn.Parameter(v) for k, v in P.items()})
        z, t = positional_features(cfg["l_max"], E)
        deltas, tau = window_deltas(cfg["l_max"], D)
        # A row of the last filter layer is trained in units of its window's mass, or the
        # slow channels would start (and move) a hundred times louder than the fast ones.
        # With a shift the window never closes; the constant floor then counts as well.
        scale = (1 + tau / 2 + cfg["shift"] ** 2 * cfg["l_max"]).rsqrt().float()
        window = torch.exp(-t[None, :] * deltas.abs()[:, None]) + cfg["shift"]
        for n, v in dict(z=z, t=t, deltas=deltas, scale=scale, window=window).items():
            self.register_buffer(n, v, persistent=False)

    def filter(self, i, L):
        P, q = self.P, f"l{i}_"
        a = self.z[:L]
        for n in ("f0", "f2", "f4"):
            a = torch.sin(P[q + "freq"] * F.linear(a, P[q + n + "_w"], P[q + n + "_b"]))
        h = (P[q + "f6_w"] * self.scale[:, None]) @ a.t() * self.window[:, :L]
        return torch.cat([h[:, :1] + P[q + "skip"][:, None], h[:, 1:]], dim=1)

    def forward(self, ids):
        P = self.P
        B, L = ids.shape
        D = self.cfg["d_model"]
        x = F.embedding(ids, P["emb"])
        for i in range(self.cfg["n_layer"]):
            q = f"l{i}_"
            u = F.layer_norm(x, (D,), P[q + "n1_w"], P[q + "n1_b"])
            w = P[q + "in_w"].view(3 * D, D)
            p = torch.baddbmm(P[q + "in_b"][None, :, None], w.expand(B, -1, -1), u.transpose(1, 2))
            y = GatedLongConv.apply(p, P[q + "fir_w"], P[q + "fir_b"], self.filter(i, L))
            x = x + torch.baddbmm(P[q + "out_b"], y.transpose(1, 2), P[q + "out_w"].t().expand(B, -1, -1))
            u = F.layer_norm(x, (D,), P[q + "n2_w"], P[q + "n2_b"])
            u = F.gelu(F.linear(u, P[q + "fc1_w"], P[q + "fc1_b"]), approximate="tanh")
            x = x + F.linear(u, P[q + "fc2_w"], P[q + "fc2_b"])
        x = F.layer_norm(x, (D,), P["lnf_w"], P["lnf_b"])
        return F.linear(x, P["emb"] if self.cfg["tied"] else P["head"])
