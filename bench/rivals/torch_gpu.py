"""PyTorch on a GPU against lcsm: the mixers of the paper's synthetic setting, by the paper's own means.

    python3 bench/rivals/torch_gpu.py --mixers 18 --channels 768 --length 65536 --json out.json

Lazy, eager and the tiling of Flash Inference (arXiv 2410.12982) with torch.nn.functional.conv1d or torch.fft for each
tile size, whichever is faster here (measured first), filters' spectra precomputed, one CUDA graph a tile size over
buffers that stay where they are. Outputs are compared with float64 sums before anything is timed. Lazy and eager are
run at some positions and integrated, as lcsm_gpu_bench does.
"""
import argparse
import json
import time

import torch


def make_tile(x, rho, size, way):
    """Returns (inputs, outputs, graph): outputs[j] = sum_i inputs[i] rho[size + j - i]."""
    channels = rho.shape[0]
    inputs = torch.zeros(x.shape[0], channels, size, device=x.device)
    taps = rho[:, : 2 * size].contiguous()
    if taps.shape[1] < 2 * size:
        taps = torch.nn.functional.pad(taps, (0, 2 * size - taps.shape[1]))
    if way == "fft":
        spectrum = torch.fft.rfft(taps)

        def work():
            return torch.fft.irfft(torch.fft.rfft(inputs, n=2 * size) * spectrum, n=2 * size)[..., size:]
    else:
        weight = taps[:, 1:].flip(-1).unsqueeze(1).contiguous()  # w[k] = rho[2 size - 1 - k]

        def work():
            return torch.nn.functional.conv1d(inputs, weight, padding=size - 1, groups=channels)
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        for _ in range(3):
            outputs = work()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        outputs = work()
    return inputs, outputs, graph


def seconds(body, repeats):
    torch.cuda.synchronize()
    start = time.perf_counter()
    for _ in range(repeats):
        body()
    torch.cuda.synchronize()
    return (time.perf_counter() - start) / repeats


class Tiling:
    def __init__(self, x, rho, length):
        self.tiles, self.ways = {}, {}
        size = 1
        while size < length:
            best = None
            for way in ("conv1d", "fft"):
                if way == "conv1d" and size > 1024 or way == "fft" and size < 2:
                    continue
                tile = make_tile(x, rho, size, way)
                took = seconds(tile[2].replay, 5)
                if best is None or took < best[0]:
                    best = (took, way, tile)
            self.tiles[size], self.ways[size] = best[2], best[1]
            size *= 2

    def run(self, buffer, x, head, first, last):
        """Positions [first, last) of [rows, channels, length]; gives the outputs' buffer."""
        length = buffer.shape[-1]
        y = torch.empty_like(buffer[..., :1])
        outputs = []
        for t in range(first, last):
            column = x[..., t % x.shape[-1]]
            y = buffer[..., t] + column * head
            if last <= 512:
                outputs.append(y.clone())
            buffer[..., t] = column
            r = t + 1
            if r >= length:
                break
            size = r & -r
            inputs, out, graph = self.tiles[size]
            inputs.copy_(buffer[..., r - size : r])
            graph.replay()
            end = min(length, r + size)
            buffer[..., r:end] += out[..., : end - r]
        return outputs


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--mixers", type=int, default=18)
    parser.add_argument("--channels", type=int, default=768)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--length", type=int, default=65536)
    parser.add_argument("--json")
    a = parser.parse_args()
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    device = torch.device("cuda")
    torch.manual_seed(1)
    channels = a.mixers * a.channels
    with torch.no_grad():
        rho = torch.randn(channels, a.length, device=device)
        x = torch.randn(a.batch, channels, 997, device=device)
        tiling = Tiling(x, rho, a.length)
        head = rho[:, 0]
        buffer = torch.zeros(a.batch, channels, a.length, device=device)
        got = torch.stack(tiling.run(buffer, x, head, 0, 300), -1)[:, :4].double()
        want = torch.nn.functional.conv1d(
            torch.nn.functional.pad(x[:, :4, :300].double(), (299, 0)), rho[:4, :300].double().flip(-1).unsqueeze(1), groups=4)
        error = ((got - want).abs().max() / want.abs().max()).item()
        assert error < 2e-6, f"PyTorch's tiling is off by {error}"
        buffer.zero_()
        result = {"device": torch.cuda.get_device_name(), "torch": torch.__version__, "mixers": a.mixers,
                  "channels": a.channels, "batch": a.batch, "length": a.length, "max_relative_error": error,
                  "ways": tiling.ways, "tiling_seconds": seconds(lambda: tiling.run(buffer, x, head, 0, a.length), 1)}
        places = [max(1, a.length * k // 8) for k in range(9)]
        for name in ("lazy", "eager"):
            times = []
            for t in places:
                t = min(t, a.length - 1)
                if name == "lazy":
                    flipped = rho[:, 1 : t + 1].flip(-1).contiguous()
                    times.append(seconds(lambda: (buffer[..., :t] * flipped).sum(-1), 3))
                else:
                    column = x[..., :1]
                    times.append(seconds(lambda: buffer[..., t:].add_(column * rho[:, : a.length - t]), 3))
            area = sum((times[k] + times[k + 1]) / 2 * (places[k + 1] - places[k]) for k in range(8))
            result[f"{name}_seconds"] = area
    print(json.dumps(result, indent=1))
    if a.json:
        with open(a.json, "w") as file:
            json.dump(result, file, indent=1)


if __name__ == "__main__":
    main()
