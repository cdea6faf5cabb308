"""lcsm bench paper at sizes that take no time: what it writes, not how fast anything is."""
import json
import unittest
import xml.etree.ElementTree

from harness import CliTest

SMALL = ("bench", "paper", "--quick", "--layers", 2, "--width", 24, "--lengths", "300,2048", "--threads", 2)


class BenchPaper(CliTest):
    def results(self, *extra):
        self.ok(*SMALL, "--json", "p.json", *extra)
        with open(self.path("p.json")) as file:
            return json.load(file)

    def test_rows(self):
        data = self.results()
        rows = data["results"]
        names = [(r["method"], r["schedule"], r["length"]) for r in rows]
        self.assertEqual(len(set(names)), len(names))
        for method in ("lazy", "eager"):
            for schedule in ("across-layers", "per-layer"):
                for length in (300, 2048):
                    self.assertIn((method, schedule, length), names)
        self.assertIn(("paper", "across-layers", 2048), names)
        for row in rows:
            with self.subTest(method=row["method"], schedule=row["schedule"], length=row["length"]):
                self.assertEqual((row["layers"], row["width"], row["batch"]), (2, 24, 1))
                self.assertEqual(row["mixers_measured"], 2)
                self.assertGreater(row["max_relative_error"], 0)
                self.assertLess(row["max_relative_error"], 2e-6)
                self.assertLess(row["stack_error"], 1e-4)
                self.assertGreater(row["mixer_seconds_total"]["median"], 0)
                self.assertGreater(row["end_to_end_seconds_total"]["median"], row["block_seconds_total"])
                tokens = row["length"] * 2 * 24
                self.assertAlmostEqual(row["ns_per_token_channel"] * tokens * 1e-9,
                                       row["mixer_seconds_total"]["median"], delta=1e-9)
                curve = row["cumulative"]
                self.assertEqual(curve[-1]["position"], row["length"])
                for key in ("position", "mixer_seconds", "end_to_end_seconds"):
                    values = [point[key] for point in curve]
                    self.assertEqual(values, sorted(values))
                self.assertAlmostEqual(curve[-1]["mixer_seconds"], row["mixer_seconds_total"]["median"])
                self.assertLessEqual(row["step_ms"]["p50"], row["step_ms"]["worst"])
        lazy = [r for r in rows if r["method"] == "lazy" and r["length"] == 2048]
        self.assertEqual(max(r["speedup"]["mixers_vs_lazy"] for r in lazy), 1)

    def test_too_little_memory_measures_fewer_mixers(self):
        data = self.results("--methods", "lazy,paper", "--memory", "600K")
        for row in data["results"]:
            if row["length"] == 2048:
                self.assertEqual(row["mixers_measured"], 1)
        self.assertTrue(any("1 of 2 mixers" in note for note in data["notes"]))
        self.assertTrue(any("left out" in n for n in self.results("--memory", "1K")["notes"]))

    def test_batch_taus_and_hyena(self):
        rows = self.results("--methods", "paper", "--taus", "direct,fft-library,fft-fused,hybrid", "--batch", 3,
                            "--schedules", "per-layer")["results"]
        self.assertEqual({r["tau"] for r in rows}, {"direct", "fft-library", "fft-fused", "hybrid"})
        self.assertEqual({r["schedule"] for r in rows}, {"per-layer"})
        rows = self.results("--setting", "hyena", "--methods", "lazy,paper")["results"]
        self.assertEqual(len(rows), 6)

    def test_direct_tiles_are_left_out_where_they_take_minutes(self):
        data = self.results("--methods", "paper", "--taus", "direct,hybrid", "--lengths", 4096)
        self.assertEqual([(r["tau"], r["length"]) for r in data["results"]],
                         [("direct", 300), ("hybrid", 300), ("direct", 2048), ("hybrid", 2048), ("hybrid", 4096)])
        self.assertTrue(any("direct is left out at 4096" in note for note in data["notes"]))

    def test_pictures(self):
        self.ok(*SMALL, "--svg", "p")
        for name in ("mixers", "cumulative", "latency", "tau"):
            xml.etree.ElementTree.parse(self.path(f"p-{name}.svg"))

    def test_wrong_usage(self):
        for extra in (["--setting", "transformer"], ["--methods", "magic"], ["--lengths", "1"], ["--lengths", "x"],
                      ["--layers", "0"], ["--memory", "much"], ["--setting", "hyena", "--batch", "2"]):
            with self.subTest(extra=extra):
                self.fails(2, "bench", "paper", *extra)
        self.assertIn(b"Example", self.ok("bench", "paper", "--help").stdout)


if __name__ == "__main__":
    unittest.main()
