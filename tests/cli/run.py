"""Runs the end-to-end tests of one part against a built lcsm.

    python3 tests/cli/run.py generate --lcsm build/dev/bin/lcsm --source .
"""
import argparse
import importlib
import os
import sys
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("part", help="usage, generate, streams, bad_input, ...")
    parser.add_argument("--lcsm", required=True, help="the built command")
    parser.add_argument("--source", required=True, help="the source tree")
    parser.add_argument("--sanitized", action="store_true", help="the command runs under a sanitizer: slow, and large")
    parser.add_argument("-k", action="append", help="only tests that match")
    args = parser.parse_args()
    sys.path.insert(0, HERE)
    import harness
    harness.LCSM = os.path.abspath(args.lcsm)
    harness.SOURCE = os.path.abspath(args.source)
    harness.SANITIZED = args.sanitized
    loader = unittest.TestLoader()
    if args.k:
        loader.testNamePatterns = [f"*{k}*" for k in args.k]
    suite = loader.loadTestsFromModule(importlib.import_module(args.part + "_test"))
    result = unittest.TextTestRunner(verbosity=2).run(suite)
    sys.exit(0 if result.wasSuccessful() and result.testsRun > 0 else 1)


if __name__ == "__main__":
    main()
