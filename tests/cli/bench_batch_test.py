"""lcsm bench batch at sizes that take no time: what it writes, not how fast anything is."""
import json
import unittest

from harness import CliTest, golden


class BenchBatch(CliTest):
    def test_rows(self):
        base = ("bench", "batch", "--model", self.dna_model, "--rows", "1,3", "--prompt", 5, "--steps", 4, "--repeats", 2)
        for weights in ("f32", "bf16"):
            table = self.ok(*base, "--weights", weights, "--threads", 2, "--json", "b.json").stdout
            self.assertIn(b"tokens/s", table)
            with open(self.path("b.json")) as file:
                data = json.load(file)
            self.assertEqual([row["rows"] for row in data["results"]], [1, 3])
            self.assertEqual((data["threads"], data["steps"]), (2, 4))
            for row in data["results"]:
                self.assertGreater(row["tokens_per_second"], 0)

    def test_flat_plans_and_stacks(self):
        sizes = ("--rows", "1,3", "--repeats", 1, "--threads", 2, "--json", "b.json")
        for model, steps in ((self.dna_model, 900), (golden("stack-links"), 20), (golden("stack-relaxed"), 20)):
            for latency in ("best", "flat"):
                with self.subTest(model=model, latency=latency):
                    args = ("bench", "batch", "--model", model, "--prompt", 5, "--steps", steps, "--latency", latency, *sizes)
                    if "relaxed" in str(model) and latency == "flat":
                        self.fails(1, *args, says=["latency"])
                        continue
                    self.assertIn(b"latency " + latency.encode(), self.ok(*args).stdout)
                    with open(self.path("b.json")) as file:
                        self.assertEqual(json.load(file)["latency"], latency)

    def test_wrong_usage(self):
        for extra in (["--rows", "0"], ["--rows", "x"], ["--steps", "0"], ["--prompt", "0"], ["--latency", "even"]):
            with self.subTest(extra=extra):
                self.fails(2, "bench", "batch", *extra)
        self.fails(1, "bench", "batch", "--shape", "no-such-shape", says=["no-such-shape"])
        self.fails(1, "bench", "batch", "--model", self.dna_model, "--steps", 5000, says=["positions"])
        self.assertIn(b"Example", self.ok("bench", "batch", "--help").stdout)

    def test_memory_limits_hold(self):
        for part, where in (("model", ("--at", 64)), ("latency", ("--length", 64)), ("prefill", ("--lengths", 64))):
            with self.subTest(part=part):
                self.fails(1, "bench", part, "--model", self.dna_model, *where, "--memory-limit", "4K", says=["4.0 KiB"])

    def test_a_shape_or_a_model(self):
        for part in ("batch", "latency", "model", "prefill"):
            self.fails(2, "bench", part, "--shape", "hyenadna-large-1m", "--model", "kjv-bytes", says=["--shape", "--model"])


if __name__ == "__main__":
    unittest.main()
