"""lcsm plan, and what it makes of generate."""
import json
import os
import re
import unittest
import xml.etree.ElementTree

from harness import CliTest

SMALL = ("plan", "--channels", 16, "--length", 3000, "--threads", 1)


class Plan(CliTest):
    def setUp(self):
        super().setUp()
        # Nobody else's measurements.
        self.cache = {"XDG_CACHE_HOME": self.path("cache")}

    def test_table(self):
        text = self.ok(*SMALL, env=self.cache).stdout.decode()
        for part in ("planned:", "red cells", "memory:", "estimates", "3 000 positions"):
            self.assertIn(part, text)

    def test_json_says_the_same_as_the_saved_plan(self):
        done = self.ok(*SMALL, "--json", "--save", "p.txt", "--svg", "p.svg", env=self.cache)
        report = json.loads(done.stdout)
        saved = open(self.path("p.txt")).read().splitlines()[-1]
        self.assertIn(saved, report["plan"])
        self.assertEqual(len(report["levels"]), saved.count(",") + 1)
        memory = report["memory_bytes"]
        self.assertGreater(memory["total"], memory["spectra"])
        root = xml.etree.ElementTree.parse(self.path("p.svg")).getroot()
        self.assertTrue(root.tag.endswith("svg"))
        again = json.loads(self.ok("plan", "--channels", 16, "--length", 3000, "--plan", "p.txt", "--json").stdout)
        self.assertEqual([level["block"] for level in again["levels"]],
                         [level["block"] for level in report["levels"]])

    def test_measure_checks_and_times_each_level(self):
        report = json.loads(self.ok(*SMALL, "--measure", "--json", env=self.cache).stdout)
        self.assertLess(report["max_relative_error"], 2e-6)
        self.assertGreater(report["measured_ns"], 0)

    def test_tuning_is_kept_used_and_never_trusted_blindly(self):
        args = ("plan", "--channels", 16, "--length", 256, "--threads", 1, "--json")
        self.assertFalse(json.loads(self.ok(*args, env=self.cache).stdout)["tuned"])
        self.assertTrue(json.loads(self.ok(*args, "--tune", env=self.cache).stdout)["tuned"])
        self.assertTrue(json.loads(self.ok(*args, env=self.cache).stdout)["tuned"])
        estimated = json.loads(self.ok(*args, "--costs", "estimated", env=self.cache).stdout)
        self.assertFalse(estimated["tuned"])
        self.fails(2, *args, "--tune", "--costs", "estimated")
        self.fails(2, *args, "--costs", "guessed")
        file = self.path(os.path.join("cache", "lcsm", "tiles.txt"))
        good = open(file).read()
        for bad in (good[:len(good) // 2], re.sub("cpu .*", "cpu another", good), "", "\0" * 100):
            with open(file, "w") as out:
                out.write(bad)
            done = self.ok(*args, env=self.cache)
            self.assertFalse(json.loads(done.stdout)["tuned"])
            self.assertIn(b"planning with estimates", done.stderr)

    def test_impossible_wishes(self):
        for args, part in ((("--memory-limit", "1K"), "at least"),
                           (("--plan", self.write("bad", "1x2 direct")), "last level has a radix"),
                           (("--plan", self.write("worse", "one two three")), "line 1"),
                           (("--plan", self.write("empty", "# none\n")), "holds no level"),
                           (("--plan", self.write("given", "1x2048 direct, 2048 fft-fused evaluated")),
                            "would be evaluated while running"),
                           (("--plan", "missing"), "missing")):
            with self.subTest(args=args):
                self.assertIn(part, self.fails(1, *SMALL, *args))
        for args in (("plan", "--channels", 16), ("plan", "--length", 0), ("plan", "--channels", 0, "--length", 5),
                     ("plan", "--model", "x", "--channels", 16, "--length", 5),
                     (*SMALL, "--latency", "flat", "--method", "paper"), (*SMALL, "--memory-limit", 0)):
            with self.subTest(args=args):
                self.fails(2, *args)

    def test_devices(self):
        model = ("plan", "--model", "kjv-bytes", "--length", 300)
        bare = ("plan", "--channels", 16, "--length", 300)
        # No CUDA in this build, no driver, or fewer than a hundred GPUs: the other commands' sentence, before anything is done.
        other = self.fails(1, "inspect", *model[1:], "--device", "cuda:99", says="CUDA")
        for args in (model, bare, (*model, "--tune"), (*bare, "--tune"), (*model, "--measure"), (*bare, "--save", "p.txt", "--svg", "p.svg"),
                     (*model, "--memory-limit", "1G"), (*model, "--costs", "estimated", "--json")):
            with self.subTest(args=args):
                self.assertEqual(self.fails(1, *args, "--device", "cuda:99"), other)
        self.assertFalse(os.path.exists(self.path("p.txt")) or os.path.exists(self.path("p.svg")))
        for args, part in (((*bare, "--device", "cuda:0,1"), "give --model or one GPU"),
                           ((*model, "--device", "cuda", "--threads", 2), "--threads is about plans for the CPU"),
                           ((*bare, "--device", "cuda", "--threads", 2), "--threads is about plans for the CPU"),
                           ((*model, "--device", "cuda", "--tune", "--costs", "estimated"), "--costs estimated says"),
                           ((*model, "--device", "cuda", "--save", "p.txt", "--method", "lazy"), "has no levels"),
                           ((*model, "--device", "gpu"), "expected cpu, cuda, cuda:N, cuda:N,M,.. or auto"),
                           ((*model, "--device", "cuda:1,1"), "names cuda:1 twice"),
                           ((*bare, "--weights", "bf16"), "--weights is about a model's matrices"),
                           ((*model, "--mixers", 2, "--device", "cuda"), "go with --channels")):
            with self.subTest(args=args):
                self.assertIn(part, self.fails(2, *args))
        for args in (model, bare):
            self.assertEqual(self.ok(*args, "--device", "cpu", env=self.cache).stdout, self.ok(*args, env=self.cache).stdout)
            self.assertIn(b"planned: ", self.ok(*args, "--device", "auto", env=self.cache).stdout)
        # What a model's rounded matrices leave of a limit goes to its plan.
        self.fails(1, *model, "--memory-limit", "8M", says="the memory limit leaves")
        self.ok(*model, "--memory-limit", "8M", "--weights", "int8", env=self.cache)

    def test_a_length_of_one_and_horizons_beyond_31_bits(self):
        self.ok("plan", "--channels", 1, "--length", 1)
        report = json.loads(self.ok("plan", "--channels", 64, "--length", 1 << 33, "--taps", 1 << 22, "--json").stdout)
        self.assertGreater(report["memory_bytes"]["total"], 1 << 31)


class Generate(CliTest):
    args = ("generate", "--prompt", "In the", "--max-new-tokens", 300, "--temperature", 0, "--quiet")

    def test_every_method_writes_the_same_text(self):
        want = self.ok(*self.args).stdout
        for extra in (("--latency", "flat"), ("--method", "paper"), ("--method", "futurefill"),
                      ("--method", "gardner"), ("--method", "lazy"),
                      ("--plan", self.write("e", "1x8 direct, 8x4 fft-fused, 32x2 fft-fused evaluated, 64x4 fft-fused, "
                                                 "256 fft-fused evaluated")),
                      ("--plan", self.write("p", "1x8 direct, 8x3 direct-blocked, 24 direct"))):
            with self.subTest(extra=extra):
                self.assertEqual(self.ok(*self.args, *extra).stdout, want)

    def test_dry_run_tells_and_writes_no_text(self):
        text = self.ok(*self.args, "--dry-run").stdout.decode()
        for part in ("at most at a time", "plan:", "time:"):
            self.assertIn(part, text)

    def test_a_plan_says_which_taps_are_evaluated(self):
        plan = self.write("e", "1x8 direct, 8x2 fft-fused remade, 16x8 fft-fused, 128 fft-fused evaluated")
        args = ("plan", "--length", 256, "--plan", plan)
        self.assertIn(b"**: and so are the taps", self.ok(*args).stdout)
        levels = json.loads(self.ok(*args, "--json").stdout)["levels"]
        self.assertEqual([level["evaluated"] for level in levels], [False, False, False, True])
        self.assertIn("no network", self.fails(1, *args, "--measure"))

    def test_a_run_that_cannot_fit_is_refused_with_the_numbers(self):
        text = self.fails(1, *self.args, "--memory-limit", "9M")
        self.assertRegex(text, r"iB.*iB")


if __name__ == "__main__":
    unittest.main()
