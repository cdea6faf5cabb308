"""lcsm variants: against an own account of windows and scores, and what it refuses."""
import gzip
import json
import math
import os
import random
import re
import signal
import struct
import subprocess
import unittest
import zlib

import harness
from harness import CliTest, read_npy

HEADER = "##fileformat=VCFv4.3\n##INFO=<ID=DP,Number=1,Type=Integer,Description=\"Depth\">\n"
COLUMNS = "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"
NAMES = "chrom\tpos\tref\talt\tscore_ref\tscore_alt\tllr"
IDS = dict(zip("ACGTN", range(7, 12)))


def reverse_complement(bases):
    return bases[::-1].translate(str.maketrans("ACGT", "TGCA"))


def windows(contig, begin, ref, alts, length, place):
    whole = [contig[:begin] + allele + contig[begin + len(ref):] for allele in [ref] + alts]
    shortest = min(map(len, whole))
    start = begin - min(begin, min(max(math.floor(place * length), 1), length - 1))
    start = max(0, min(start, shortest - length))
    return [text[start:start + min(length, shortest)] for text in whole]


def bgzip(data, block=100):
    out = b""
    for at in list(range(0, len(data), block)) + [None]:
        text = b"" if at is None else data[at:at + block]
        packer = zlib.compressobj(6, zlib.DEFLATED, -15)
        body = packer.compress(text) + packer.flush()
        out += (b"\x1f\x8b\x08\x04\0\0\0\0\0\xff\x06\0BC\x02\0" + struct.pack("<H", len(body) + 25) + body +
                struct.pack("<II", zlib.crc32(text), len(text)))
    return out


class Variants(CliTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        draw = random.Random(5)
        cls.genome = {"chr1": "".join(draw.choice("ACGT") for _ in range(700)), "2": "ACGTTGCANNACGTAC"}
        fasta = ""
        for name, bases in cls.genome.items():
            fasta += f">{name} made\n" + "".join(bases[i:i + 60] + "\n" for i in range(0, len(bases), 60))
        cls.fasta = os.path.join(cls.shared, "genome.fa")
        with open(cls.fasta, "w") as file:
            file.write(fasta)
        cls.fasta_bytes = fasta.encode()

    def records(self, *lines):
        """Lines of a VCF file; each a tuple (chrom, pos, ref, alt)."""
        return HEADER + COLUMNS + "".join(f"{c}\t{p}\t.\t{r}\t{a}\t50\tPASS\tDP=7\n" for c, p, r, a in lines)

    def vcf(self, *lines, name="v.vcf"):
        return self.write(name, self.records(*lines))

    def at(self, pos, length=1, chrom="chr1"):
        return self.genome[chrom][pos - 1:pos - 1 + length]

    def other(self, pos):
        return "ACGT"[("ACGT".index(self.at(pos)) + 1) % 4]

    def variants(self, *args, **kwargs):
        return self.ok("variants", "--model", self.dna_model, "--reference", self.fasta, "--vcf", *args, **kwargs)

    def refuse(self, vcf, *args, says, code=1, **kwargs):
        return self.fails(code, "variants", "--model", self.dna_model, "--reference", self.fasta, "--vcf", vcf, *args,
                          says=says, **kwargs)

    def rows(self, done):
        lines = done.stdout.decode().splitlines()
        self.assertEqual(lines[0], NAMES)
        rows = [line.split("\t") for line in lines[1:]]
        return [(c, int(p), r, a, float(x), float(y), float(z)) for c, p, r, a, x, y, z in rows]

    def score(self, text):
        """By `lcsm logits` and the definition."""
        if text not in self.known:
            ids = [IDS[base] for base in text]
            self.ok("logits", "--model", self.dna_model, "--tokens", "-", "--output", "l.npy",
                    stdin=" ".join(map(str, ids)).encode())
            (_, columns), values = read_npy(self.path("l.npy"))
            total = 0.0
            for t in range(len(ids) - 1):
                row = values[t * columns:t * columns + 12]
                top = max(row)
                total += row[ids[t + 1]] - top - math.log(sum(math.exp(x - top) for x in row))
            self.known[text] = total
        return self.known[text]

    def setUp(self):
        super().setUp()
        self.known = {}


class Scores(Variants):
    def lines(self):
        at, other = self.at, self.other
        return [("chr1", 300, at(300), other(300)),                              # SNV
                ("1", 301, at(301, 3), reverse_complement(at(301, 3))),          # MNV, without chr
                ("chr1", 302, at(302), at(302) + "ACGTA"),                       # insertion
                ("chr1", 303, at(303, 6), at(303)),                              # deletion
                ("chr1", 310, at(310), ",".join(b for b in "ACGT" if b != at(310)) + "," + at(310) + "GG"),
                ("chr1", 1, at(1), other(1)), ("chr1", 2, at(2), other(2)),      # contig's start
                ("chr1", 699, at(699, 2), at(699)), ("chr1", 700, at(700), other(700) + "A"),  # and end
                ("chr2", 5, "T", "TA,C"), ("2", 8, "ANN", "A")]                  # shorter than the window

    def check(self, rows, lines, window, place, both):
        expected = []
        for chrom, pos, ref, alt in lines:
            contig = self.genome["2" if chrom in ("2", "chr2") else "chr1"]
            alts = alt.split(",")
            totals = [0.0] * (len(alts) + 1)
            for strand in range(2 if both else 1):
                if strand == 0:
                    texts = windows(contig, pos - 1, ref, alts, window, place)
                else:
                    texts = windows(reverse_complement(contig), len(contig) - (pos - 1) - len(ref),
                                    reverse_complement(ref), [reverse_complement(a) for a in alts], window, place)
                for i, text in enumerate(texts):
                    totals[i] += self.score(text) / (2 if both else 1)
            for i, a in enumerate(alts):
                expected.append((chrom, pos, ref, a, totals[0], totals[i + 1], totals[i + 1] - totals[0]))
        self.assertEqual([row[:4] for row in rows], [row[:4] for row in expected])
        for got, wanted in zip(rows, expected):
            for x, y in zip(got[4:], wanted[4:]):
                # Float32 logits of 64 positions, each off by some 1e-6.
                self.assertAlmostEqual(x, y, delta=2e-4, msg=str((got, wanted)))

    def test_against_logits(self):
        lines = self.lines()
        vcf = self.vcf(*lines)
        for place, number in (("middle", 0.5), ("7/8", 0.875), ("0.25", 0.25)):
            for strand in ("forward", "both"):
                with self.subTest(place=place, strand=strand):
                    done = self.variants(vcf, "--window", 64, "--place", place, "--strand", strand)
                    self.check(self.rows(done), lines, 64, number, strand == "both")

    def test_the_example(self):
        folder = os.path.join(harness.SOURCE, "tests", "data", "variants")
        self.genome = {}
        with open(os.path.join(folder, "genome.fa")) as file:
            for record in file.read().split(">")[1:]:
                header, *lines = record.splitlines()
                self.genome[header.split()[0]] = "".join(lines)
        self.genome["2"] = self.genome["chr2"]
        lines = []
        with open(os.path.join(folder, "in.vcf")) as file:
            for record in file:
                if not record.startswith("#"):
                    chrom, pos, _, ref, alt = record.split("\t")[:5]
                    lines.append((chrom, int(pos), ref, ",".join(a for a in alt.split(",") if a.strip("ACGT") == "")))
        done = self.ok("variants", "--model", self.dna_model, "--reference", os.path.join(folder, "genome.fa"), "--vcf",
                       os.path.join(folder, "in.vcf"), "--window", 64, "--strand", "both")
        self.check(self.rows(done), lines, 64, 0.5, True)

    def test_sharing_changes_rounding_only(self):
        vcf = self.vcf(*self.lines())
        for strand in ("forward", "both"):
            shared = self.rows(self.variants(vcf, "--window", 200, "--strand", strand))
            whole = self.rows(self.variants(vcf, "--window", 200, "--strand", strand, "--no-share"))
            for a, b in zip(shared, whole):
                self.assertEqual(a[:4], b[:4])
                for x, y in zip(a[4:], b[4:]):
                    self.assertAlmostEqual(x, y, delta=5e-4)

    def test_threads_change_no_bit(self):
        vcf = self.vcf(*self.lines())
        outputs = {self.variants(vcf, "--window", 300, "--threads", n).stdout for n in (1, 2, 3)}
        self.assertEqual(len(outputs), 1)

    def test_lines_of_one_site_share(self):
        others = [b for b in "ACGT" if b != self.at(300)]
        apart = self.vcf(*[("chr1", 300, self.at(300), b) for b in others], name="apart.vcf")
        together = self.vcf(("chr1", 300, self.at(300), ",".join(others)), name="together.vcf")
        figures, rows = [], []
        for vcf in (apart, together):
            rows.append(self.rows(self.variants(vcf, "--window", 256, "--stats", "s.json")))
            with open(self.path("s.json")) as file:
                figures.append(json.load(file))
        self.assertEqual(rows[0], rows[1])
        for stats in figures:
            self.assertEqual(stats["tokens"], 128 + 4 * 127)
            self.assertEqual(stats["scored_alleles"], 3)
        self.assertEqual(figures[0]["tokens_without_sharing"], 6 * 255)
        self.assertEqual(figures[1]["tokens_without_sharing"], 4 * 255)

    def test_default_window_is_the_models_limit(self):
        vcf = self.vcf(("chr1", 300, self.at(300), self.other(300)))
        self.variants(vcf, "--stats", "s.json")
        with open(self.path("s.json")) as file:
            self.assertEqual(json.load(file)["window"], 1026)
        self.refuse(vcf, "--window", 1027, says=["--window 1027", "1026"])

    def test_case_is_folded(self):
        upper = self.vcf(("chr1", 300, self.at(300), self.other(300)), name="u.vcf")
        lower = self.vcf(("chr1", 300, self.at(300).lower(), self.other(300).lower()), name="l.vcf")
        a = self.rows(self.variants(upper, "--window", 64))
        b = self.rows(self.variants(lower, "--window", 64))
        self.assertEqual(a[0][4:], b[0][4:])
        self.assertEqual(b[0][2], self.at(300).lower())


class Inputs(Variants):
    def test_however_they_are_stored(self):
        text = self.records(("chr1", 300, self.at(300), self.other(300)), ("2", 3, "G", "T")).encode()
        vcfs = {"plain": text, "crlf": text.replace(b"\n", b"\r\n"), "gzip": gzip.compress(text), "bgzip": bgzip(text)}
        wanted = self.variants(self.write("plain", text), "--window", 64).stdout
        for name, data in vcfs.items():
            with self.subTest(vcf=name):
                self.assertEqual(self.variants(self.write(name, data), "--window", 64).stdout, wanted)
                self.assertEqual(self.variants("-", "--window", 64, stdin=data).stdout, wanted)
        genome = self.fasta_bytes
        genomes = {"crlf": genome.replace(b"\n", b"\r\n"), "lower": genome.lower(), "gzip": gzip.compress(genome),
                   "bgzip": bgzip(genome, 77), "ragged": genome.replace(b"AC", b"AC\n")}
        for name, data in genomes.items():
            with self.subTest(genome=name):
                path = self.write("g-" + name, data)
                done = self.ok("variants", "--model", self.dna_model, "--reference", path, "--vcf", self.path("plain"),
                               "--window", 64)
                self.assertEqual(done.stdout, wanted)

    def test_letters_read_as_n(self):
        vcf = self.write("v.vcf", self.records(("c", 3, "G", "T")))
        outputs = []
        for bases, note in (("ACGRUAC", True), ("acgntac", False)):
            genome = self.write("g.fa", f">c\n{bases}\n")
            done = self.ok("variants", "--model", self.dna_model, "--reference", genome, "--vcf", vcf)
            self.assertEqual(b"1 letter in the windows read as N" in done.stderr, note)
            outputs.append(done.stdout)
        self.assertEqual(outputs[0], outputs[1])

    def test_index(self):
        vcf = self.vcf(("chr1", 300, self.at(300), self.other(300)))
        genome = self.write("g.fa", self.fasta_bytes)

        def run(*args):
            return self.ok("variants", "--model", self.dna_model, "--reference", genome, "--vcf", vcf, "--window", 64,
                           *args)
        wanted = run().stdout
        self.assertFalse(os.path.exists(genome + ".fai"), "nobody asked for it")
        self.assertEqual(run("--save-index").stdout, wanted)
        with open(genome + ".fai") as file:
            self.assertEqual(file.read(), "chr1\t700\t11\t60\t61\n2\t16\t731\t16\t17\n")
        self.assertEqual(run().stdout, wanted)
        os.utime(genome + ".fai", (1, 1))
        self.assertIn(b"older", run().stderr)

    def test_alleles_that_are_no_bases(self):
        lines = [("chr1", 300, self.at(300), "<DEL>"), ("chr1", 301, self.at(301), "*," + self.other(301)),
                 ("chr1", 302, self.at(302), "."), ("nowhere", 5, "N", "]chr1:5]N"),
                 ("chr1", 303, self.at(303), self.other(303) + ",<DUP>,.A")]
        done = self.variants(self.vcf(*lines), "--window", 64)
        rows = self.rows(done)
        self.assertEqual([row[1:4] for row in rows], [(301, self.at(301), self.other(301)),
                                                      (303, self.at(303), self.other(303))])
        notes = done.stderr.decode()
        for part in ("2 symbolic alleles passed over", "2 breakends passed", "1 allele * ", "1 record without"):
            self.assertIn(part, notes)
        quiet = self.variants(self.path("v.vcf"), "--window", 64, "--quiet")
        self.assertEqual((quiet.stdout, quiet.stderr), (done.stdout, b""))

    def test_mismatches(self):
        good = ("chr1", 300, self.at(300), self.other(300))
        for bad, says in ((("chr7", 5, "A", "C"), ["line 5", "contig \"chr7\" is not in", "2 contigs"]),
                          (("chr1", 0, "A", "C"), ["line 5", "POS 0", "700 bases"]),
                          (("chr1", 701, "A", "C"), ["line 5", "POS 701", "outside contig \"chr1\""]),
                          (("chr1", 700, self.at(700) + "A", "C"), ["POS 700 with 2 bases of REF"]),
                          (("chr1", 300, self.other(300), self.at(300)),
                           ["line 5", f"REF is \"{self.other(300)}\"", f"has \"{self.at(300)}\" at chr1:300"])):
            with self.subTest(bad=bad):
                vcf = self.vcf(good, bad)
                self.refuse(vcf, says=says)  # Before anything is computed and written.
                self.refuse("-", "--output", "o.tsv", stdin=self.records(good, bad).encode(), says=says)
                done = self.variants(vcf, "--window", 64, "--on-mismatch", "skip")
                self.assertEqual(len(self.rows(done)), 1)
                self.assertIn(b"1 record at odds with the genome passed over", done.stderr)

    def test_malformed(self):
        good = self.records(("chr1", 300, self.at(300), self.other(300)))
        for line, says in (("chr1\t5\t.\tA\n", "line 5 has 4 columns"), ("chr1\tx\t.\tA\tC\t.\t.\t.\n", "POS is \"x\""),
                           ("chr1\t5\t.\tA\tQ\t.\t.\t.\n", "ALT holds \"Q\"")):
            self.refuse(self.write("v.vcf", good + line), "--window", 64, "--output", "o.tsv", says=["v.vcf", says])
        for text, says in ((">chr1\nACGT\n", "##fileformat"), ("", "is empty"), (HEADER, "ends within its header")):
            self.refuse(self.write("v.vcf", text), says=["v.vcf", says])
        self.refuse(self.path("none.vcf"), says="none.vcf")
        vcf = self.write("v.vcf", good)
        for text, says in (("ACGT\n", "line 1"), ("", "holds no sequence"), (">a\n>a\n", "second time")):
            path = self.write("g.fa", text)
            self.fails(1, "variants", "--model", self.dna_model, "--reference", path, "--vcf", vcf, says=["g.fa", says])
        path = self.write("g.fa", self.fasta_bytes.replace(b"A", b"!"))
        self.fails(1, "variants", "--model", self.dna_model, "--reference", path, "--vcf", vcf,
                   "--output", "o.tsv", says=["g.fa", "expected a nucleotide code"])

    def test_cut_short(self):
        text = self.records(*[("chr1", 300, self.at(300), self.other(300))] * 3).encode()
        for data in (gzip.compress(text), bgzip(text, 50)):
            for size in (20, len(data) // 2, len(data) - 28, len(data) - 1):
                vcf = self.write("v.vcf.gz", data[:size])
                self.fails(1, "variants", "--model", self.dna_model, "--reference", self.fasta, "--vcf", vcf,
                           "--window", 64, "--output", "o.tsv", says="v.vcf.gz")
        vcf = self.write("v.vcf", text)
        for data in (gzip.compress(self.fasta_bytes), bgzip(self.fasta_bytes, 50)):
            path = self.write("g.fa.gz", data[:len(data) - 28])
            self.fails(1, "variants", "--model", self.dna_model, "--reference", path, "--vcf", vcf,
                       says=["g.fa.gz", "cut short"])

    def test_usage(self):
        vcf = self.vcf(("chr1", 300, self.at(300), self.other(300)))
        for args in (["--window", "1"], ["--window", "x"], ["--place", "1"], ["--place", "8/8"], ["--place", "-1"],
                     ["--place", "nan"], ["--place", "1/0"], ["--place", "left"], ["--strand", "reverse"],
                     ["--format", "xml"], ["--on-mismatch", "ignore"], ["--comments", "--format", "vcf"],
                     ["--output", "a", "--stats", "a"]):
            with self.subTest(args=args):
                self.refuse(vcf, *args, says="--help", code=2)
        self.fails(2, "variants", "--model", self.dna_model, "--vcf", vcf, says="--reference")
        self.fails(2, "variants", "--reference", self.fasta, "--vcf", vcf, says="--model")
        self.fails(2, "variants", "--model", self.dna_model, "--reference", "-", "--vcf", "-", says="standard input")

    def test_model_without_bases(self):
        vcf = self.vcf(("chr1", 300, self.at(300), self.other(300)))
        done = self.ok("variants", "--model", self.bytes_model, "--reference", self.fasta, "--vcf", vcf)
        self.assertEqual(len(done.stdout.splitlines()), 2)  # Letters are bytes too.


class Outputs(Variants):
    def test_vcf(self):
        lines = [("chr1", 300, self.at(300), self.other(300) + ",<DEL>," + self.at(300) + "A"),
                 ("chr1", 301, self.at(301), "<DEL>")]
        text = HEADER + COLUMNS.rstrip("\n") + "\tFORMAT\tS1\n"
        for chrom, pos, ref, alt in lines:
            text += f"{chrom}\t{pos}\trs1;rs2\t{ref}\t{alt}\t9.5\tq10;s50\tDP=7;FLAG;X=a,b\tGT:DP\t0/1:3\n"
        text += f"chr1\t302\t.\t{self.at(302)}\t{self.other(302)}\t.\t.\t.\tGT\t./.\n"
        vcf = self.write("v.vcf", text)
        rows = self.rows(self.variants(vcf, "--window", 64))
        self.variants(vcf, "--window", 64, "--format", "vcf", "--output", "o.vcf")
        with open(self.path("o.vcf")) as file:
            out = file.read().splitlines()
        header = [line for line in out if line.startswith("##")]
        self.assertEqual(header[:2], HEADER.splitlines())
        self.assertRegex("\n".join(header), r"##lcsm_version=\d+\.\d+\.\d+\n##lcsm_model=hyenadna-tiny-1k-hf\n"
                         r"##lcsm_model_hash=[0-9a-f]{32}\n")
        for name, number in (("LCSM_REF", "1"), ("LCSM_ALT", "A"), ("LCSM_LLR", "A")):
            self.assertEqual(sum(f"##INFO=<ID={name},Number={number},Type=Float," in line for line in header), 1)
        records = [line.split("\t") for line in out if not line.startswith("#")]
        before = [line.split("\t") for line in text.splitlines() if not line.startswith("#")]
        for a, b in zip(records, before):
            self.assertEqual(a[:7] + a[8:], b[:7] + b[8:])
        self.assertEqual(records[1], before[1])
        match = re.fullmatch(r"DP=7;FLAG;X=a,b;LCSM_REF=(\S+);LCSM_ALT=(\S+),\.,(\S+);LCSM_LLR=(\S+),\.,(\S+)",
                             records[0][7])
        ref, alt1, alt2, llr1, llr2 = map(float, match.groups())
        for got, wanted in zip((ref, alt1, llr1, alt2, llr2), rows[0][4:] + rows[1][5:]):
            self.assertAlmostEqual(got, wanted, delta=1e-6)
        self.assertRegex(records[2][7], r"\ALCSM_REF=\S+;LCSM_ALT=\S+;LCSM_LLR=\S+\Z")
        # Once more over its own output: the same, nothing twice.
        again = self.variants(self.path("o.vcf"), "--window", 64, "--format", "vcf").stdout.decode().splitlines()
        self.assertEqual(again, out)

    def test_comments_and_stats(self):
        vcf = self.vcf(("chr1", 300, self.at(300), self.other(300)))
        lines = self.variants(vcf, "--window", 64, "--comments").stdout.decode().splitlines()
        self.assertRegex(lines[0], r"\A# lcsm \d+\.\d+\.\d+, model hyenadna-tiny-1k-hf")
        self.assertEqual(lines[1], "# variants --window 64 --place 0.5 --strand forward")
        self.assertEqual(lines[2], NAMES)

    def test_nothing_but_a_header(self):
        done = self.variants(self.vcf())
        self.assertEqual(done.stdout.decode(), NAMES + "\n")

    def test_disk_full(self):
        if not os.path.exists("/dev/full"):
            self.skipTest("no /dev/full")
        vcf = self.vcf(*[("chr1", 300, self.at(300), self.other(300))] * 3)
        with open("/dev/full", "wb") as full:
            done = subprocess.run([harness.LCSM, "variants", "--model", self.dna_model, "--reference", self.fasta,
                                   "--vcf", vcf, "--window", "64"], stdout=full, stderr=subprocess.PIPE, cwd=self.tmp,
                                  env=self.environment(), timeout=300)
        self.assertEqual(done.returncode, 1)
        self.assertEqual(done.stderr.count(b"\n"), 1)

    def start(self, *args):
        many = self.vcf(*[("chr1", 2 + n % 600, self.at(2 + n % 600), self.other(2 + n % 600)) for n in range(20000)])
        process = subprocess.Popen([harness.LCSM, "variants", "--model", self.dna_model, "--reference", self.fasta,
                                    "--vcf", many, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                   cwd=self.tmp, env=self.environment())
        self.addCleanup(process.kill)
        return process

    def test_interrupted(self):
        process = self.start()
        first = process.stdout.readline() + process.stdout.readline()
        process.send_signal(signal.SIGINT)
        rest, err = process.communicate(timeout=60)
        self.assertEqual(process.returncode, 130, err)
        for line in (first + rest).decode().splitlines(True):
            self.assertEqual((line.count("\t"), line[-1]), (6, "\n"))  # Whole ones.

    def test_interrupted_leaves_no_file(self):
        process = self.start("--output", "o.tsv")
        before = self.listing()
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
        self.assertIn(process.returncode, (130, -signal.SIGINT))
        self.assertEqual(sorted(set(before) & set(self.listing())), [self.path("v.vcf")])
        self.assertEqual(self.listing(), [self.path("v.vcf")])

    def test_reader_that_goes_away(self):
        process = self.start()
        process.stdout.readline()
        process.stdout.close()
        err = process.stderr.read()
        process.stderr.close()
        self.assertEqual((process.wait(60), err), (0, b""))


if __name__ == "__main__":
    unittest.main()
