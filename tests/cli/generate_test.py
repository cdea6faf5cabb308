"""lcsm generate: what is drawn, when it ends, in which form it comes out."""
import json
import os
import re
import unittest

import harness
from harness import CliTest, golden


def ids(done):
    return [[int(word) for word in line.split()] for line in done.stdout.decode().splitlines()]


class Greedy(CliTest):
    def test_golden_continuations_by_every_way(self):
        with open(golden("hyenadna-tiny-1k-hf/greedy.json")) as file:
            known = json.load(file)
        prompt = self.write("prompt.txt", " ".join(map(str, known["prompt_tokens"])))
        base = ["generate", "--model", self.dna_model, "--prompt-tokens", prompt, "--temperature", 0, "--format",
                "tokens", "--max-new-tokens", len(known["greedy_tokens"])]
        ways = [[], ["--method", "planned"], ["--method", "lazy"], ["--method", "eager"], ["--schedule", "per-layer"],
                ["--threads", "1"], ["--threads", "3"]]
        ways += [["--method", "paper", "--tau", tau]
                 for tau in ("direct", "direct-blocked", "fft-library", "fft-fused", "hybrid")]
        for way in ways:
            with self.subTest(way=way):
                self.assertEqual(ids(self.ok(*base, *way)), [known["greedy_tokens"]])

    def test_model_in_the_box(self):
        folder = os.path.join(harness.SOURCE, "models", "kjv-bytes")
        if not os.path.isdir(folder):
            self.skipTest("models/kjv-bytes is not in this tree")
        done = self.ok("generate", "--prompt", "In the beginning", "--max-new-tokens", 60, "--temperature", 0)
        self.assertEqual(len(done.stdout), 61)
        self.assertRegex(done.stdout.decode(), "[a-z]{3,}")


class Drawing(CliTest):
    def base(self, *args, model=None):
        return ["generate", "--model", model or self.bytes_model, "--prompt", "seed", "--max-new-tokens", 40, *args]

    def test_seeds_reproduce(self):
        tokens = self.base("--format", "tokens")
        one = self.ok(*tokens, "--seed", 7).stdout
        self.assertEqual(one, self.ok(*tokens, "--seed", 7).stdout)
        self.assertEqual(one, self.ok(*tokens, "--seed", 7, "--threads", 1).stdout)
        self.assertNotEqual(one, self.ok(*tokens, "--seed", 8).stdout)

    def test_the_drawn_seed_is_told_and_repeats_the_run(self):
        record = json.loads(self.ok(*self.base("--format", "jsonl")).stdout)
        again = json.loads(self.ok(*self.base("--format", "jsonl", "--seed", record["seed"])).stdout)
        self.assertEqual(record, again)

    def test_samples_differ_and_stand_alone(self):
        three = ids(self.ok(*self.base("--format", "tokens", "--seed", 3, "--num-samples", 3)))
        two = ids(self.ok(*self.base("--format", "tokens", "--seed", 3, "--num-samples", 2)))
        self.assertEqual(len(three), 3)
        self.assertEqual(three[:2], two)
        self.assertEqual(len({tuple(line) for line in three}), 3)

    def test_temperature_zero_is_top_k_one(self):
        greedy = self.ok(*self.base("--format", "tokens", "--temperature", 0)).stdout
        self.assertEqual(greedy, self.ok(*self.base("--format", "tokens", "--top-k", 1, "--seed", 5)).stdout)
        self.assertEqual(greedy, self.ok(*self.base("--format", "tokens", "--top-p", 1e-6, "--seed", 5)).stdout)
        self.assertEqual(greedy, self.ok(*self.base("--format", "tokens", "--min-p", 1, "--seed", 5)).stdout)

    def test_allow(self):
        text = self.ok(*self.base("--allow", "xyz", "--seed", 1)).stdout.decode()
        self.assertRegex(text, r"\A[xyz]{40}\n\Z")
        dna = self.ok(*self.base("--allow", "ACGT", "--seed", 1, "--prompt", "ACGT", model=self.dna_model)[:3],
                      "--prompt", "ACGT", "--allow", "ACGT", "--seed", 1, "--max-new-tokens", 200)
        self.assertRegex(dna.stdout.decode(), r"\A[ACGT]{200}\n\Z")
        self.fails(1, "generate", "--model", self.dna_model, "--prompt", "A", "--allow", "xyz", says="--allow")

    def test_logprobs_are_logarithms_of_probabilities(self):
        record = json.loads(self.ok(*self.base("--format", "jsonl", "--logprobs", "--seed", 2)).stdout)
        self.assertEqual(len(record["logprobs"]), 40)
        self.assertTrue(all(-50 < p < 0 for p in record["logprobs"]))
        # They are the model's own: temperature changes what is drawn, not them.
        greedy = json.loads(self.ok(*self.base("--format", "jsonl", "--logprobs", "--temperature", 0)).stdout)
        one = json.loads(self.ok(*self.base("--format", "jsonl", "--logprobs", "--top-k", 1, "--temperature", 3)).stdout)
        self.assertEqual(greedy["logprobs"], one["logprobs"])


class Ending(CliTest):
    def greedy(self, *args):
        done = self.ok("generate", "--model", self.bytes_model, "--prompt", "abc", "--format", "jsonl",
                       "--allow", "abcdefghij", "--seed", 11, *args)
        return json.loads(done.stdout)

    def test_length(self):
        record = self.greedy("--max-new-tokens", 25)
        self.assertEqual((len(record["tokens"]), record["finish_reason"]), (25, "length"))

    def test_stop_strings(self):
        whole = self.greedy("--max-new-tokens", 100)["text"]
        stop = whole[40:44]
        at = whole.index(stop)
        record = self.greedy("--max-new-tokens", 100, "--stop", "never in there", "--stop", stop)
        self.assertEqual((record["text"], record["finish_reason"]), (whole[:at], "stop"))
        text = self.ok("generate", "--model", self.bytes_model, "--prompt", "abc", "--allow", "abcdefghij", "--seed",
                       11, "--max-new-tokens", 100, "--stop", stop).stdout.decode()
        self.assertEqual(text, whole[:at] + "\n", "streamed text must hold back what may begin a stop text")

    def test_stop_that_never_comes_leaves_all_text(self):
        whole = self.greedy("--max-new-tokens", 50)["text"]
        self.assertEqual(self.greedy("--max-new-tokens", 50, "--stop", whole[-1] + "\x01")["text"], whole)

    def test_stop_at_eos(self):
        base = ["generate", "--model", self.dna_model, "--prompt", "ACGT", "--seed", 4, "--format", "jsonl",
                "--max-new-tokens", 300]
        free = json.loads(self.ok(*base).stdout)
        self.assertIn(1, free["tokens"], "the test wants a seed that meets [SEP]")
        ended = json.loads(self.ok(*base, "--stop-at-eos").stdout)
        self.assertEqual(ended["finish_reason"], "eos")
        kept = free["tokens"][:free["tokens"].index(1)]
        self.assertIn(ended["tokens"], (kept, kept + [1]))

    def test_up_to_the_models_limit(self):
        base = ["generate", "--model", self.bytes_model, "--prompt", "x" * 200, "--format", "tokens"]
        self.assertEqual(len(self.ok(*base, "--max-new-tokens", 56).stdout.split()), 56)
        self.fails(1, *base, "--max-new-tokens", 100, says=["256", "100"])


class Prompts(CliTest):
    def test_file_stdin_and_text_agree(self):
        base = ["generate", "--model", self.bytes_model, "--max-new-tokens", 20, "--seed", 1, "--format", "tokens"]
        text = self.ok(*base, "--prompt", "hello").stdout
        self.assertEqual(text, self.ok(*base, "--prompt-file", self.write("p", "hello")).stdout)
        self.assertEqual(text, self.ok(*base, "--prompt-file", "-", stdin=b"hello").stdout)
        self.assertEqual(text, self.ok(*base, "--prompt-tokens", self.write("t", "104 101\n108 108\t111\n")).stdout)
        self.assertEqual(text, self.ok(*base, "--prompt-tokens", "-", stdin=b"104 101 108 108 111").stdout)
        self.assertNotEqual(text, self.ok(*base, "--prompt", "hello\n").stdout)
        self.ok(*base, "--prompt=--dashes and [brackets, too]")

    def test_default_prompt(self):
        for model in (self.bytes_model, self.dna_model):
            done = self.ok("generate", "--model", model, "--max-new-tokens", 5, "--format", "tokens")
            self.assertEqual(len(done.stdout.split()), 5)

    def test_lower_case_dna_is_noted_and_folded_on_demand(self):
        base = ["generate", "--model", self.dna_model, "--max-new-tokens", 20, "--temperature", 0, "--format",
                "tokens"]
        lower = self.ok(*base, "--prompt", "ACgtacX")
        note = lower.stderr.decode()
        for part in ("5 characters", "'g'", "byte 2", "--fold-case"):
            self.assertIn(part, note)
        folded = self.ok(*base, "--prompt", "ACgtac", "--fold-case")
        self.assertNotIn("--fold-case", folded.stderr.decode())
        self.assertEqual(folded.stdout, self.ok(*base, "--prompt", "ACGTAC").stdout)
        self.assertEqual(self.ok(*base, "--prompt", "ACgtacX", "--quiet").stderr, b"")

    def test_last_line_end_of_a_dna_file_is_dropped(self):
        base = ["generate", "--model", self.dna_model, "--max-new-tokens", 20, "--temperature", 0]
        done = self.ok(*base, "--prompt-file", self.write("p", "ACGTACGG\n"))
        self.assertNotIn(b"does not know", done.stderr)
        self.assertEqual(done.stdout, self.ok(*base, "--prompt", "ACGTACGG").stdout)


class FastaPrompts(CliTest):
    RECORDS = (("chr1", "ACGTACGGTTAC"), ("b", "TTTTGACA" * 50), ("c", "A"), ("d", "GATTACA" * 40))

    def file(self, records=RECORDS, name="p.fa"):
        return self.write(name, "".join(f">{name} words\n{sequence[:7]}\n{sequence[7:]}\n" for name, sequence in records))

    def base(self, *args):
        return ["generate", "--model", self.dna_model, "--max-new-tokens", 30, "--seed", 9, *args]

    def test_each_record_is_continued(self):
        done = self.ok(*self.base("--prompt-fasta", self.file(), "--format", "tokens"))
        got = ids(done)
        self.assertEqual([len(line) for line in got], [30] * 4)
        self.assertEqual(done.stdout, self.ok(*self.base("--prompt-fasta", self.file(), "--format", "tokens", "--threads",
                                                         1)).stdout)
        # The first record's samples are those of the same prompt by itself.
        self.assertEqual(got[0], ids(self.ok(*self.base("--prompt", self.RECORDS[0][1], "--format", "tokens")))[0])
        # Equal prompts do not go on in the same way.
        twice = ids(self.ok(*self.base("--prompt-fasta", self.file([self.RECORDS[0]] * 2), "--format", "tokens")))
        self.assertEqual(twice[0], got[0])
        self.assertNotEqual(twice[0], twice[1])

    def test_greedy_depends_on_the_record_alone(self):
        greedy = self.base("--format", "tokens", "--temperature", 0)
        want = ids(self.ok(*greedy, "--prompt-fasta", self.file()))
        self.assertEqual(ids(self.ok(*greedy, "--prompt-fasta", self.file(self.RECORDS[::-1]))), want[::-1])
        for (name, sequence), line in zip(self.RECORDS, want):
            self.assertEqual(ids(self.ok(*greedy, "--prompt", sequence)), [line], name)

    def test_fasta_and_jsonl(self):
        base = self.base("--prompt-fasta", self.file(), "--num-samples", 2, "--allow", "ACGT")
        fasta = self.ok(*base, "--format", "fasta").stdout.decode()
        headers = [line for line in fasta.splitlines() if line.startswith(">")]
        self.assertEqual([header.split()[0] for header in headers],
                         [f">{name}_sample_{k}" for name, _ in self.RECORDS for k in (1, 2)])
        for part in ("model=", "model_hash=", "seed=9", "temperature=1", "prompt_tokens=12", "lcsm="):
            self.assertIn(part, headers[0])
        records = [json.loads(line) for line in self.ok(*base, "--format", "jsonl").stdout.splitlines()]
        self.assertEqual([(r["record"], r["sample"], r["prompt"]) for r in records],
                         [(name, k, sequence) for name, sequence in self.RECORDS for k in (0, 1)])
        self.assertEqual("".join(r["text"] for r in records),
                         "".join(line for line in fasta.splitlines() if not line.startswith(">")))
        # Which sample it is says nothing about how many there are.
        one = self.ok(*self.base("--prompt-fasta", self.file(), "--allow", "ACGT", "--format", "jsonl"))
        self.assertEqual([json.loads(line)["text"] for line in one.stdout.splitlines()],
                         [r["text"] for r in records[::2]])

    def test_pipe_notes_and_stats(self):
        done = self.ok(*self.base("--prompt-fasta", "-", "--format", "fasta", "--stats", "s.json"),
                       stdin=b">x\nacgu\nRA\n>y\nC\n")
        self.assertIn(b"lower case read as upper case: 4; U read as T: 1; IUPAC codes read as N: R 1", done.stderr)
        self.assertIn(b"2 records", done.stderr)
        with open(self.path("s.json")) as file:
            stats = json.load(file)
        self.assertEqual((stats["tokens"], stats["samples"], stats["prompt_tokens"]), (60, 2, 7))
        self.assertEqual(self.ok(*self.base("--prompt-fasta", self.file(), "--quiet")).stderr, b"")

    def test_wrong(self):
        file = self.file([("short", "ACGT"), ("long", "ACGTA" * 200)])
        self.fails(1, *self.base("--prompt-fasta", file),
                   says=['record "long" (line 4) with its 1 000 bases', "at most 27 new tokens"])
        self.fails(1, *self.base("--prompt-fasta", self.write("bad.fa", ">a\nAC\n>b\nA-\n")), says='column 2 has "-"')
        for extra in (["--prompt", "A"], ["--prompt-file", "p"], ["--prompt-tokens", "p"], ["--dry-run"],
                      ["--fold-case"]):
            self.fails(2, *self.base("--prompt-fasta", file, *extra))


class Formats(CliTest):
    def base(self, *args):
        return ["generate", "--model", self.dna_model, "--prompt", "ACGT", "--max-new-tokens", 130, "--seed", 9, *args]

    def test_formats_agree(self):
        tokens = ids(self.ok(*self.base("--format", "tokens", "--num-samples", 2)))
        lines = self.ok(*self.base("--format", "jsonl", "--num-samples", 2)).stdout.decode().splitlines()
        records = [json.loads(line) for line in lines]
        self.assertEqual([r["tokens"] for r in records], tokens)
        self.assertEqual([r["sample"] for r in records], [0, 1])
        for key in ("text", "finish_reason", "seed", "model", "model_hash", "version"):
            self.assertIn(key, records[0])
        self.assertNotIn("logprobs", records[0])
        text = self.ok(*self.base("--num-samples", 2)).stdout.decode()
        self.assertEqual(text, "".join(r["text"] + "\n" for r in records))

    def test_samples_side_by_side_are_those_one_by_one(self):
        for extra in ([], ["--latency", "flat"], ["--stop", "AA", "--stop-at-eos"], ["--format", "jsonl", "--logprobs"],
                      ["--prompt-fasta", self.write("r.fa", ">a\nACGTACGT\n>b\nTTG\n")]):
            base = self.base("--num-samples", 5, "--temperature", 1.5, *extra)
            if "--prompt-fasta" in extra:
                base = [x for x in base if x not in ("--prompt", "ACGT")]
            with self.subTest(extra=extra):
                want = self.ok(*base, "--batch", 1).stdout
                for batch in (2, 3, 8):
                    self.assertEqual(self.ok(*base, "--batch", batch).stdout, want)
        self.fails(2, *self.base("--batch", 0))

    def test_samples_of_stacks_side_by_side(self):
        for name in ("stack-mixed", "stack-relaxed", "h3"):
            with self.subTest(name=name):
                tokens = self.write("prompt.txt", "1 2 3 4 5")
                base = ("generate", "--model", golden(name), "--prompt-tokens", tokens, "--format", "tokens", "--max-new-tokens", 40,
                        "--seed", 3, "--num-samples", 4)
                want = self.ok(*base, "--batch", 1).stdout
                self.assertEqual(len(set(want.splitlines())), 4)
                for batch in (3, 8):
                    self.assertEqual(self.ok(*base, "--batch", batch, "--threads", 2).stdout, want)

    def test_fasta(self):
        done = self.ok(*self.base("--format", "fasta", "--num-samples", 2, "--allow", "ACGT"))
        records = done.stdout.decode().split(">")[1:]
        self.assertEqual(len(records), 2)
        for record in records:
            header, *lines = record.splitlines()
            self.assertIn("seed=9", header)
            self.assertEqual([len(line) for line in lines], [60, 60, 10])
            self.assertRegex("".join(lines), r"\A[ACGT]+\Z")
        self.fails(1, "generate", "--model", self.bytes_model, "--format", "fasta", says=["fasta", "tiny-bytes", "DNA"])

    def test_fasta_writes_what_is_no_base_as_n(self):
        done = self.ok(*self.base("--format", "fasta"))
        tokens = ids(self.ok(*self.base("--format", "tokens")))[0]
        letters = "".join(done.stdout.decode().splitlines()[1:])
        self.assertEqual(letters, "".join("ACGTN"[t - 7] if t >= 7 else "N" for t in tokens))
        self.assertIn("--allow ACGT", done.stderr.decode())

    def test_bytes_that_are_no_utf8_make_valid_json(self):
        done = self.ok("generate", "--model", self.bytes_model, "--prompt", "a", "--seed", 1, "--max-new-tokens", 100,
                       "--format", "jsonl")
        record = json.loads(done.stdout.decode("utf-8"))
        self.assertTrue(any(t >= 128 for t in record["tokens"]))

    def test_weights_in_fewer_bits(self):
        outputs = []
        for weights in ("f32", "bf16", "int8"):
            done = self.ok(*self.base("--stats", self.path("s.json"), "--weights", weights))
            with open(self.path("s.json")) as file:
                self.assertEqual(json.load(file)["weights"], weights)
            outputs.append(done.stdout)
        self.assertEqual(outputs[0], self.ok(*self.base()).stdout)

    def test_stats(self):
        done = self.ok(*self.base("--stats", self.path("s.json"), "--threads", 2))
        with open(self.path("s.json")) as file:
            stats = json.load(file)
        for key in ("tokens", "seconds", "tokens_per_second", "prefill_seconds", "peak_rss_bytes", "plan", "threads",
                    "simd_target"):
            self.assertIn(key, stats)
        self.assertEqual((stats["tokens"], stats["threads"], stats["seed"]), (130, 2, 9))
        self.assertEqual(list(stats["per_token_ms"]), ["p50", "p90", "p99", "p99.9", "max"])
        times = list(stats["per_token_ms"].values())
        self.assertEqual(times, sorted(times))
        self.assertGreater(times[0], 0)
        self.assertEqual(sorted(stats["seconds_in"]), ["blocks", "head", "mixers", "sampler"])
        self.assertLessEqual(sum(stats["seconds_in"].values()), stats["seconds"] * 1.01)
        self.assertGreater(stats["peak_rss_bytes"], 1 << 20)
        self.assertRegex(done.stderr.decode(), r"130 tokens in .* tokens/s; p50 .* ms, p99 .* ms")
        self.assertEqual([f for f in os.listdir(self.tmp) if f != "s.json"], [])

    def test_quiet_and_no_terminal_mean_no_noise(self):
        self.assertEqual(self.ok(*self.base("--quiet")).stderr, b"")
        self.assertIsNone(re.search(rb"[\r\x1b]", self.ok(*self.base()).stderr))


if __name__ == "__main__":
    unittest.main()
