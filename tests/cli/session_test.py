"""Sessions on disk: a run that was broken off goes on as if it had not been."""
import os
import signal
import subprocess
import time
import unittest

from harness import LCSM, CliTest

WANTED = ("--prompt", "In the beginning", "--max-new-tokens", 3000, "--seed", 3, "--format", "tokens", "--quiet")
REST = ("--format", "tokens", "--quiet")


class Session(CliTest):
    def start(self, *args):
        """A run that saves again and again, once it has saved for the first time."""
        process = subprocess.Popen([LCSM, *map(str, args), "--save-session", "s", "--save-every", "50"],
                                   cwd=self.tmp, env=self.environment(), stdout=subprocess.DEVNULL,
                                   stderr=subprocess.DEVNULL)
        self.addCleanup(process.kill)
        while not os.path.exists(self.path("s")) and process.poll() is None:
            time.sleep(0.01)
        return process

    def test_saving_changes_nothing_and_the_resumed_run_says_it_all(self):
        whole = self.ok("generate", *WANTED).stdout
        self.assertEqual(self.ok("generate", *WANTED, "--save-session", "s").stdout, whole)
        self.assertEqual(self.ok("generate", "--resume", "s", *REST).stdout, whole)
        # The same command with --resume is fine, and so is a smaller number.
        self.assertEqual(self.ok("generate", *WANTED, "--resume", "s").stdout, whole)
        fewer = self.ok("generate", "--resume", "s", "--max-new-tokens", 10, *REST).stdout
        self.assertEqual(fewer.split(), whole.split()[:10])

    def test_interrupted_and_killed(self):
        whole = self.ok("generate", *WANTED).stdout
        for how, code in ((signal.SIGINT, 130), (signal.SIGKILL, -signal.SIGKILL)):
            process = self.start("generate", *WANTED)
            process.send_signal(how)
            # On a fast machine it may have been done by then.
            self.assertIn(process.wait(timeout=120), (code, 0))
            self.assertEqual(self.ok("generate", "--resume", "s", *REST).stdout, whole)
            os.remove(self.path("s"))

    def test_a_long_prompt_and_flat_latency(self):
        self.write("prompt", "And it came to pass in those days, " * 40)
        wanted = ("--prompt-file", "prompt", "--max-new-tokens", 900, "--seed", 3, "--latency", "flat", *REST)
        whole = self.ok("generate", *wanted, "--threads", 1).stdout
        self.start("generate", *wanted).send_signal(signal.SIGINT)
        self.assertEqual(self.ok("generate", "--resume", "s", *REST).stdout, whole)

    def test_longer_than_it_was_made_for(self):
        self.write("long prompt", "And it came to pass in those days, " * 20)
        for prompt in (("--prompt", "In the beginning"), ("--prompt-file", "long prompt")):
            for how in ((), ("--latency", "flat"), ("--method", "lazy")):
                wanted = (*prompt, *how, "--temperature", 0, *REST)
                whole = self.ok("generate", *wanted, "--max-new-tokens", 700).stdout
                self.ok("generate", *wanted, "--max-new-tokens", 150, "--save-session", "s")
                # Twice, the second time from the longer session.
                some = self.ok("generate", "--resume", "s", "--max-new-tokens", 400, "--save-session", "s", *REST).stdout
                self.assertEqual(some.split(), whole.split()[:400])
                rest = self.ok("generate", "--resume", "s", "--max-new-tokens", 700, *REST).stdout
                self.assertEqual(rest, whole)
        # One new token: nothing was taken in behind the prompt.
        self.ok("generate", *wanted, "--max-new-tokens", 1, "--save-session", "s")
        self.assertEqual(self.ok("generate", "--resume", "s", "--max-new-tokens", 700, *REST).stdout, whole)
        told = self.ok("generate", "--resume", "s", "--max-new-tokens", 700, "--dry-run").stdout
        self.assertIn(b"lazy", told)

    def test_what_does_not_fit(self):
        self.ok("generate", "--prompt", "In", "--max-new-tokens", 20, "--seed", 3, "--quiet", "--save-session", "s")
        for arguments, words in (
                (("--seed", 4), "another --seed"),
                (("--prompt", "Out"), "another prompt"),
                (("--model", self.bytes_model), "was saved with the model kjv-bytes"),
                (("--max-new-tokens", 10 ** 9), "expected at most"),
                (("--weights", "bf16"), "--weights f32, expected bf16")):
            self.fails(1, "generate", "--resume", "s", *arguments, says=("lcsm: ", words))
        data = open(self.path("s"), "rb").read()
        self.write("cut", data[:-5])
        self.write("flipped", data[:5000] + bytes([data[5000] ^ 1]) + data[5001:])
        for name in ("cut", "flipped", "missing"):
            self.fails(1, "generate", "--resume", name, says=name)
        self.fails(2, "generate", "--resume", "s", "--method", "lazy", says="--method")
        self.fails(2, "generate", "--resume", "s", "--num-samples", 2)
        self.fails(2, "generate", "--save-every", 5)
        self.fails(1, "generate", "--prompt", "In", "--save-session", "no/such/folder/s", says="no/such/folder")


if __name__ == "__main__":
    unittest.main()
