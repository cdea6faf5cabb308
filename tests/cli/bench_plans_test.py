"""lcsm bench plans at sizes that take no time: what it writes, not how fast anything is."""
import json
import unittest

from harness import CliTest

SMALL = ("bench", "plans", "--channels", 5, "--lengths", "300", "--candidates", 2, "--finalists", 1, "--rounds", 3)


class BenchPlans(CliTest):
    def results(self, *extra):
        self.ok(*SMALL, "--json", "p.json", *extra)
        with open(self.path("p.json")) as file:
            return json.load(file)["results"]

    def test_rows(self):
        (case,) = self.results()
        self.assertEqual((case["length"], case["channels"], case["rounds"]), (300, 5, 3))
        self.assertEqual([p["name"] for p in case["plans"]], ["planner", "hybrid", "found"])
        self.assertGreaterEqual(case["planner_to_best"], 1)
        self.assertEqual(case["plans"][0]["to_planner"]["median"], 1)
        self.assertEqual(case["hybrid_to_planner"], case["plans"][1]["to_planner"]["median"])
        self.assertFalse(case["tuned"])
        for plan in case["plans"]:
            self.assertLess(plan["max_relative_error"], 2e-6)
            self.assertGreater(plan["ns_per_token_channel"]["min"], 0)
            # What is printed is a plan that can be forced.
            levels = self.write("levels", plan["levels"])
            self.ok("plan", "--channels", 5, "--length", 300, "--plan", levels)

    def test_quiet_table(self):
        out = self.ok("bench", "plans", "--channels", 5, "--lengths", "300,1", "--candidates", 2, "--finalists", 0,
                      "--rounds", 3, "--quiet", "--untuned")
        self.assertEqual(out.stderr, b"")
        lines = out.stdout.decode().splitlines()
        self.assertEqual(len(lines), 2 + 2 * 3)
        self.assertIn("planned by the estimate", lines[-1])

    def test_bad_input_and_wrong_usage(self):
        self.fails(1, *SMALL, "--memory-limit", "1K", says=["memory limit"])
        for extra in (["--lengths", "0"], ["--rounds", "0"], ["--candidates", "x"], ["--threads", "0"],
                      ["--memory-limit", "much"]):
            with self.subTest(extra=extra):
                self.fails(2, "bench", "plans", *extra)
        self.assertIn(b"Example", self.ok("bench", "plans", "--help").stdout)


if __name__ == "__main__":
    unittest.main()
