"""bench/rivals/torch_gpu.py: its answers where PyTorch is installed, and what it says where it is not."""
import contextlib
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import types
import unittest
from unittest import mock

import harness

HAS_TORCH = importlib.util.find_spec("torch") is not None


def rivals():
    return os.path.join(harness.SOURCE, "bench", "rivals")


def run(*args, env=None):
    command = [sys.executable, "-B", os.path.join(rivals(), "torch_gpu.py"), *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300,
                          env={**os.environ, "OMP_NUM_THREADS": "1", **(env or {})})


class Command(unittest.TestCase):
    def test_help_has_examples(self):
        done = run("--help")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("python3 bench/rivals/torch_gpu.py --setting synthetic", done.stdout)

    def test_without_pytorch_it_says_so(self):
        with tempfile.TemporaryDirectory() as folder:
            with open(os.path.join(folder, "torch.py"), "w") as file:
                file.write("raise ImportError('none')\n")
            done = run(env={"PYTHONPATH": folder})
        self.assertEqual(done.returncode, 1)
        self.assertEqual(done.stderr, "torch_gpu.py: PyTorch is not installed (pip install torch)\n")


@unittest.skipUnless(HAS_TORCH, "PyTorch is not installed: the rival's answers are not checked")
class Answers(unittest.TestCase):
    def test_all_methods_against_float64(self):
        for setting, batch, length in (("mixers", 1, 100), ("mixers", 3, 300), ("synthetic", 1, 64), ("synthetic", 3, 100)):
            with self.subTest(setting=setting, batch=batch, length=length):
                done = run("--device", "cpu", "--setting", setting, "--mixers", 2, "--channels", 8, "--batch", batch,
                           "--length", length)
                self.assertEqual(done.returncode, 0, done.stderr)
                result = json.loads(done.stdout)
                self.assertEqual(sorted(result["max_relative_error"]), ["eager", "lazy", "tiles", "tiling"])
                self.assertEqual(result["failed"], {})
                self.assertFalse(result["graphs"])
                self.assertFalse(result["tiling_sampled"])

    def test_what_takes_long_is_sampled(self):
        done = run("--device", "cpu", "--mixers", 1, "--channels", 2, "--length", 130, "--seconds", 0)
        self.assertEqual(done.returncode, 0, done.stderr)
        result = json.loads(done.stdout)
        self.assertIn("windows of 64", result["tiling_sampled"])
        self.assertEqual(result["tiling_seconds"], result["tiling_foretold_seconds"])

    def test_without_a_gpu_it_says_so(self):
        done = run(env={"CUDA_VISIBLE_DEVICES": ""})
        self.assertEqual(done.returncode, 1)
        self.assertEqual(done.stderr.count("\n"), 1)
        self.assertIn("finds no CUDA device", done.stderr)

    def test_steps_can_be_replayed(self):
        """Graphs as lists of operations on the memory that they were captured with, which is what they are on a GPU."""
        sys.path.insert(0, rivals())
        self.addCleanup(sys.path.remove, rivals())
        import torch
        import torch_tiling as tiling
        from torch.utils._python_dispatch import TorchDispatchMode
        from torch.utils._pytree import tree_leaves
        replays = []

        class Graph(TorchDispatchMode):
            def __init__(self):
                super().__init__()
                self.calls = []

            def __torch_dispatch__(self, call, types, args=(), kwargs=None):
                out = call(*args, **(kwargs or {}))
                self.calls.append((call, args, kwargs or {}, out))
                return out

            def replay(self):
                replays.append(self)
                for call, args, kwargs, out in self.calls:
                    for old, new in zip(tree_leaves(out), tree_leaves(call(*args, **kwargs))):
                        if old.untyped_storage().data_ptr() != new.untyped_storage().data_ptr():
                            old.copy_(new)

        fake = dict(Stream=mock.MagicMock, current_stream=mock.MagicMock(), graph_pool_handle=mock.MagicMock(),
                    synchronize=mock.MagicMock(), set_stream=mock.MagicMock(),
                    stream=lambda stream: contextlib.nullcontext(), CUDAGraph=Graph, graph=lambda graph, pool, stream: graph)
        torch.set_num_threads(1)  # Threads that wait for one another take minutes on busy machines.
        torch.manual_seed(1)
        untimed = mock.patch.object(tiling.Runner, "seconds", lambda self, body: (body(), 1.0)[1])
        with torch.no_grad(), mock.patch.multiple(torch.cuda, **fake), untimed:
            runner = tiling.Runner(types.SimpleNamespace(type="cuda"))
            rho = torch.randn(2 * 8, 200) / 200**0.5
            mixers = tiling.Tiling(runner, tiling.Mixers(rho, 3), rho, 3, 200)
            stack = tiling.Stack(runner, rho, 3, 2, 8)
            stacked = tiling.Tiling(runner, stack, rho, 3, 200)
            for tested, want in ((mixers, tiling.exact(mixers.noise[:200].permute(1, 2, 0), rho)),
                                 (stacked, stack.exact(rho, stacked.noise, 200))):
                replays.clear()
                for again in range(2):
                    self.assertLess(tiling.relative_error(tested.outputs(200), want), 1e-5)
                self.assertEqual(len(replays), 2 * 200)  # One a position.


if __name__ == "__main__":
    unittest.main()
