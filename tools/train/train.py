"""Trains a preset and can be stopped and restarted at will: python train.py kjv-bytes

State is written every --save-every seconds and on SIGTERM/SIGINT: parameters, optimiser
moments, torch's random state, the step (which alone determines the data position and the
learning rates), the loss log and the time used so far.
"""
import argparse
import ctypes
import json
import math
import os
import resource
import signal
import time

import numpy as np
import torch
import torch.nn.functional as F

from model import Model
from presets import PRESETS

HERE = os.path.dirname(os.path.abspath(__file__))


def keep_heap():
    """Lets glibc reuse large blocks: by default each big tensor is a fresh mmap, page-faulted in again."""
    try:
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(-4, 0)            # M_MMAP_MAX
        libc.mallopt(-1, 0x7FFFFFFF)   # M_TRIM_THRESHOLD
    except OSError:
        pass


def is_long(cfg, step):
    return step % (cfg["long_every_decay"] if step >= cfg["decay_start"] else cfg["long_every"]) == 1


def batch(cfg, data, step):
    """Rows of step `step`: each of the two lengths walks through its own endless series of permutations
    of the corpus cut into pieces, with the cuts shifted anew in every round."""
    long = is_long(cfg, step)
    L, rows = cfg["long"] if long else cfg["short"]
    before = sum(1 for s in range(step) if is_long(cfg, s) == long) * rows
    pieces = (len(data) - 1) // L - 1
    out = np.empty((rows, L + 1), dtype=np.int64)
    for r in range(rows):
        rnd, k = divmod(before + r, pieces)
        rng = np.random.default_rng([cfg["seed"], L, rnd])
        offset = int(rng.integers(L))
        at = offset + int(rng.permutation(pieces)[k]) * L
        out[r] = data[at:at + L + 1]
        if cfg["data"] == "ecoli" and np.random.default_rng([cfg["seed"], step, r]).integers(2):
            # the other strand is as good a text: reverse, and A<->T, C<->G are 7<->10, 8<->9
            out[r] = np.where(out[r] < 11, 17 - out[r], 11)[::-1]
    return torch.from_numpy(out)


def rate(cfg, step):
    """Warm-up, plateau, then straight lines through the knots (step, factor) of the decay.

    More than one line, because the end had to move while the decay ran: the machine was shared.
    """
    if step < cfg["warmup"]:
        return (step + 1) / cfg["warmup"]
    return float(np.interp(step, *zip((cfg["decay_start"], 1.0), *cfg["decay"])))


def orthogonalise(g, iterations=5):
    """Newton-Schulz towards the nearest (semi-)orthogonal matrix, for a batch of matrices.

    The quintic x -> a x + b x^3 + c x^5 drives all singular values near 1 quickly rather than exactly to it,
    which is enough for an update direction.
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    tall = g.shape[-2] > g.shape[-1]
    x = g.transpose(-1, -2) if tall else g
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(iterations):
        s = x @ x.transpose(-1, -2)
        x = a * x + (b * s + c * (s @ s)) @ x
    return x.transpose(-1, -2) if tall else x


class Optimiser:
    """Muon (momentum, then orthogonalised) for the matrices of projections and MLPs; Adam for all else."""

    def __init__(self, model, cfg):
        self.cfg = cfg
        self.muon, adam = {}, {"base": [], "filter": []}
        for n, p in model.P.items():
            kind = n.split("_", 1)[-1]
            if kind in ("in_w", "out_w", "fc1_w", "fc2_w"):
                self.muon[n] = p
            elif kind.split("_")[0] in ("f0", "f2", "f4", "f6", "freq"):
                adam["filter"].append(p)
            else:
                adam["base"].append(p)
        self.mom = {n: torch.zeros_like(p) for n, p in self.muon.items()}
        self.adam_params = adam["base"] + adam["filter"]
        self.adam = torch.optim.AdamW([
            dict(params=adam["base"], lr=cfg["lr_adam"], kind="lr_adam"),
            dict(params=adam["filter"], lr=cfg["lr_filter"], kind="lr_filter"),
        ], betas=(0.9, 0.98), weight_decay=0.0)

    @torch.no_grad()
    def step(self, scale, step):
        torch.nn.utils.clip_grad_norm_(self.adam_params, 1.0)
        for g in self.adam.param_groups:
            g["lr"] = self.cfg[g["kind"]] * scale
        self.adam.step()
        # a short ramp of the momentum keeps the first, noisy updates from lingering
        mu = 0.85 + 0.10 * min(step / 300, 1)
        groups = {}
        for n, p in self.muon.items():
            m = self.mom[n]
            m.lerp_(p.grad, 1 - mu)
            groups.setdefault(p.shape[-2:], []).append((p, p.grad.lerp(m, mu)))
        lr = self.cfg["lr_muon"] * scale
        for shape, items in groups.items():
            flat = orthogonalise(torch.cat([g.view(-1, *shape) for _, g in items]))
            gain = max(1.0, shape[0] / shape[1]) ** 0.5
            at = 0
            for p, _ in items:
                k = p.numel() // (shape[0] * shape[1])
                p.mul_(1 - lr * self.cfg["weight_decay"])
                p.add_(flat[at:at + k].reshape(p.shape), alpha=-lr * gain)
                at += k

    def state_dict(self):
        return dict(adam=self.adam.state_dict(), mom=self.mom)

    def load_state_dict(self, s):
        self.adam.load_state_dict(s["adam"])
        self.mom = s["mom"]


def short_eval(model, cfg, valid, rows=32, L=1024):
    """A quick look during training: cold windows of 1024 tokens, spread over the held-out text."""
    at = np.linspace(0, len(valid) - L - 1, rows).astype(int)
    total = 0.0
    with torch.no_grad():
        for a in at:
            ids = torch.from_numpy(valid[a:a + L + 1].astype(np.int64))[None]
            total += F.cross_entropy(model(ids[:, :-1])[0], ids[0, 1:]).item()
    return total / rows / math.log(2)


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    ap.add_argument("model", choices=PRESETS)
    ap.add_argument("--work", default=os.path.join(HERE, "work"))
    ap.add_argument("--threads", type=int, default=1)
    ap.add_argument("--save-every", type=float, default=120)
    ap.add_argument("--eval-every", type=int, default=200)
    ap.add_argument("--stop-at-step", type=int, default=None)
    ap.add_argument("--set", action="append", default=[], metavar="KEY=VALUE",
                    help="override a number of the preset (for experiments)")
    args = ap.parse_args()
    cfg = dict(PRESETS[args.model])
    for kv in args.set:
        k, v = kv.split("=")
        cfg[k] = type(cfg[k])(json.loads(v))
    keep_heap()
    torch.set_num_threads(args.threads)
    torch.manual_seed(cfg["seed"])
    work = os.path.join(args.work, args.model)
    data = np.load(os.path.join(work, "train.npy"))
    valid = np.load(os.path.join(work, "valid.npy"))
    model = Model(cfg)
    opt = Optimiser(model, cfg)
    step, log, used = 0, [], dict(wall=0.0, cpu=0.0)
    path = os.path.join(work, "checkpoint.pt")
    if os.path.exists(path):
        ck = torch.load(path, weights_only=False)
        model.load_state_dict(ck["model"])
        opt.load_state_dict(ck["opt"])
        torch.set_rng_state(ck["rng"])
        step, log, used = ck["step"], ck["log"], ck["used"]
        print(f"resumed at step {step}", flush=True)
    print(f"{args.model}: {sum(p.numel() for p in model.parameters())} parameters", flush=True)

    wall0, base = time.time(), dict(used)

    def times():
        ru = resource.getrusage(resource.RUSAGE_SELF)
        return dict(wall=base["wall"] + time.time() - wall0, cpu=base["cpu"] + ru.ru_utime + ru.ru_stime)

    def save():
        torch.save(dict(model=model.state_dict(), opt=opt.state_dict(), rng=torch.get_rng_state(), step=step,
                        log=log, used=times(), cfg=cfg), path + ".new")
        os.replace(path + ".new", path)

    stop = []
    for s in (signal.SIGTERM, signal.SIGINT):
        signal.signal(s, lambda *_: stop.append(1))
    saved = time.time()
    last = args.stop_at_step or cfg["steps"]
    acc = []
    while step < last and not stop:
        ids = batch(cfg, data, step)
        logits = model(ids[:, :-1])
        loss = F.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())
        model.zero_grad(set_to_none=True)
        loss.backward()
        opt.step(rate(cfg, step), step)
        acc.append(loss.item() / math.log(2))
        step += 1
        if step % 20 == 0 or step == last:
            t = times()
            row = dict(step=step, train_bits=float(np.mean(acc)), wall=round(t["wall"], 1), cpu=round(t["cpu"], 1))
            acc = []
            if step % args.eval_every == 0 or step == last:
                row["valid_bits"] = short_eval(model, cfg, valid)
            log.append(row)
            print(json.dumps(row), flush=True)
            if not math.isfinite(row["train_bits"]):
                raise SystemExit("loss is not finite")
        if time.time() - saved > args.save_every:
            save()
            saved = time.time()
    save()
    print("done" if step >= cfg["steps"] else f"stopped at step {step}", times(), flush=True)


if __name__ == "__main__":
    main()
