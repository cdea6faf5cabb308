"""The command line itself: help, versions, wrong usage, completions."""
import gzip
import os
import re
import shutil
import subprocess
import unittest

import harness
from harness import CliTest, golden

COMMANDS = ("generate", "logits", "inspect", "convert", "plan", "score", "embed", "variants", "classify")


class Usage(CliTest):
    def test_version(self):
        done = self.ok("--version")
        self.assertRegex(done.stdout.decode(), r"\Alcsm \d+\.\d+\.\d+\n\Z")
        self.assertEqual(done.stderr, b"")

    def test_help_goes_to_stdout(self):
        for args in (["--help"], *([c, "--help"] for c in COMMANDS)):
            done = self.ok(*args)
            self.assertIn(b"Example", done.stdout)
            self.assertEqual(done.stderr, b"")
        self.assertIn(b"LCSM_SIMD", self.ok("--help").stdout)

    def test_help_examples_run(self):
        shutil.copy(golden("hyenadna-tiny-1k-ckpt/weights.ckpt"), self.tmp)
        shutil.copy(golden("hyenadna-tiny-1k-ckpt/config.json"), self.tmp)
        with open(self.path("genome.fa.gz"), "wb") as file:
            file.write(gzip.compress(b">chr\n" + b"ACGGT" * 2000))
        self.write("genes.fa", ">a\nATGAAACGCATTAGC\n>b\nATGCCC\n")
        examples = []
        for args in (["--help"], *([c, "--help"] for c in COMMANDS)):
            footer = self.ok(*args).stdout.decode().split("Example", 1)[1]
            examples += re.findall(r"^  ((?:echo|printf|lcsm) .*)$", footer, re.MULTILINE)
        self.assertGreaterEqual(len(examples), 5)
        for example in examples:
            with self.subTest(example=example):
                for name in ("kjv-bytes", "ecoli-hyenadna"):
                    wanted = name in example or (name == "kjv-bytes" and "--model" not in example)
                    if wanted and not os.path.isdir(os.path.join(harness.SOURCE, "models", name)):
                        self.skipTest(f"models/{name} is not in this tree")
                done = subprocess.run(["bash", "-c", "set -o pipefail; " + example], capture_output=True,
                                      cwd=self.tmp, env=self.environment(), timeout=300)
                self.assertEqual(done.returncode, 0, done.stderr.decode(errors="replace"))

    def test_wrong_usage(self):
        for args in ([], ["nonsense"], ["--nonsense"], ["generate", "--nonsense"], ["generate", "stray"],
                     ["logits"], ["convert"], ["generate", "--max-new-tokens"], ["generate", "--max-new-tokens", "0"],
                     ["generate", "--max-new-tokens", "ten"], ["generate", "--threads", "0"],
                     ["generate", "--seed", "-1"], ["generate", "--format", "xml"], ["generate", "--method", "magic"]):
            with self.subTest(args=args):
                self.assertIn("--help", self.fails(2, *args))

    def test_mistyped(self):
        for args, says in ((["generat"], "there is no command generat (did you mean generate?)"),
                           (["sing"], "there is no command sing, expected a command: generate, "),
                           ([], "expected a command: generate, "), (["bench"], "expected a command: mixer, "),
                           (["bench", "mixre"], "did you mean mixer?"),
                           (["--promt", "A"], "there is no option --promt here, expected a command: "),
                           (["generate", "--promt", "A"], "no option --promt (did you mean --prompt?)"),
                           (["generate", "--promt=A"], "no option --promt (did you mean --prompt?)"),
                           (["generate", "--nonsense"], "no option --nonsense\n"),
                           (["generate", "ATG"], "ATG belongs to no option"),
                           (["convert", "--output", "o"], "WEIGHTS is required"),
                           (["inspect", "--model", ""], "--model: is empty"),
                           (["inspect", "--model="], "--model: is empty")):
            with self.subTest(args=args):
                self.fails(2, *args, says=says)

    def test_options_that_do_not_exist_yet(self):
        for extra in (["--speculate", "2"], ["--latency", "low"], ["--memory-limit", "much"],
                      ["--method", "magic"], ["--tau", "magic"]):
            with self.subTest(extra=extra):
                self.fails(2, "generate", "--prompt", "a", *extra)

    def test_options_that_contradict(self):
        for extra in (["--prompt", "a", "--prompt-file", "b"], ["--prompt-file", "a", "--prompt-tokens", "b"],
                      ["--prompt", "a", "--prompt-tokens", "b"], ["--method", "lazy", "--tau", "direct"],
                      ["--logprobs"], ["--logprobs", "--format", "text"], ["--stop", ""], ["--allow", ""]):
            with self.subTest(extra=extra):
                self.fails(2, "generate", *extra)

    def test_numbers_out_of_range(self):
        for name, value in (("temperature", "-1"), ("temperature", "nan"), ("temperature", "inf"), ("top-p", "0"),
                            ("top-p", "1.5"), ("top-p", "nan"), ("min-p", "-0.1"), ("min-p", "2"), ("top-k", "-1")):
            with self.subTest(name=name, value=value):
                self.fails(2, "generate", f"--{name}={value}", says=name)

    def test_whole_numbers_out_of_range(self):
        huge = "18446744073709551616"
        for args in (["generate", "--max-new-tokens", huge], ["generate", "--seed", huge], ["inspect", "--length", huge],
                     ["bench", "model", "--at", huge]):
            with self.subTest(args=args):
                self.fails(2, *args, says=huge + " is larger than 18446744073709551615")
        for args in (["mixer", "--channels", "0"], ["mixer", "--lengths", "8,-1"], ["mixer", "--repeats", "1.5"],
                     ["mixer", "--threads", "1025"], ["tiles", "--max-block", "x"], ["model", "--at", "-1"],
                     ["model", "--steps", "0"]):
            with self.subTest(args=args):
                self.fails(2, "bench", *args, says=[args[1], "is not a whole number from"])

    def test_devices(self):
        run = ["generate", "--model", self.bytes_model, "--prompt", "a", "--max-new-tokens", 3, "--format", "tokens",
               "--temperature", 0]
        for wrong in ("gpu", "cuda:", "cuda:-1", "cuda:x", "", "cuda:0,", "cuda:0,x", "cuda:0 1"):
            with self.subTest(device=wrong):
                self.fails(2, *run, "--device", wrong, says="expected cpu, cuda, cuda:N, cuda:N,M,.. or auto")
        self.assertEqual(len(self.ok(*run, "--device", "auto").stdout.split()), 3)
        self.assertEqual(self.ok(*run, "--device", "cpu").stdout, self.ok(*run).stdout)
        # No CUDA in this build, no driver, or fewer than a hundred GPUs.
        self.fails(1, *run, "--device", "cuda:99", says="CUDA")
        self.fails(1, "inspect", "--model", self.bytes_model, "--length", 100, "--device", "cuda:99", says="CUDA")
        self.fails(2, "inspect", "--model", self.bytes_model, "--device", "gpu", says="expected cpu, cuda, cuda:N, cuda:N,M,.. or auto")
        # Several that share a model: each once, all there, and channels for each.
        self.fails(2, *run, "--device", "cuda:0,1,0", says="names cuda:0 twice, expected each GPU once")
        self.fails(1, "generate", "--model", "kjv-bytes", "--prompt", "a", "--device", "cuda:98,99", says="CUDA")
        many = ",".join(str(k) for k in range(200))
        self.fails(1, *run, "--device", "cuda:" + many, says=["200 devices are more than the", "groups of 16 channels"])
        # Families that have no device code say so, or the build does.
        self.fails(1, "generate", "--model", golden("stack-mixed"), "--prompt-tokens", self.write("t", "1"),
                   "--device", "cuda:99", says="CUDA")
        self.ok("generate", "--model", golden("stack-mixed"), "--prompt-tokens", self.write("t", "1"),
                "--max-new-tokens", 2, "--format", "tokens", "--device", "auto")

    def test_simd_environment(self):
        listed = self.ok("inspect", env={"LCSM_SIMD": "list"}).stdout.decode().split()
        self.assertTrue(listed)
        for target in listed:
            done = self.ok("generate", "--model", self.bytes_model, "--prompt", "a", "--max-new-tokens", 3,
                           "--format", "tokens", "--stats", "s.json", env={"LCSM_SIMD": target})
            self.assertEqual(len(done.stdout.split()), 3)
            with open(self.path("s.json")) as file:
                self.assertIn(f'"simd_target": "{target}"', file.read())
        self.fails(1, "generate", "--model", self.bytes_model, env={"LCSM_SIMD": "abacus"},
                   says=["LCSM_SIMD", "abacus"])

    def test_model_lookup(self):
        self.fails(1, "inspect", "--model", "no-such-model", says=["no-such-model", "share/lcsm/models"])
        self.fails(1, "inspect", "--model", "no/such/model", says="no/such/model")
        self.fails(1, "inspect", "--model", "tiny", env={"LCSM_MODELS": self.shared}, says="or one of ")
        self.fails(1, "inspect", "--model", "tiny", env={"LCSM_MODELS": self.shared}, says="tiny-bytes")
        os.mkdir(self.path("folder"))
        self.fails(1, "inspect", "--model", "folder", says=["folder: holds no config.json", "model.safetensors"])
        self.fails(1, "inspect", "--model", self.write("w.ckpt", "PK"), says="w.ckpt: is a file")
        done = self.ok("inspect", "--model", "tiny-bytes", env={"LCSM_MODELS": "/nonexistent:" + self.shared})
        self.assertIn(b"tiny-bytes", done.stdout)

    def test_completions_know_every_option(self):
        folder = os.path.join(harness.SOURCE, "apps", "cli", "completions")
        scripts = {}
        for name in ("lcsm.bash", "_lcsm", "lcsm.fish"):
            with open(os.path.join(folder, name)) as file:
                scripts[name] = file.read()
        for command in COMMANDS:
            text = self.ok(command, "--help").stdout.decode()
            for option in re.findall(r"^\s+(?:-h,)?--([a-z-]+)", text, re.MULTILINE):
                for name, script in scripts.items():
                    wanted = f"-l {option} " if name == "lcsm.fish" else f"--{option}"
                    self.assertIn(wanted, script, f"{name} does not know {command} --{option}")

    def test_bash_completion_works(self):
        if not shutil.which("bash"):
            self.skipTest("no bash")
        script = os.path.join(harness.SOURCE, "apps", "cli", "completions", "lcsm.bash")
        ask = (f"source {script}; COMP_WORDS=(lcsm generate --format ''); COMP_CWORD=3; _lcsm; "
               "echo ${COMPREPLY[@]}; COMP_WORDS=(lcsm generate --te); COMP_CWORD=2; _lcsm; echo ${COMPREPLY[@]}")
        done = subprocess.run(["bash", "-c", ask], capture_output=True, timeout=60)
        self.assertEqual(done.stdout.decode(), "text tokens fasta jsonl\n--temperature\n")


if __name__ == "__main__":
    unittest.main()
