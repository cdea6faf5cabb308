"""The tiling of Flash Inference (arXiv 2410.12982) in PyTorch: what torch_gpu.py checks and measures.

Histories are [batch, mixers * channels, length]: contributions to the positions to come, inputs at those that are known.
64 positions at a time are copied into a window that stays where it is. So each of its positions is one CUDA graph whole:
red cells (or all layers of the synthetic stack), then the tile that falls due, for all layers at once. Tiles from 64 on
fall due once a window; they run on the histories themselves by plain calls, whose launches are lost in their own time.
On a CPU graphs are plain calls, and all else is the same.
"""
import time

import torch
import torch.nn.functional as F

WINDOW = 64
NOISE_ROWS = 17 * WINDOW  # Rows of noise that take turns: no power of two, so that blocks differ.
LARGEST = {"product": WINDOW // 2, "matmul": WINDOW // 2, "conv1d": 1024}  # Beyond, transforms win by far, and matrices take size^2 floats.


class Runner:
    """Captures, waits and takes the time."""

    def __init__(self, device):
        self.cuda = device.type == "cuda"
        # One stream to warm up and to capture on: what libraries keep a stream is then made outside of graphs.
        self.stream = torch.cuda.Stream() if self.cuda else None
        # Graphs of one pool share their temporaries. Nothing that a graph made is used outside of it, and they run one
        # after another, so they may. A pool must not be captured into again once all its graphs are gone.
        self.pool = torch.cuda.graph_pool_handle() if self.cuda else None

    def wait(self):
        if self.cuda:
            torch.cuda.synchronize()

    def seconds(self, body):
        """Of one run: the median of three rounds of 5 to 200 runs."""

        def a_round(repeats):
            self.wait()
            start = time.perf_counter()
            for _ in range(repeats):
                body()
            self.wait()
            return (time.perf_counter() - start) / repeats

        a_round(1)  # Whatever is made when it is first wanted.
        repeats = min(200, max(5, int(2e-3 / a_round(1))))
        return sorted(a_round(repeats) for _ in range(3))[1]

    def capture(self, work, shared=True):
        """A function that does `work` again, on the same memory. Runs it once, on a GPU."""
        if not self.cuda:
            return work
        self.stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self.stream):
            work()
        torch.cuda.current_stream().wait_stream(self.stream)
        graph, before = torch.cuda.CUDAGraph(), torch.cuda.current_stream()
        try:
            with torch.cuda.graph(graph, pool=self.pool if shared else None, stream=self.stream):
                work()
        finally:
            torch.cuda.set_stream(before)  # A capture that fails leaves its own behind.
        return graph.replay


def relative_error(got, want):
    """Largest error as a share of the largest |want|. NaN where either has one."""
    return ((got.double() - want).abs().max() / want.abs().max()).item()


def exact(x, rho):
    """Causal convolutions [..., n] in float64."""
    n = x.shape[-1]
    return torch.fft.irfft(torch.fft.rfft(x.double(), n=2 * n) * torch.fft.rfft(rho[..., :n].double(), n=2 * n), n=2 * n)[..., :n]


def some_channels(channels):
    return sorted({k * (channels - 1) // 5 for k in range(6)})


def taps_of(rho, size):
    """rho[:, 0 .. 2 size), zeros where there are none."""
    taps = rho[:, : 2 * size]
    return F.pad(taps, (0, 2 * size - taps.shape[1])) if taps.shape[1] < 2 * size else taps


def make_tile(rho, size, way):
    """A function (x, target): target[j] += sum_i x[i] rho[size + j - i], for as many j as target has."""
    channels, taps = rho.shape[0], taps_of(rho, size)
    if way == "multiply":
        tap = taps[:, 1:2].contiguous()
        return lambda x, target: target.addcmul_(x, tap)
    if way in ("product", "matmul"):
        at = torch.arange(size, device=rho.device)
        matrices = taps[:, size + at[:, None] - at[None, :]].contiguous()
        if way == "product":
            outputs = lambda x: (x.unsqueeze(-2) * matrices).sum(-1)
        else:
            outputs = lambda x: torch.bmm(matrices, x.permute(1, 2, 0)).permute(2, 0, 1)
    elif way == "conv1d":
        weight = taps[:, 1:].flip(-1).unsqueeze(1).contiguous()  # weight[k] = rho[2 size - 1 - k]
        outputs = lambda x: F.conv1d(x, weight, padding=size - 1, groups=channels)
    else:
        spectrum = torch.fft.rfft(taps)
        outputs = lambda x: torch.fft.irfft(torch.fft.rfft(x, n=2 * size).mul_(spectrum), n=2 * size)[..., size:]
    return lambda x, target: target.add_(outputs(x)[..., : target.shape[-1]])


class Tile:
    """The fastest way for one size; all are checked with float64 first. Overwrites [0, 2 size) of `memory`."""

    def __init__(self, runner, rho, size, memory, graph):
        self.seconds, self.error, self.failed = float("inf"), 0.0, {}
        few = some_channels(rho.shape[0])
        # Where the sequence ends within the tile, it is measured as what it is there.
        x, target = memory[..., :size], memory[..., size : 2 * size]
        x.normal_()
        want = exact(F.pad(x[:, few], (0, size)), taps_of(rho[few], size))[..., size : size + target.shape[-1]]
        ways = ("product", "matmul", "conv1d", "fft") if size > 1 else ("multiply",)
        for way in (way for way in ways if size <= LARGEST.get(way, size)):
            try:
                add = make_tile(rho, size, way)
                target.zero_()
                add(x, target)
                error = relative_error(target[:, few], want)
                work = lambda: add(x, target)
                seconds = runner.seconds(runner.capture(work, shared=False) if graph else work)
            except torch.cuda.OutOfMemoryError:
                raise
            except RuntimeError as failure:  # A library that cannot do this size, or not in a graph.
                self.failed[way] = str(failure).splitlines()[0]
                continue
            if not error < 2e-6:
                self.failed[way] = f"off by {error:.1e}"
                continue
            self.error = max(self.error, error)
            if seconds < self.seconds:
                self.add, self.way, self.seconds = add, way, seconds
        if self.seconds == float("inf"):
            raise SystemExit(f"PyTorch computes no tile of {size}: {self.failed}")


class Mixers:
    """Mixers alone: inputs are noise, and outputs go nowhere."""

    def __init__(self, rho, batch):
        self.inputs, self.head = rho.shape[0], rho[:, 0].contiguous()

    def reset(self):
        pass

    def step(self, window, w, x, y):
        column = window[..., w]
        torch.addcmul(column, x, self.head, out=y)
        column.copy_(x)


class Stack:
    """The synthetic setting: a layer is a mixer, D -> 4D, GELU, 4D -> D; the next input is the last output and noise."""

    def __init__(self, runner, rho, batch, mixers, channels):
        self.mixers, self.inputs, self.head = mixers, channels, rho[:, 0].contiguous()
        self.last = torch.zeros(batch, channels, device=rho.device)
        # As lcsm's own: a layer scales by 0.5 to 0.7.
        self.up = torch.randn(mixers, 4 * channels, channels, device=rho.device) / channels**0.5
        self.down = torch.randn(mixers, channels, 4 * channels, device=rho.device) / (2 * channels**0.5)
        products = {"linear": F.linear, "matmul": lambda x, w: torch.matmul(w, x.T).T}
        if batch == 1:
            products["mv"] = lambda x, w: torch.mv(w, x[0]).unsqueeze(0)
        # Over all layers, so that weights come from memory as they do in a step.
        times = {way: runner.seconds(runner.capture(lambda: self.mlps(product), shared=False))
                 for way, product in products.items()}
        self.way = min(times, key=times.get)
        self.product = products[self.way]

    def mlp(self, x, layer, product):
        return product(F.gelu(product(x, self.up[layer]), approximate="tanh"), self.down[layer])

    def mlps(self, product):
        for layer in range(self.mixers):
            self.mlp(self.last, layer, product)

    def reset(self):
        self.last.zero_()

    def step(self, window, w, x, y):
        x = self.last + x
        for layer in range(self.mixers):
            part = slice(layer * self.inputs, (layer + 1) * self.inputs)
            column = window[:, part, w]
            mixed = torch.addcmul(column, x, self.head[part])
            column.copy_(x)
            x = self.mlp(mixed, layer, self.product)
        y.copy_(x)
        self.last.copy_(x)

    def exact(self, rho, noise, count):
        """Outputs [batch, channels, count] of a loop in float64, by the definition."""
        up, down, rho = self.up.double(), self.down.double(), rho[:, :count].double()
        rho = rho.view(self.mixers, self.inputs, count).flip(-1)
        history = torch.zeros(self.mixers, *self.last.shape, count, dtype=torch.double, device=rho.device)
        last, outputs = 0, []
        for t in range(count):
            x = last + noise[t % NOISE_ROWS].double()
            for layer in range(self.mixers):
                history[layer, ..., t] = x
                x = (history[layer, ..., : t + 1] * rho[layer, :, count - 1 - t :]).sum(-1)
                x = F.gelu(x @ up[layer].T, approximate="tanh") @ down[layer].T
            last = x
            outputs.append(x)
        return torch.stack(outputs, -1)


class Tiling:
    def __init__(self, runner, model, rho, batch, length):
        self.runner, self.model, self.length = runner, model, length
        channels, device = rho.shape[0], rho.device
        self.history = torch.zeros(batch, channels, -(-length // WINDOW) * WINDOW, device=device)
        self.window = torch.zeros(batch, channels, WINDOW, device=device)
        self.x = torch.zeros(WINDOW, batch, model.inputs, device=device)
        self.y = torch.zeros_like(self.x)
        self.noise = torch.randn(NOISE_ROWS, batch, model.inputs, device=device)
        self.tiles, size = {}, 1
        while size < max(length, WINDOW):
            inside = size < WINDOW
            self.tiles[size] = Tile(runner, rho, size, self.window if inside else self.history, inside)
            size *= 2
        self.steps = [runner.capture(lambda w=w: self.step(w)) for w in range(WINDOW)]

    def step(self, w):
        self.model.step(self.window, w, self.x[w], self.y[w])
        known = w + 1
        if known < WINDOW:
            size = known & -known
            self.tiles[size].add(self.window[..., known - size : known], self.window[..., known : known + size])

    def reset(self):
        self.model.reset()
        self.history.zero_()
        self.window.zero_()

    def run_window(self, first, last):
        row = first % NOISE_ROWS
        self.x.copy_(self.noise[row : row + WINDOW])
        for step in self.steps[: last - first]:
            step()

    def run(self, last, outputs=None):
        """Positions [0, last), once reset. Appends [64, batch, inputs] to outputs for each window."""
        for first in range(0, last, WINDOW):
            self.run_window(first, min(last, first + WINDOW))
            if outputs is not None:
                outputs.append(self.y.clone())
            known = first + WINDOW
            if known >= last:
                break
            self.history[..., first:known] = self.window
            size = known & -known
            self.tiles[size].add(self.history[..., known - size : known], self.history[..., known : known + size])
            self.window.copy_(self.history[..., known : known + WINDOW])

    def outputs(self, count):
        """The first outputs, [batch, inputs, count]."""
        self.reset()
        outputs = []
        self.run(count, outputs)
        return torch.cat(outputs)[:count].permute(1, 2, 0)

    def foretold_seconds(self):
        """Of all positions, from the time of a window and of each larger tile."""
        self.reset()
        place = self.history[..., :WINDOW]

        def a_window():
            self.run_window(0, WINDOW)
            place.copy_(self.window)
            self.window.copy_(place)

        total = -(-self.length // WINDOW) * self.runner.seconds(a_window)
        for known in range(WINDOW, self.length, WINDOW):
            total += self.tiles[known & -known].seconds
        return total
