"""lcsm bench mixers, bytes and links at sizes that take no time: what they write, not how fast anything is."""
import json
import unittest
import xml.etree.ElementTree

from harness import CliTest, golden

MIXERS = ("bench", "mixers", "--layers", 2, "--width", 8, "--lengths", "64,700", "--modes", "2,4", "--repeats", 1)
BYTES = ("bench", "bytes", "--channels", 20, "--lengths", "64,300", "--batches", "1,2", "--repeats", 1)
LINKS = ("bench", "links", "--layers", 3, "--width", 8, "--length", 600, "--repeats", 1)


class BenchStudies(CliTest):
    def read(self, name):
        with open(self.path(name)) as file:
            return json.load(file)

    def spread(self, spread):
        self.assertGreater(spread["min"], 0)
        self.assertLessEqual(spread["min"], spread["median"])
        self.assertLessEqual(spread["median"], spread["max"])

    def test_mixers(self):
        out = self.ok(*MIXERS, "--json", "m.json", "--svg", "s.svg", "--memory-svg", "h.svg", "--states-svg", "c.svg",
                      "--quiet")
        self.assertEqual(out.stderr, b"")
        text = out.stdout.decode()
        for what in ("hyena-relaxed", "history MiB", "complex modes"):
            self.assertIn(what, text)
        data = self.read("m.json")
        self.assertEqual((data["layers"], data["width"], data["threads"]), (2, 8, 1))
        self.assertEqual([(r["mixer"], r["length"]) for r in data["results"]],
                         [(m, n) for m in ("hyena", "hyena-relaxed", "stu", "mamba", "linear-attention", "attention")
                          for n in (64, 700)])
        for row in data["results"]:
            self.spread(row["step_ms"])
            self.spread(row["mixing_ms"])
            self.assertGreater(row["history_bytes"], 0)
            self.assertLess(row["difference"], 1e-4)
        self.assertEqual([r["modes"] for r in data["states"]], [2, 4])
        self.assertEqual([r["length"] for r in data["crossover"]], [64, 700])
        for name in ("s.svg", "h.svg", "c.svg"):
            xml.etree.ElementTree.parse(self.path(name))

    def test_some_mixers_without_states(self):
        text = self.ok(*MIXERS, "--mixers", "mamba,attention", "--no-states", "--threads", 2).stdout.decode()
        self.assertEqual(len(text.splitlines()), 5)
        self.assertNotIn("hyena", text)

    def test_bytes(self):
        text = self.ok(*BYTES, "--json", "b.json", "--svg", "b.svg", "--share-svg", "h.svg").stdout.decode()
        self.assertIn("rows apart", text)
        rows = self.read("b.json")["results"]
        self.assertEqual(len(rows), 4 * 2 * 2)
        for row in rows:
            parts = sum(row[part + "_bytes"] for part in ("input", "block", "filter", "output"))
            self.assertAlmostEqual(row["bytes"], parts)
            self.assertGreaterEqual(row["bytes_rows_apart"], 0.999999 * row["bytes"])
            self.spread(row["ns_per_token_channel"])
            self.assertGreater(row["share"], 0)
            self.assertLess(row["max_relative_error"], 2e-6)
        for name in ("b.svg", "h.svg"):
            xml.etree.ElementTree.parse(self.path(name))

    def test_bytes_counted_only(self):
        """Lengths that nobody would run: L^2 against L log L."""
        self.ok("bench", "bytes", "--count-only", "--lengths", "65536,131072", "--batches", 1, "--json", "b.json")
        rows = {(r["method"], r["length"]): r["bytes"] for r in self.read("b.json")["results"]}
        for method in ("lazy", "eager"):
            self.assertAlmostEqual(rows[method, 131072] / rows[method, 65536], 2, places=2)
        for method in ("paper", "planned"):
            self.assertLess(rows[method, 131072], 1.3 * rows[method, 65536])
            self.assertLess(100 * rows[method, 131072], rows["lazy", 131072])

    def test_bytes_passes(self):
        """What a cache's simulator watches: the same counts, by a process that does as many runs as asked."""
        base = ("bench", "bytes", "--count-only", "--channels", 20, "--lengths", "300", "--batches", 2, "--json", "b.json")
        self.ok(*base)
        counted = self.read("b.json")["results"]
        self.ok(*base, "--passes", 2)
        self.assertEqual(self.read("b.json")["results"], counted)

    def test_links(self):
        text = self.ok(*LINKS, "--json", "l.json", "--svg", "l.svg").stdout.decode()
        self.assertIn("one by one", text)
        data = self.read("l.json")
        self.assertEqual((data["layers"], data["length"]), (3, 600))
        self.assertEqual([(r["link"], r["links"]) for r in data["results"]],
                         [(k, n) for k in ("output", "past", "ahead") for n in range(3)])
        for row in data["results"]:
            self.spread(row["step_ms"])
            self.spread(row["known_token_ms"])
            self.assertEqual(row["in_order"], row["links"] if row["link"] == "ahead" else 0)
            self.assertEqual(row["known_by_blocks"], row["links"] == 0 or row["link"] == "output")
        xml.etree.ElementTree.parse(self.path("l.svg"))

    def test_model_of_a_stack(self):
        for name in ("stack-mixed", "stack-links", "stack-relaxed"):
            for history, latency in (("synthetic", "best"), ("synthetic", "flat"), ("prefill", "best")):
                with self.subTest(name=name, history=history, latency=latency):
                    command = ["bench", "model", "--model", golden(name), "--at", "0,40", "--steps", 8, "--rounds", 2,
                               "--history", history, "--latency", latency, "--json", "m.json"]
                    if (name, latency) == ("stack-relaxed", "flat"):
                        self.fails(1, *command, says="expected the latency best")
                        continue
                    self.ok(*command)
                    rows = self.read("m.json")["results"]
                    self.assertEqual([r["position"] for r in rows], [0, 40])
                    for row in rows:
                        self.assertGreater(row["mixer_ms_amortised"], 0)
                        self.assertGreater(row["step_ms"]["mean"], 0)

    def test_wrong_usage(self):
        for args in (["mixers", "--mixers", "hyna"], ["mixers", "--lengths", "1"], ["mixers", "--modes", "16"],
                     ["mixers", "--modes", "16,8"], ["mixers", "--no-states", "--states-svg", "x.svg"],
                     ["mixers", "--width", "0"], ["bytes", "--methods", "gardner"], ["bytes", "--batches", "0"],
                     ["bytes", "--count-only", "--share-svg", "x.svg"], ["bytes", "--passes", "1"], ["links", "--links", "sideways"],
                     ["links", "--layers", "1"], ["links", "--length", "3"], ["links", "--threads", "0"]):
            with self.subTest(args=args):
                self.fails(2, "bench", *args)
        for name in ("mixers", "bytes", "links"):
            self.assertIn(b"Example", self.ok("bench", name, "--help").stdout)

    def test_a_picture_that_cannot_be_written(self):
        """It does not take the measurement with it."""
        before = self.listing()
        done = self.run_lcsm(*LINKS, "--quiet", "--links", "output", "--svg", "no/such/folder/l.svg")
        self.assertEqual(done.returncode, 1)
        self.assertIn(b"output", done.stdout)
        self.assertIn(b"l.svg", done.stderr)
        self.assertEqual(done.stderr.count(b"\n"), 1)
        self.assertEqual(self.listing(), before)


if __name__ == "__main__":
    unittest.main()
