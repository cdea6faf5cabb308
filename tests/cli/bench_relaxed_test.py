"""lcsm bench relaxed at sizes that take no time: what it writes, not how fast anything is."""
import json
import unittest
import xml.etree.ElementTree

from harness import CliTest

SMALL = ("bench", "relaxed", "--channels", 5, "--lengths", "300,2100", "--repeats", 2)


class BenchRelaxed(CliTest):
    def results(self, *extra):
        self.ok(*SMALL, "--json", "r.json", *extra)
        with open(self.path("r.json")) as file:
            return json.load(file)["results"]

    def test_rows(self):
        rows = self.results()
        self.assertEqual([r["length"] for r in rows], [300, 2100])
        for row in rows:
            with self.subTest(length=row["length"]):
                self.assertEqual((row["channels"], row["batch"], row["method"]), (5, 1, "planned"))
                self.assertGreater(row["max_relative_error"], 0)
                self.assertLess(row["max_relative_error"], 2e-6)
                self.assertEqual(row["checked_length"], row["length"])
                for key in ("relaxed", "known", "lazy"):
                    spread = row[key + "_ns_per_token_channel"]
                    self.assertGreater(spread["min"], 0)
                    self.assertLessEqual(spread["min"], spread["median"])
                    self.assertLessEqual(spread["median"], spread["max"])
                self.assertGreater(row["relaxed_bytes"], 2 * 300 * 64)
        self.assertEqual([r["lazy_sampled"] for r in rows], [False, True])
        self.assertEqual([r["lazy_checked_length"] for r in rows], [300, 2048])

    def test_methods_threads_and_no_lazy(self):
        for extra in (("--method", "paper"), ("--method", "paper", "--tau", "fft-fused"), ("--threads", 2),
                      ("--batch", 2, "--mixers", 2)):
            with self.subTest(extra=extra):
                rows = self.results("--no-lazy", "--lengths", "1,100", *extra)
                self.assertNotIn("lazy_to_relaxed", rows[1])

    def test_picture_table_and_quiet(self):
        out = self.ok(*SMALL, "--svg", "r.svg", "--quiet")
        self.assertEqual(out.stderr, b"")
        lines = out.stdout.decode().splitlines()
        self.assertEqual(len(lines), 4)
        self.assertTrue(lines[3].endswith("lazy sampled"))
        xml.etree.ElementTree.parse(self.path("r.svg"))

    def test_wrong_usage(self):
        for extra in (["--method", "lazy"], ["--tau", "fft-fused"], ["--lengths", "0"], ["--lengths", "x"],
                      ["--lengths", str(2**25 + 1)], ["--threads", "0"], ["--channels", "0"]):
            with self.subTest(extra=extra):
                self.fails(2, "bench", "relaxed", *extra)
        self.assertIn(b"Example", self.ok("bench", "relaxed", "--help").stdout)


if __name__ == "__main__":
    unittest.main()
