"""Lazy and eager, the quadratic ways that arXiv 2410.12982 compares itself with, in PyTorch: for torch_gpu.py."""
import torch

from torch_tiling import exact, relative_error, some_channels

PLACES = 8  # Between positions that are measured.


class Quadratic:
    """`parts` layers are computed one after another where one's outputs are another's inputs."""
    LAZY = {
        "product": lambda x, taps: (x * taps).sum(-1),
        "matmul": lambda x, taps: torch.bmm(x.permute(1, 0, 2), taps.unsqueeze(-1)).squeeze(-1).T,
        "vecdot": lambda x, taps: torch.linalg.vecdot(x, taps.unsqueeze(0)),
    }
    EAGER = {
        "addcmul": lambda target, x, taps: target.addcmul_(x, taps),
        "multiply, add": lambda target, x, taps: target.add_(x * taps),
    }

    def __init__(self, rho, history, length, parts):
        self.rho, self.history, self.length = rho, history, length
        self.flipped = rho.flip(-1)
        width = rho.shape[0] // parts
        self.parts = [slice(p * width, (p + 1) * width) for p in range(parts)]

    def lazy(self, way, t, x, end):
        self.history[..., t] = x
        dot = self.LAZY[way]
        first = self.length - 1 - t  # flipped[first + i] = rho[t - i]
        return [dot(self.history[:, part, : t + 1], self.flipped[part, first:]) for part in self.parts]

    def eager(self, way, t, x, end):
        y = torch.addcmul(self.history[..., t], x, self.rho[:, 0])
        self.EAGER[way](self.history[..., t + 1 : end], x.unsqueeze(-1), self.rho[:, 1 : end - t])
        return [y]

    def check(self, name, way, noise, count):
        self.history[..., :count].zero_()
        step = getattr(self, name)
        few = some_channels(self.rho.shape[0])
        got = torch.stack([torch.cat(step(way, t, noise[t], count), -1)[:, few] for t in range(count)], -1)
        error = relative_error(got, exact(noise[:count, :, few].permute(1, 2, 0), self.rho[few]))
        if not error < 2e-6:
            raise SystemExit(f"PyTorch's {name} by {way} is off by {error}")
        return error

    def measure(self, name, runner, noise):
        """(way, seconds of all positions, largest error)."""
        step, x, length = getattr(self, name), noise[0], self.length
        ways = self.LAZY if name == "lazy" else self.EAGER
        error = max(self.check(name, way, noise, min(length, len(noise))) for way in ways)
        self.history.zero_()
        way = min(ways, key=lambda way: runner.seconds(lambda: step(way, length // 2, x, length)))
        places = [min(length - 1, length * k // PLACES) for k in range(PLACES + 1)]
        times = [runner.seconds(lambda: step(way, t, x, length)) for t in places]
        area = sum((times[k] + times[k + 1]) / 2 * (places[k + 1] - places[k]) for k in range(PLACES))
        return way, area, error
