"""lcsm score: likelihoods of FASTA records, against logits and plain arithmetic."""
import gzip
import json
import math
import os
import random
import signal
import subprocess
import time
import unittest

import harness
from harness import CliTest, golden, read_npy

IDS = {"A": 7, "C": 8, "G": 9, "T": 10, "N": 11}
VOCAB = 12
HEADER = "id\tlength\tscored\tsum_logprob\tmean_logprob\tbits_per_token"
COMPLEMENT = str.maketrans("ACGTN", "TGCAN")


def bases(count, seed):
    draw = random.Random(seed)
    return "".join(draw.choice("ACGT") for _ in range(count))


def fasta(records, width=60, end="\n"):
    lines = []
    for name, sequence in records:
        lines.append(">" + name)
        lines += [sequence[at:at + width] for at in range(0, len(sequence), width)]
    return end.join(lines) + end


def bgzip(data, block=65280):
    parts = [data[at:at + block] for at in range(0, len(data), block)] + [b""]
    members = [gzip.compress(part, mtime=0) for part in parts]
    return b"".join(m[:3] + b"\4" + m[4:10] + b"\6\0BC\2\0\x1b\0" + m[10:] for m in members)


class ScoreTest(CliTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        box = os.path.join(harness.SOURCE, "models", "ecoli-hyenadna")
        cls.model = box if os.path.isdir(box) else golden("hyenadna-tiny-1k-hf")

    def score(self, file, *args, **kwargs):
        """Rows of the table: {id: [length, scored, sum, mean, bits]}, in order."""
        done = self.ok("score", "--model", self.model, file, *args, **kwargs)
        header, *lines = done.stdout.decode().splitlines()
        self.assertEqual(header, HEADER)
        rows = [line.split("\t") for line in lines]
        self.assertEqual({len(row) for row in rows} - {6}, set())
        return {row[0]: [int(row[1]), int(row[2])] + [float(x) for x in row[3:]] for row in rows}

    def logprobs(self, sequence):
        """By definition, from the command's logits: of each base but the first."""
        ids = [IDS[c] for c in sequence]
        self.ok("logits", "--model", self.model, "--tokens", self.write("ids", " ".join(map(str, ids))), "--output",
                "l.npy")
        (rows, columns), values = read_npy(self.path("l.npy"))
        self.assertEqual(rows, len(ids))
        out = []
        for t in range(1, len(ids)):
            row = values[(t - 1) * columns:(t - 1) * columns + VOCAB]
            top = max(row)
            out.append(row[ids[t]] - top - math.log(math.fsum(math.exp(x - top) for x in row)))
        return out


class Values(ScoreTest):
    def test_against_logits(self):
        records = [("one", bases(700, 1)), ("two", bases(30, 2) + "N" + bases(9, 3)), ("three", "AC")]
        rows = self.score(self.write("a.fa", fasta(records)), "--per-token", "t.tsv")
        with open(self.path("t.tsv")) as file:
            header, *lines = file.read().splitlines()
        self.assertEqual(header, "id\tposition\ttoken\tlogprob")
        tokens = [line.split("\t") for line in lines]
        self.assertEqual(list(rows), [name for name, _ in records])
        for name, sequence in records:
            want = self.logprobs(sequence)
            length, scored, total, mean, bits = rows[name]
            self.assertEqual((length, scored), (len(sequence), len(sequence) - 1))
            self.assertAlmostEqual(total, math.fsum(want), delta=1e-5 * len(sequence))
            self.assertAlmostEqual(mean, total / scored, delta=1e-12)
            self.assertAlmostEqual(bits, -mean / math.log(2), delta=1e-12)
            mine = [row for row in tokens if row[0] == name]
            self.assertEqual([int(row[1]) for row in mine], list(range(1, len(sequence))))
            self.assertEqual("".join(row[2] for row in mine), sequence[1:])
            for row, logprob in zip(mine, want):
                self.assertAlmostEqual(float(row[3]), logprob, delta=2e-5)
            self.assertAlmostEqual(math.fsum(float(row[3]) for row in mine), total, delta=1e-9)

    def test_both_strands(self):
        sequence = bases(300, 4) + "N" + bases(50, 5)
        reverse = sequence.translate(COMPLEMENT)[::-1]
        file = self.write("a.fa", fasta([("f", sequence), ("r", reverse)]))
        one = self.score(file)
        both = self.score(file, "--strand", "both", "--per-token", "t.tsv")
        mean = (one["f"][2] + one["r"][2]) / 2
        self.assertAlmostEqual(both["f"][2], mean, delta=1e-9)
        self.assertEqual(both["f"], both["r"])
        forward, backward = self.logprobs(sequence), self.logprobs(reverse)
        with open(self.path("t.tsv")) as file:
            rows = [line.split("\t") for line in file.read().splitlines()[1:]]
        rows = [row for row in rows if row[0] == "f"]
        self.assertEqual("".join(row[2] for row in rows), sequence)
        last = len(sequence) - 1
        for t, row in enumerate(rows):
            # The first base of a strand has no value there.
            values = ([forward[t - 1]] if t > 0 else []) + ([backward[last - t - 1]] if t < last else [])
            self.assertAlmostEqual(float(row[3]), sum(values) / len(values), delta=2e-5)

    def test_one_base_scores_nothing(self):
        file = self.write("a.fa", ">a\nA\n>b\nACG\n")
        rows = self.score(file)
        self.assertEqual(rows["a"][:3], [1, 0, 0])
        self.assertTrue(all(math.isnan(x) for x in rows["a"][3:]))
        line = self.ok("score", "--model", self.model, file, "--format", "jsonl").stdout.splitlines()[0]
        record = json.loads(line)
        self.assertEqual((record["mean_logprob"], record["bits_per_token"], record["score"]), (None, None, None))

    def test_windows(self):
        sequence = bases(150, 6)
        file = self.write("a.fa", fasta([("x", sequence), ("short", sequence[:40])]))
        got = self.score(file, "--window", 40, "--stride", 15)
        want = self.logprobs(sequence[:40])
        for begin in range(15, 150 - 25, 15):
            window = sequence[begin:begin + 40]
            want += self.logprobs(window)[24:]
        self.assertEqual(len(want), 149)
        self.assertEqual(got["x"][:2], [150, 149])
        self.assertAlmostEqual(got["x"][2], math.fsum(want), delta=2e-3)
        self.assertEqual(got["short"], self.score(file)["short"])
        # Half a window unless told.
        self.assertEqual(self.score(file, "--window", 40), self.score(file, "--window", 40, "--stride", 20))
        self.assertEqual(self.score(file, "--window", 150), self.score(file))


class Independence(ScoreTest):
    def test_of_the_others_and_of_threads(self):
        records = [(f"r{n}", bases(length, n)) for n, length in
                   enumerate((400, 1, 900, 2, 255, 256, 257, 33, 1000, 700))]
        lines = {}
        for order in (records, records[::-1]):
            for threads in (1, 2, 3):
                done = self.ok("score", "--model", self.model, self.write("a.fa", fasta(order)), "--threads", threads)
                for line in done.stdout.decode().splitlines()[1:]:
                    self.assertEqual(lines.setdefault(line.split("\t")[0], line), line)
        for name, sequence in records:
            done = self.ok("score", "--model", self.model, self.write("b.fa", fasta([(name, sequence)])))
            self.assertEqual(done.stdout.decode().splitlines()[1], lines[name])


class Inputs(ScoreTest):
    def test_every_wrapping_and_packing(self):
        records = [("a", bases(500, 1)), ("b", bases(61, 2))]
        plain = fasta(records)
        want = self.ok("score", "--model", self.model, self.write("plain.fa", plain)).stdout
        lower = fasta([(name, sequence.lower()) for name, sequence in records])
        rna = fasta([(name, sequence.replace("T", "U")) for name, sequence in records])
        for name, data in (("crlf", fasta(records, 70, "\r\n").encode()), ("one-line", fasta(records, 9999).encode()),
                           ("gz", gzip.compress(plain.encode())), ("bgz", bgzip(plain.encode(), 100)),
                           ("members", gzip.compress(plain[:50].encode()) + gzip.compress(plain[50:].encode())),
                           ("blank", plain.replace("\n", "\n\n").encode()), ("no-end", plain.rstrip("\n").encode()),
                           ("lower", lower.encode()), ("rna", rna.encode())):
            with self.subTest(name=name):
                done = self.ok("score", "--model", self.model, self.write(name, data))
                self.assertEqual(done.stdout, want)
                self.assertEqual(self.ok("score", "--model", self.model, "-", stdin=data).stdout, want)
                note = {"lower": b"lower case read as upper case: 561", "rna": b"U read as T: "}.get(name, b"")
                self.assertIn(note, done.stderr)
                self.assertEqual(b"note:" in done.stderr, note != b"")

    def test_iupac_codes_are_n(self):
        got = self.score(self.write("a.fa", ">a\nACRGTyKAR\n"))
        done = self.ok("score", "--model", self.model, self.path("a.fa"))
        self.assertIn(b"IUPAC codes read as N: K 1, R 2, Y 1", done.stderr)
        self.assertEqual(got, self.score(self.write("b.fa", ">a\nACNGTNNAN\n")))

    def test_regions(self):
        one, two = bases(200, 1), bases(90, 2)
        file = self.write("a.fa", fasta([("c1", one), ("unused", "A"), ("c2", two)]))
        bed = self.write("r.bed", "# regions\nc2\t0\t90\nc1\t10\t50\tp\t0\t-\nc1\t0\t200\nc1\t199\t200\n")
        got = self.score(file, "--regions", bed)
        want = self.score(self.write("b.fa", fasta([("p", one[10:50]), ("c1:0-200", one), ("c1:199-200", one[199]),
                                                    ("c2:0-90", two)])))
        self.assertEqual(str(got), str(want))  # NaN equals NaN.
        with open(file, "rb") as data:
            piped = self.score("-", "--regions", bed, stdin=data.read())
        self.assertEqual(str(piped), str(want))

    def test_bad_sequences(self):
        whole = gzip.compress(fasta([("a", bases(5000, 1))]).encode())
        for data, says in ((b"", "holds no record"), (b"ACGT\n", "before the first record"),
                           (b">a\nACGT\n>b\n", 'record "b" (line 3) is empty'), (b">a\nAC-GT\n", 'column 3 has "-"'),
                           (b">a\nACGT\n>b\nAC\nGT*\n", 'line 5, record "b": column 3 has "*"'),
                           (b"> a\nACGT\n", "header without a name"), (whole[:-20], "was cut short"),
                           (whole + b"x", "bytes after its compressed data"), (whole[:40] + b"\xff" + whole[41:], "bad.fa: "),
                           (bgzip(b">a\nACGT\n")[:-26], "was cut short")):
            with self.subTest(says=says):
                file = self.write("bad.fa", data)
                self.fails(1, "score", "--model", self.model, file, says=[file, says])
                self.fails(1, "score", "--model", self.model, file, "--output", "o.tsv", "--per-token", "t.tsv",
                           says=[file, says])
        self.fails(1, "score", "--model", self.model, "nowhere.fa", says="nowhere.fa")
        self.fails(1, "score", "--model", self.model, ".", says="is a folder")

    def test_a_pipe_gives_what_came_before_the_error(self):
        done = self.run_lcsm("score", "--model", self.model, "-", stdin=b">a\nACGT\n>b\nA!\n")
        self.assertEqual(done.returncode, 1)
        self.assertEqual([line.split(b"\t")[0] for line in done.stdout.splitlines()], [b"id", b"a"])
        self.assertEqual(done.stderr.decode(), 'lcsm: standard input: line 4, record "b": column 2 has "!", expected '
                         "a nucleotide (A, C, G, T, U, N or an IUPAC code)\n")

    def test_bad_regions(self):
        file = self.write("a.fa", ">c\nACGTACGT\n>d\nA\n>d\nC\n")
        for text, says in (("c\t0\t9\n", "r.bed: line 1 ends at 9, expected at most 8"),
                           ("c\t0\t8\ne\t0\t1\n", 'r.bed: line 2 names the sequence "e", expected one of those in'),
                           ("c\t3\t3\n", "expected an end after the begin"), ("c\tx\t3\n", "column 2"),
                           ("", "holds no regions"), ("d\t0\t1\n", "both begin a record")):
            with self.subTest(text=text):
                self.write("r.bed", text)
                self.fails(1, "score", "--model", self.model, file, "--regions", "r.bed", says=says)

    def test_longer_than_the_model_takes(self):
        model = golden("hyenadna-tiny-1k-hf")
        file = self.write("a.fa", fasta([("ok", bases(1026, 1)), ("long", bases(1027, 1))]))
        self.fails(1, "score", "--model", model, file,
                   says=['record "long" (line 20) has 1 027 bases, expected at most 1026', "--window"])
        self.fails(1, "score", "--model", model, file, "--window", 1027, says=["--window 1027", "1026"])
        self.ok("score", "--model", model, file, "--window", 1026)

    def test_other_models(self):
        self.assertIn("seq", self.score_with(self.bytes_model))
        self.fails(1, "score", "--model", "no-such-model", self.path("a.fa"), says="no-such-model")

    def score_with(self, model):
        return self.ok("score", "--model", model, self.write("a.fa", ">seq\nACGT\n")).stdout.decode()


class Outputs(ScoreTest):
    def test_jsonl(self):
        file = self.write("a.fa", fasta([("a", bases(99, 1)), ("\xff", "AC")]).encode("latin-1"))
        table = self.ok("score", "--model", self.model, file).stdout.decode("latin-1").splitlines()[1].split("\t")
        for reduce in ("sum", "mean"):
            done = self.ok("score", "--model", self.model, file, "--format", "jsonl", "--reduce", reduce)
            first, second = [json.loads(line) for line in done.stdout.decode("utf-8").splitlines()]
            self.assertEqual([str(first[key]) for key in HEADER.split("\t")], table)
            self.assertEqual(first["score"], first[reduce + "_logprob"])
            self.assertEqual(second["id"], "\ufffd")
            self.assertRegex(first["model_hash"], r"\A[0-9a-f]{32}\Z")
            for key in ("model", "version", "strand"):
                self.assertIn(key, first)
            self.assertEqual(self.ok("score", "--model", self.model, file, "--reduce", reduce).stdout.decode(
                "latin-1").splitlines()[1].split("\t"), table)

    def test_comments_files_and_stdout(self):
        file = self.write("a.fa", fasta([("a", bases(99, 1))]))
        plain = self.ok("score", "--model", self.model, file).stdout.decode()
        self.ok("score", "--model", self.model, file, "--comments", "--output", "o.tsv", "--per-token", "t.tsv")
        for name in ("o.tsv", "t.tsv"):
            with open(self.path(name)) as out:
                lines = out.read().splitlines()
            self.assertRegex(lines[0], r"\A# lcsm \d+\.\d+\.\d+, model \S+ [0-9a-f]{32}\Z")
            self.assertRegex(lines[1], r"\A# score ")
            self.assertNotIn("#", lines[2])
        with open(self.path("o.tsv")) as out:
            self.assertEqual("".join(out.readlines()[2:]), plain)
        tokens = self.ok("score", "--model", self.model, file, "--output", "o.tsv", "--per-token", "-").stdout
        self.assertEqual(len(tokens.splitlines()), 99)

    def test_summary(self):
        done = self.ok("score", "--model", self.model, self.write("a.fa", fasta([("a", bases(99, 1)), ("b", "ACGT")])))
        rows = [line.split("\t") for line in done.stdout.decode().splitlines()[1:]]
        total = sum(float(row[3]) for row in rows)
        text = done.stderr.decode()
        self.assertRegex(text, r"\A2 sequences, 103 bases, 101 scored in ")
        self.assertIn(f"log-likelihood {total:.4f}; {-total / 101 / math.log(2):.6f} bits per base, perplexity "
                      f"{math.exp(-total / 101):.6f}\n", text)
        self.assertRegex(text, r"lcsm \d+\.\d+\.\d+, model \S+ [0-9a-f]{32}; ")
        quiet = self.ok("score", "--model", self.model, self.path("a.fa"), "--quiet")
        self.assertEqual((quiet.stderr, quiet.stdout), (b"", done.stdout))

    def test_wrong_usage(self):
        file = self.write("a.fa", ">a\nACGT\n")
        for extra in (["--stride", "5"], ["--window", "5", "--stride", "5"], ["--window", "1"], ["--strand", "reverse"],
                      ["--reduce", "max"], ["--per-token", "-"], ["--per-token", "x", "--output", "x"],
                      ["--comments", "--format", "jsonl"]):
            with self.subTest(extra=extra):
                self.fails(2, "score", "--model", self.model, file, *extra)
        self.fails(2, "score", file, says="--model")
        self.fails(2, "score", "--model", self.model)
        self.fails(2, "score", "--model", self.model, "-", "--regions", "-")

    @unittest.skipUnless(os.path.exists("/dev/full"), "no /dev/full")
    def test_full_disk(self):
        file = self.write("a.fa", fasta([("a", bases(99, 1))]))
        for extra in (["--output", "/dev/full"], ["--per-token", "/dev/full"]):
            self.assertEqual(self.run_lcsm("score", "--model", self.model, file, *extra).returncode, 1)
        with open("/dev/full", "wb") as full:
            done = subprocess.run([harness.LCSM, "score", "--model", self.model, file], stdout=full,
                                  stderr=subprocess.PIPE, cwd=self.tmp, env=self.environment(), timeout=60)
        self.assertEqual(done.returncode, 1)
        self.assertIn(b"No space left", done.stderr)


class Streams(ScoreTest):
    def endless(self, *extra):
        """A run that is fed records until it ends."""
        script = ("i=0; while true; do i=$((i+1)); printf '>r%d\\nACGTACGTTTACG\\n' $i; done 2>/dev/null"
                  f" | exec lcsm score --model {self.model} - --quiet " + " ".join(extra))
        return subprocess.Popen(["bash", "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=self.tmp,
                                env=self.environment(), start_new_session=True)

    def test_records_come_as_they_are_scored(self):
        process = self.endless()
        self.assertTrue(process.stdout.readline().startswith(b"id\t"))
        self.assertTrue(process.stdout.readline().startswith(b"r1\t"))
        process.stdout.close()
        self.assertEqual(process.wait(60), 0)
        self.assertEqual(process.stderr.read(), b"")
        process.stderr.close()

    def test_ctrl_c(self):
        for extra in ([], ["--output", "o.tsv", "--per-token", "t.tsv"]):
            with self.subTest(extra=extra):
                process = self.endless(*extra)
                if not extra:
                    process.stdout.readline()
                time.sleep(1)
                os.killpg(process.pid, signal.SIGINT)
                out, err = process.communicate(timeout=60)
                self.assertEqual((process.returncode, err), (130, b""))
                self.assertTrue(out.endswith(b"\n") or extra)
                self.assertEqual(self.listing(), [])

    def test_ctrl_c_while_waiting_for_input(self):
        process = subprocess.Popen([harness.LCSM, "score", "--model", self.model, "-"], stdin=subprocess.PIPE,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=self.environment())
        time.sleep(1.5)
        process.send_signal(signal.SIGINT)
        self.assertEqual(process.wait(30), 130)
        process.communicate()


if __name__ == "__main__":
    unittest.main()
