"""Closed pipes, full disks, Ctrl-C, terminals."""
import json
import os
import pty
import select
import signal
import subprocess
import time
import unittest

import harness
from harness import CliTest


class Pipes(CliTest):
    def long_run(self, *extra):
        # Far more than could be done: whoever ends this, it is not the length.
        return ["generate", "--model", self.dna_model, "--prompt", "ACGT", "--num-samples", "4000000", "--seed", "1",
                "--max-new-tokens", "1000", *extra]

    def test_reader_goes_away(self):
        for form in ("text", "tokens", "fasta", "jsonl"):
            with self.subTest(form=form):
                process = subprocess.Popen([harness.LCSM, *self.long_run("--format", form, "--quiet")],
                                           stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=self.tmp,
                                           env=self.environment())
                self.assertEqual(len(process.stdout.read(10)), 10)
                process.stdout.close()
                self.assertEqual(process.wait(60), 0)
                self.assertEqual(process.stderr.read(), b"")
                process.stderr.close()

    def test_reader_goes_away_and_stats_are_written(self):
        process = subprocess.Popen([harness.LCSM, *self.long_run("--stats", self.path("s.json"))],
                                   stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=self.environment())
        process.stdout.read(10)
        process.stdout.close()
        self.assertEqual(process.wait(60), 0)
        with open(self.path("s.json")) as file:
            self.assertGreater(json.load(file)["tokens"], 0)

    def test_help_into_a_closed_pipe(self):
        done = subprocess.run(["bash", "-c", "set -o pipefail; lcsm generate --help | true"], capture_output=True,
                              env=self.environment(), timeout=60)
        self.assertEqual((done.returncode, done.stderr), (0, b""))

    def test_tokens_come_as_they_are_made(self):
        process = subprocess.Popen([harness.LCSM, *self.long_run()], stdout=subprocess.PIPE,
                                   stderr=subprocess.DEVNULL, env=self.environment())
        first = os.read(process.stdout.fileno(), 1 << 16)
        self.assertLess(len(first), 4096, "the first read should hold few tokens, not a filled buffer")
        process.kill()
        process.wait()
        process.stdout.close()


class FullDisk(CliTest):
    @unittest.skipUnless(os.path.exists("/dev/full"), "no /dev/full")
    def test_stdout(self):
        for args in (["generate", "--model", self.bytes_model, "--prompt", "a", "--max-new-tokens", "5"],
                     ["generate", "--model", self.bytes_model, "--format", "jsonl", "--max-new-tokens", "5"],
                     ["inspect", "--model", self.bytes_model], ["--help"], ["--version"]):
            with self.subTest(args=args):
                with open("/dev/full", "wb") as full:
                    done = subprocess.run([harness.LCSM, *args], stdout=full, stderr=subprocess.PIPE, cwd=self.tmp,
                                          env=self.environment(), timeout=60)
                self.assertEqual(done.returncode, 1)
                self.assertIn(b"standard output: cannot write: No space left on device", done.stderr)

    @unittest.skipUnless(os.path.exists("/dev/full"), "no /dev/full")
    def test_files(self):
        ids = self.write("ids", "1 2 3")
        self.fails(1, "logits", "--model", self.bytes_model, "--tokens", ids, "--output", "/dev/full",
                   says=["/dev/full", "No space left"])
        done = self.run_lcsm("generate", "--model", self.bytes_model, "--max-new-tokens", 5, "--stats", "/dev/full")
        self.assertEqual(done.returncode, 1)
        self.assertIn(b"/dev/full", done.stderr)

    def test_outputs_that_cannot_be(self):
        ids = self.write("ids", "1 2 3")
        self.write("file", "")
        for target in ("missing/l.npy", "file/l.npy", "."):
            with self.subTest(target=target):
                self.fails(1, "logits", "--model", self.bytes_model, "--tokens", ids, "--output", target, says=target)
                # Before anything is generated, not after an hour.
                self.fails(1, "generate", "--model", self.bytes_model, "--max-new-tokens", 5, "--stats", target,
                           says=target)


class Stderr(CliTest):
    def test_nobody_hears(self):
        for where in ("2>&-", "2>/dev/full"):
            with self.subTest(where=where):
                script = f"lcsm generate --model {self.bytes_model} --max-new-tokens 5 --format tokens --seed 1 {where}"
                done = subprocess.run(["bash", "-c", script], capture_output=True, cwd=self.tmp,
                                      env=self.environment(), timeout=60)
                self.assertEqual((done.returncode, len(done.stdout.split())), (0, 5))


class Interrupts(CliTest):
    def start(self, *extra):
        return subprocess.Popen(
            [harness.LCSM, "generate", "--model", self.dna_model, "--prompt", "ACGT", "--num-samples", "4000000",
             "--max-new-tokens", "1000", "--seed", "1", *extra],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=self.tmp, env=self.environment())

    def interrupt(self, *extra):
        process = self.start(*extra)
        first = os.read(process.stdout.fileno(), 20)
        process.send_signal(signal.SIGINT)
        rest, err = process.communicate(timeout=60)
        self.assertEqual(process.returncode, 130, err)
        return (first + rest).decode(), err.decode()

    def test_text(self):
        out, err = self.interrupt()
        self.assertTrue(out.endswith("\n"))
        self.assertIn("tokens/s", err)

    def test_records_are_whole_and_stats_written(self):
        out, _ = self.interrupt("--format", "jsonl", "--stats", "s.json")
        records = [json.loads(line) for line in out.splitlines()]
        self.assertEqual({r["finish_reason"] for r in records[:-1]} - {"length"}, set())
        self.assertIn(records[-1]["finish_reason"], ("cancelled", "length"))
        with open(self.path("s.json")) as file:
            self.assertEqual(json.load(file)["tokens"], sum(len(r["tokens"]) for r in records))

    def test_fasta_ends_its_line(self):
        out, _ = self.interrupt("--format", "fasta", "--allow", "ACGT")
        self.assertTrue(out.endswith("\n"))
        self.assertRegex(out.splitlines()[-1], r"\A(>.*|[ACGT]{1,60})\Z")

    def test_while_nobody_reads(self):
        # The pipe is full and the write blocked; the signal must still be heard.
        process = self.start("--format", "tokens")
        time.sleep(3)
        process.send_signal(signal.SIGINT)
        time.sleep(0.5)
        out, _ = process.communicate(timeout=60)
        self.assertEqual(process.returncode, 130)
        self.assertTrue(out.endswith(b"\n"))

    def test_second_one_kills(self):
        process = self.start("--format", "tokens", "--stats", "s.json")
        time.sleep(1)
        while process.poll() is None:
            process.send_signal(signal.SIGINT)
            time.sleep(0.05)
        process.communicate()
        self.assertIn(process.returncode, (130, -signal.SIGINT))

    def test_bench_ends_at_once(self):
        for args in (["mixer", "--channels", "256", "--lengths", "65536", "--methods", "lazy", "--repeats", "1000"], ["tiles"]):
            with self.subTest(args=args):
                process = subprocess.Popen([harness.LCSM, "bench", *args, "--json", "b.json"], stdout=subprocess.PIPE,
                                           stderr=subprocess.PIPE, cwd=self.tmp, env=self.environment())
                self.addCleanup(process.kill)
                time.sleep(1)
                process.send_signal(signal.SIGINT)
                out, _ = process.communicate(timeout=20)
                self.assertEqual((process.returncode, out, self.listing()), (-signal.SIGINT, b"", []))

    def test_logits_leave_nothing_behind(self):
        ids = self.write("ids", "7 8 9 10 " * 250)
        before = self.listing()
        for _ in range(3):
            process = subprocess.Popen([harness.LCSM, "logits", "--model", self.dna_model, "--tokens", ids,
                                        "--output", "l.npy", "--step"], cwd=self.tmp, env=self.environment(),
                                       stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            time.sleep(0.02)
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=60)
            if process.returncode == 130:
                self.assertEqual((out, err), (b"", b""))
                self.assertEqual(self.listing(), before)
                return
            if process.returncode == 0:
                os.remove(self.path("l.npy"))  # Too quick for us; once more.


class Terminal(CliTest):
    def on_terminal(self, *args, stdout_too):
        """What a terminal shows as stderr (and as stdout too, or what went into a pipe)."""
        try:
            master, slave = pty.openpty()
        except OSError as error:  # A chroot without /dev/pts.
            self.skipTest(f"no terminal to be had: {error}")
        process = subprocess.Popen([harness.LCSM, *map(str, args)], stdin=subprocess.DEVNULL,
                                   stdout=slave if stdout_too else subprocess.PIPE, stderr=slave,
                                   env={**self.environment(), "TERM": "xterm"})
        os.close(slave)
        shown, piped, open_files = b"", b"", {master}
        if not stdout_too:
            open_files.add(process.stdout.fileno())
        while open_files:
            for file in select.select(list(open_files), [], [], 60)[0]:
                try:
                    data = os.read(file, 65536)
                except OSError:
                    data = b""
                if not data:
                    open_files.discard(file)
                elif file == master:
                    shown += data
                else:
                    piped += data
        if process.stdout:
            process.stdout.close()
        os.close(master)
        self.assertEqual(process.wait(60), 0)
        return shown, piped

    def test_progress_only_beside_piped_data(self):
        samples = 4 if harness.SANITIZED else 40  # Longer than the moment in which no bar is drawn.
        args = ["generate", "--model", self.dna_model, "--prompt", "ACGT", "--num-samples", samples, "--max-new-tokens",
                1000, "--seed", 1, "--allow", "ACGT"]
        shown, piped = self.on_terminal(*args, stdout_too=False)
        self.assertEqual(len(piped), samples * 1001)
        self.assertNotIn(b"\r", piped)
        self.assertIn(b"generating [", shown)
        self.assertIn(b"tokens/s", shown)
        shown, _ = self.on_terminal(*args, "--quiet", stdout_too=False)
        self.assertEqual(shown, b"")

    def test_text_on_the_terminal_is_its_own_progress(self):
        shown, _ = self.on_terminal("generate", "--model", self.bytes_model, "--prompt", "hello", "--max-new-tokens",
                                    200, "--allow", "xyz", "--seed", 1, stdout_too=True)
        self.assertNotIn(b"generating [", shown)
        self.assertIn(b"hello", shown)


if __name__ == "__main__":
    unittest.main()
