"""lcsm bench contract at sizes that take no time: what it writes, not how fast anything is."""
import json
import unittest

from harness import CliTest

SMALL = ("bench", "contract", "--channels", 20, "--mixers", 2, "--length", 600, "--repeats", 2)


class BenchContract(CliTest):
    def test_rows(self):
        table = self.ok(*SMALL, "--threads", 2, "--json", "c.json").stdout
        for what in (b"through the contract", b"ratio, median of pairs", b"lazy / tiled"):
            self.assertIn(what, table)
        with open(self.path("c.json")) as file:
            data = json.load(file)
        self.assertEqual((data["channels"], data["mixers"], data["length"], data["threads"]), (20, 2, 600, 2))
        for what in ("direct_ns", "contract_ns", "max_plus_lazy_ns", "max_plus_tiled_ns"):
            self.assertGreater(data[what]["median"], 0)
        self.assertGreater(data["contract_ratio"], 0)

    def test_wrong_usage(self):
        for extra in (["--channels", "0"], ["--length", "x"], ["--repeats", "0"], ["--method", "lazy"]):
            with self.subTest(extra=extra):
                self.fails(2, "bench", "contract", *extra)
        self.assertIn(b"Example", self.ok("bench", "contract", "--help").stdout)


if __name__ == "__main__":
    unittest.main()
