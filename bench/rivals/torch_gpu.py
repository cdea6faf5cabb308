"""PyTorch on a GPU against lcsm: mixers alone and the synthetic stack of arXiv 2410.12982, by the paper's own means.

    python3 bench/rivals/torch_gpu.py --mixers 18 --channels 768 --length 65536 --json out.json
    python3 bench/rivals/torch_gpu.py --setting synthetic --length 65536
    python3 bench/rivals/torch_gpu.py --device cpu --mixers 2 --channels 8 --length 100   # answers, without a GPU

Lazy, eager and the tiling of Flash Inference, in float32 without TF32. Every way to compute a tile, lazy and eager is
compared with float64 first; the fastest here is taken. The tiling is run whole where it is foretold to take less than
--seconds, else its parts are measured and added up. Lazy and eager are run at some positions and integrated, as
lcsm_gpu_bench does. torch_tiling.py and torch_quadratic.py hold all
of them.
"""
import argparse
import json
import sys
import time


def measure(a):
    import torch
    from torch_quadratic import PLACES, Quadratic
    from torch_tiling import WINDOW, Mixers, Runner, Stack, Tiling, exact, relative_error, some_channels
    if a.device == "cuda" and not torch.cuda.is_available():
        sys.exit("torch_gpu.py: this PyTorch finds no CUDA device; --device cpu checks the answers without one")
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
    torch.manual_seed(1)
    device = torch.device(a.device)
    runner = Runner(device)
    rows, synthetic = a.mixers * a.channels, a.setting == "synthetic"
    rho = torch.randn(rows, a.length, device=device).div_(a.length**0.5)
    model = Stack(runner, rho, a.batch, a.mixers, a.channels) if synthetic else Mixers(rho, a.batch)
    tiling = Tiling(runner, model, rho, a.batch, a.length)
    if synthetic:
        count, bound = min(a.length, 5 * WINDOW // 2), 1e-5
        error = relative_error(tiling.outputs(count), model.exact(rho, tiling.noise, count))
    else:
        count, bound, few = min(a.length, 4096 + WINDOW // 2), 2e-6, some_channels(rows)
        noise = tiling.noise[torch.arange(count, device=device) % len(tiling.noise)][..., few].permute(1, 2, 0)
        error = relative_error(tiling.outputs(count)[:, few], exact(noise, rho[few]))
    if not error < bound:
        sys.exit(f"PyTorch's tiling is off by {error}")
    result = {"device": torch.cuda.get_device_name() if runner.cuda else "cpu", "torch": torch.__version__, "setting": a.setting,
              "mixers": a.mixers, "channels": a.channels, "batch": a.batch, "length": a.length, "graphs": runner.cuda,
              "checked_positions": count,
              "max_relative_error": {"tiling": error, "tiles": max(tile.error for tile in tiling.tiles.values())},
              "ways": {size: tile.way for size, tile in tiling.tiles.items()},
              "tile_seconds": {size: tile.seconds for size, tile in tiling.tiles.items()},
              "failed": {size: tile.failed for size, tile in tiling.tiles.items() if tile.failed}}
    seconds = foretold = tiling.foretold_seconds()
    whole = foretold <= a.seconds
    if whole:
        tiling.reset()
        runner.wait()
        # One run: the body that warms up would take as long again, and all of its parts are warm.
        start = time.perf_counter()
        tiling.run(a.length)
        runner.wait()
        seconds = time.perf_counter() - start
    result.update(tiling_seconds=seconds, tiling_foretold_seconds=foretold,
                  tiling_sampled=False if whole else "windows of 64 positions, and each larger tile, times their numbers")
    blocks = 0
    if synthetic:
        # What lazy and eager have besides their mixers.
        step = runner.capture(lambda: model.step(tiling.window, 0, tiling.x[0], tiling.y[0]))
        blocks = a.length * runner.seconds(step)
        result.update(blocks_seconds=blocks, product=model.way)
    noise = torch.randn(300, a.batch, rows, device=device)
    quadratic = Quadratic(rho, tiling.history, a.length, a.mixers if synthetic else 1)
    for name in ("lazy", "eager"):
        way, area, result["max_relative_error"][name] = quadratic.measure(name, runner, noise)
        result[f"{name}_way"], result[f"{name}_seconds"] = way, area + blocks
    result["lazy_and_eager_sampled"] = f"{PLACES + 1} positions, integrated; plain calls, since their sizes change"
    result["tiling_vs_better_of_lazy_and_eager"] = min(result["lazy_seconds"], result["eager_seconds"]) / seconds
    if runner.cuda:
        result["device_bytes"] = torch.cuda.max_memory_reserved()
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--setting", choices=("mixers", "synthetic"), default="mixers",
                        help="mixers alone, or with D -> 4D, GELU, 4D -> D behind each and the last output fed back")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="cpu: plain calls in place of graphs")
    for name, default in (("mixers", 18), ("channels", 768), ("batch", 1), ("length", 65536)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--seconds", type=float, default=30, help="longest run of the tiling that is made whole (%(default)s)")
    parser.add_argument("--json", help="where the result is written as well")
    a = parser.parse_args()
    if min(a.mixers, a.channels, a.batch) < 1 or a.length < 2:
        parser.error("mixers, channels and batch are 1 or more, length 2 or more")
    try:
        import torch
    except ImportError:
        sys.exit("torch_gpu.py: PyTorch is not installed (pip install torch)")
    try:
        with torch.no_grad():
            result = measure(a)
    except torch.cuda.OutOfMemoryError as error:
        sys.exit(f"torch_gpu.py: too little memory on the device: {str(error).splitlines()[0]}")
    print(json.dumps(result, indent=1))
    if a.json:
        with open(a.json, "w") as file:
            json.dump(result, file, indent=1)


if __name__ == "__main__":
    main()
