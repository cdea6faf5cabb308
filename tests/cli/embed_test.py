"""lcsm embed: vectors of sequences, against the model's own tensors and logits."""
import array
import gzip
import json
import math
import os
import random
import signal
import subprocess
import time
import unittest
import zipfile

import harness
from harness import CliTest, golden, read_npy, read_safetensors

IDS = {"A": 7, "C": 8, "G": 9, "T": 10, "N": 11}
COMPLEMENT = str.maketrans("ACGTN", "TGCAN")


def bases(count, seed):
    draw = random.Random(seed)
    return "".join(draw.choice("ACGT") for _ in range(count))


def fasta(records):
    return "".join(f">{name}\n{sequence}\n" for name, sequence in records)


class EmbedTest(CliTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        box = os.path.join(harness.SOURCE, "models", "ecoli-hyenadna")
        cls.model = box if os.path.isdir(box) else golden("hyenadna-tiny-1k-hf")
        with open(os.path.join(cls.model, "config.json")) as file:
            config = json.load(file)
        cls.width, cls.layers = config["d_model"], config["n_layer"]

    def tensor(self, ending):
        header, data = read_safetensors(os.path.join(self.model, "model.safetensors"))
        name, = [name for name in header if name.endswith(ending)]
        begin, end = header[name]["data_offsets"]
        self.assertEqual(header[name]["dtype"], "F32")
        return array.array("f", data[begin:end])

    def embed(self, file, *args, output="e.npy", **kwargs):
        """Rows of the matrix."""
        self.ok("embed", "--model", self.model, file, "--output", output, *args, **kwargs)
        return self.rows(self.path(output))

    def rows(self, path):
        (count, width), values = read_npy(path)
        self.assertEqual(width, self.width)
        return [list(values[at * width:(at + 1) * width]) for at in range(count)]

    def arrays(self, path):
        """{name: (shape, values)} of an archive, whose checksums are looked at."""
        with zipfile.ZipFile(path) as file:
            self.assertIsNone(file.testzip())
            out = {}
            for entry in file.infolist():
                self.assertTrue(entry.filename.endswith(".npy"))
                with open(self.path("entry.npy"), "wb") as one:
                    one.write(file.read(entry))
                out[entry.filename[:-4]] = read_npy(self.path("entry.npy"))
            return out

    def close(self, a, b, delta=1e-5):
        self.assertEqual(len(a), len(b))
        for x, y in zip(a, b):
            self.assertAlmostEqual(x, y, delta=delta)


class Values(EmbedTest):
    def test_layer_zero_is_the_embedding(self):
        sequence = "ACGTNNTGCA"
        table = self.tensor("word_embeddings.weight")
        got = self.embed(self.write("a.fa", fasta([("a", sequence)])), "--layer", 0, "--pooling", "none")
        want = [list(table[IDS[c] * self.width:(IDS[c] + 1) * self.width]) for c in sequence]
        self.assertEqual(got, want)

    def test_the_head_makes_logits_of_the_default(self):
        sequence = bases(150, 1)
        got = self.embed(self.write("a.fa", fasta([("a", sequence)])), "--pooling", "none")
        head = self.tensor("lm_head.weight")
        ids = self.write("ids", " ".join(str(IDS[c]) for c in sequence))
        self.ok("logits", "--model", self.model, "--tokens", ids, "--output", "l.npy")
        (rows, columns), logits = read_npy(self.path("l.npy"))
        self.assertEqual(len(got), rows)
        for t, row in enumerate(got):
            for v in range(12):
                want = math.fsum(x * w for x, w in zip(row, head[v * self.width:(v + 1) * self.width]))
                self.assertAlmostEqual(logits[t * columns + v], want, delta=1e-4)

    def test_the_final_norm_is_that_of_the_last_layer(self):
        file = self.write("a.fa", fasta([("a", bases(40, 2))]))
        last = self.embed(file, "--pooling", "none", "--layer", self.layers)
        final = self.embed(file, "--pooling", "none")
        weight, bias = self.tensor("ln_f.weight"), self.tensor("ln_f.bias")
        for row, want in zip(last, final):
            mean = math.fsum(row) / self.width
            deviation = math.sqrt(math.fsum((x - mean) ** 2 for x in row) / self.width + 1e-5)
            self.close([(x - mean) / deviation * w + b for x, w, b in zip(row, weight, bias)], want, 1e-4)

    def test_pooling(self):
        records = [("one", bases(300, 3)), ("two", "A"), ("three", bases(33, 4) + "N")]
        file = self.write("a.fa", fasta(records))
        for layer in ([], ["--layer", 1]):
            mean = self.embed(file, "--pooling", "mean", *layer)
            last = self.embed(file, "--pooling", "last", *layer)
            self.assertEqual(mean, self.embed(file, *layer))
            self.assertEqual((len(mean), len(last)), (3, 3))
            for n, (name, sequence) in enumerate(records):
                rows = self.embed(self.write("b.fa", fasta([(name, sequence)])), "--pooling", "none", *layer)
                self.assertEqual(len(rows), len(sequence))
                self.assertEqual(last[n], rows[-1])
                self.close(mean[n], [math.fsum(column) / len(rows) for column in zip(*rows)], 1e-6)

    def test_both_strands(self):
        sequence = bases(120, 5)
        reverse = sequence.translate(COMPLEMENT)[::-1]
        file = self.write("a.fa", fasta([("f", sequence), ("r", reverse)]))
        for pooling in ("mean", "last"):
            one = self.embed(file, "--pooling", pooling)
            both = self.embed(file, "--pooling", pooling, "--strand", "both")
            self.assertEqual(both[0], both[1])
            self.close(both[0], [(a + b) / 2 for a, b in zip(*one)], 1e-6)

    def test_others_and_threads_change_no_bit(self):
        records = [(f"r{n}", bases(length, n)) for n, length in enumerate((300, 1, 700, 64, 2))]
        want = self.embed(self.write("a.fa", fasta(records)))
        for threads in (1, 3):
            got = self.embed(self.write("b.fa", fasta(records[::-1])), "--threads", threads)
            self.assertEqual(got[::-1], want)


class Outputs(EmbedTest):
    def test_archives(self):
        records = [("chr1", bases(70, 1)), ("chr1", bases(5, 2)), ("a/b:1-2", "ACG")]
        file = self.write("a.fa", fasta(records))
        self.ok("embed", "--model", self.model, file, "--pooling", "none", "--output", "e.npz")
        arrays = self.arrays(self.path("e.npz"))
        self.assertEqual([(name, shape) for name, (shape, _) in arrays.items()],
                         [("chr1", (70, self.width)), ("chr1_2", (5, self.width)), ("a_b_1-2", (3, self.width))])
        for (_, sequence), (_, values) in zip(records, arrays.values()):
            rows = self.embed(self.write("b.fa", fasta([("x", sequence)])), "--pooling", "none")
            self.assertEqual(list(values), [x for row in rows for x in row])
        with zipfile.ZipFile(self.path("e.npz")) as archive:
            about = json.loads(archive.comment)
            self.assertEqual(archive.infolist()[2].comment, b"a/b:1-2")
        for key in ("version", "model", "model_hash", "layer", "pooling"):
            self.assertIn(key, about)
        # Pooled, an array has one row without a second dimension.
        rows = self.embed(file)
        self.ok("embed", "--model", self.model, file, "--output", "m.npz")
        pooled = self.arrays(self.path("m.npz"))
        self.assertEqual([(shape, list(values)) for shape, values in pooled.values()],
                         [((self.width,), row) for row in rows])

    def test_numpy_reads_them(self):
        try:
            import numpy
        except ImportError:
            self.skipTest("no NumPy")
        file = self.write("a.fa", fasta([("x", bases(10, 1)), ("y", "A")]))
        self.ok("embed", "--model", self.model, file, "--pooling", "none", "--output", "e.npz")
        with numpy.load(self.path("e.npz")) as arrays:
            self.assertEqual({name: arrays[name].shape for name in arrays.files},
                             {"x": (10, self.width), "y": (1, self.width)})

    def test_pipes_in_and_out(self):
        data = fasta([("x", bases(99, 1)), ("y", bases(7, 2))])
        want = self.embed(self.write("a.fa", data))
        self.assertEqual(self.embed("-", stdin=gzip.compress(data.encode())), want)
        piped = self.ok("embed", "--model", self.model, self.path("a.fa"), "--output", "-", "--quiet").stdout
        self.assertEqual(self.rows(self.write("p.npy", piped)), want)
        self.fails(1, "embed", "--model", self.model, "-", "--output", "-", stdin=data.encode(), says="regular file")

    def test_regions(self):
        sequence = bases(80, 1)
        file = self.write("a.fa", fasta([("c", sequence)]))
        got = self.embed(file, "--regions", self.write("r.bed", "c\t10\t30\nc\t0\t80\n"))
        self.assertEqual(got, self.embed(self.write("b.fa", fasta([("a", sequence[10:30]), ("b", sequence)]))))

    def test_bad_input(self):
        one = self.write("a.fa", fasta([("x", "ACGT")]))
        two = self.write("b.fa", fasta([("x", "ACGT"), ("y", "ACGT")]))
        for args, says in (((two, "--pooling", "none", "--output", "e.npy"), 'record "y" (line 3) is a second'),
                           ((one, "--layer", self.layers + 1, "--output", "e.npy"), f"at most {self.layers}"),
                           ((self.write("c.fa", ">x\nAC!\n"), "--output", "e.npz"), 'column 3 has "!"'),
                           ((one, "--output", "no/e.npz"), "no/e.npz"), ((one, "--output", "no/e.npy"), "no/e.npy"),
                           ((one, "--output", "-.npz", "--model", "nowhere"), "nowhere")):
            with self.subTest(args=args):
                model = [] if "--model" in args else ["--model", self.model]
                self.fails(1, "embed", *model, *args, says=says)
        self.fails(1, "embed", "--model", self.model, "-", "--pooling", "none", "--output", "e.npy",
                   stdin=b">x\nA\n>y\nC\n", says="second sequence")
        model = golden("hyenadna-tiny-1k-hf")
        self.fails(1, "embed", "--model", model, self.write("d.fa", fasta([("x", bases(1027, 1))])), "--output",
                   "e.npy", says=["1 027 bases", "1026"])

    def test_wrong_usage(self):
        file = self.write("a.fa", fasta([("x", "ACGT")]))
        for extra in (["--output", "e.txt"], ["--output", "e.npy", "--layer", "-1"], [],
                      ["--output", "e.npz", "--pooling", "max"],
                      ["--output", "e.npz", "--pooling", "none", "--strand", "both"]):
            with self.subTest(extra=extra):
                self.fails(2, "embed", "--model", self.model, file, *extra)

    def test_ctrl_c_leaves_nothing(self):
        for name in ("e.npy", "e.npz"):
            process = subprocess.Popen([harness.LCSM, "embed", "--model", self.model, "-", "--output", name],
                                       stdin=subprocess.PIPE, stderr=subprocess.PIPE, cwd=self.tmp,
                                       env=self.environment())
            process.stdin.write(fasta([("x", bases(200, 1)), ("y", "ACGT"), ("z", "A")]).encode())
            process.stdin.flush()
            time.sleep(1.5)
            process.send_signal(signal.SIGINT)
            self.assertEqual(process.wait(30), 130)
            process.communicate()
            self.assertEqual(self.listing(), [])


if __name__ == "__main__":
    unittest.main()
