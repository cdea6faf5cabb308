"""lcsm bench latency at sizes that take no time: what it writes, not how fast anything is."""
import json
import unittest

from harness import CliTest

KEYS = ("mean", "p50", "p99", "p99_9", "max")


class BenchLatency(CliTest):
    def run_json(self, *extra):
        table = self.ok("bench", "latency", "--model", self.dna_model, "--length", 700, "--threads", 2, *extra, "--json", "l.json").stdout
        with open(self.path("l.json")) as file:
            return table, json.load(file)

    def test_every_latency(self):
        table, data = self.run_json("--latencies", "best,flat,none", "--svg", "l.svg")
        self.assertIn(b"interrupted", table)
        self.assertNotIn(b"fastest", table)
        self.assertEqual([row["latency"] for row in data["results"]], ["best", "flat", "none"])
        self.assertEqual((data["length"], data["repeats"]), (700, 1))
        for row in data["results"]:
            # Of one run a position's fastest is the step itself.
            self.assertEqual({key: row[key] for key in KEYS}, row["fastest_of_position"])
            self.assertLessEqual(row["p50"], row["max"])
            self.assertEqual(row["curve"][-1]["position"], 700)
        with open(self.path("l.svg")) as file:
            self.assertIn("slowest steps", file.read())

    def test_fastest_of_several_runs(self):
        table, data = self.run_json("--latencies", "flat", "--repeats", 3, "--svg", "l.svg")
        self.assertIn(b"fastest of 3 runs", table)
        self.assertEqual(data["repeats"], 3)
        (row,) = data["results"]
        # The slowest of the fastest is somewhere among all steps, and above the curve's slowest nowhere.
        self.assertLessEqual(row["fastest_of_position"]["max"], row["max"])
        self.assertLess(row["fastest_of_position"]["mean"], row["mean"])
        self.assertEqual(max(stretch["max"] for stretch in row["curve"]), row["fastest_of_position"]["max"])
        with open(self.path("l.svg")) as file:
            self.assertIn("fastest of 3 runs", file.read())

    def test_wrong_usage(self):
        for extra in (["--repeats", "0"], ["--length", "0"], ["--latencies", "even"]):
            with self.subTest(extra=extra):
                self.fails(2, "bench", "latency", *extra)
        self.assertIn(b"Example", self.ok("bench", "latency", "--help").stdout)


if __name__ == "__main__":
    unittest.main()
