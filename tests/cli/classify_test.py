"""lcsm classify: heads made of rows of the language model's own, so that their outputs follow from lcsm logits."""
import array
import json
import math
import os
import random
import shutil
import signal
import subprocess
import unittest

import harness
from harness import CliTest, read_npy, read_safetensors, write_safetensors

IDS = dict(zip("ACGTN", range(7, 12)))
CLS, SEP, PAD = 0, 1, 4


class Classify(CliTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        header, data = read_safetensors(os.path.join(cls.dna_model, "model.safetensors"))
        begin, end = header["lm_head.weight"]["data_offsets"]
        cls.columns, cls.width = header["lm_head.weight"]["shape"]
        rows = array.array("f", data[begin:end])
        draw = random.Random(3)
        # class logits = mix . logits of the language model
        cls.mix = [[draw.uniform(-1, 1) for _ in range(cls.columns)] for _ in range(3)]
        cls.matrix = array.array("f", (sum(m[v] * rows[v * cls.width + c] for v in range(cls.columns))
                                       for m in cls.mix for c in range(cls.width)))
        cls.bias = array.array("f", [0.25, -0.5, 1.0])
        cls.header, cls.data = header, data
        cls.score_model = cls.make("score", {"score.weight": ((3, cls.width), cls.matrix)})
        cls.decoder_model = cls.make("decoder", {"head.output_transform.weight": ((3, cls.width), cls.matrix),
                                                 "head.output_transform.bias": ((3,), cls.bias)})
        cls.sequences = {f"s{n}": "".join(draw.choice("ACGTN") for _ in range(n)) for n in (1, 2, 30, 129, 300)}
        cls.fasta = os.path.join(cls.shared, "in.fa")
        with open(cls.fasta, "w") as file:
            for name, bases in cls.sequences.items():
                file.write(f">{name} made up\n{bases[:70]}\n{bases[70:].lower()}\n")

    @classmethod
    def make(cls, name, tensors, **config):
        folder = os.path.join(cls.shared, name)
        shutil.copytree(cls.dna_model, folder)
        for entry in os.listdir(folder):
            os.chmod(os.path.join(folder, entry), 0o644)
        header, data = dict(cls.header), cls.data
        for key, (shape, values) in tensors.items():
            raw = values.tobytes()
            header[key] = {"dtype": "F32", "shape": list(shape), "data_offsets": [len(data), len(data) + len(raw)]}
            data += raw
        write_safetensors(os.path.join(folder, "model.safetensors"), header, data)
        path = os.path.join(folder, "config.json")
        with open(path) as file:
            text = {**json.load(file), **config}
        with open(path, "w") as file:
            json.dump(text, file)
        return folder

    def classify(self, model, *args, **kwargs):
        return self.ok("classify", "--model", model, self.fasta, *args, **kwargs)

    def table(self, done):
        lines = [line.split("\t") for line in done.stdout.decode().splitlines()]
        return lines[0], {line[0]: line[1:] for line in lines[1:]}

    def lm_logits(self, ids):
        key = tuple(ids)
        if key not in self.known:
            self.ok("logits", "--model", self.dna_model, "--tokens", "-", "--output", "l.npy",
                    stdin=" ".join(map(str, ids)).encode())
            (count, columns), values = read_npy(self.path("l.npy"))
            self.known[key] = [values[t * columns:(t + 1) * columns] for t in range(count)]
        return self.known[key]

    def expected(self, ids, pooling, bias):
        rows = self.lm_logits(ids)
        if pooling == "last":
            row = rows[-1]
        elif pooling == "first":
            row = rows[0]
        else:
            row = [math.fsum(column) for column in zip(*rows)]
            if pooling == "pool":
                row = [x / len(rows) for x in row]
        return [sum(a * b for a, b in zip(m, row)) + c for m, c in zip(self.mix, bias)]

    def setUp(self):
        super().setUp()
        self.known = {}


class Heads(Classify):
    def check(self, done, frame, pooling, bias, labels=("0", "1", "2")):
        header, rows = self.table(done)
        self.assertEqual(header, ["id", "length", "label", *(f"prob_{x}" for x in labels),
                                  *(f"logit_{x}" for x in labels)])
        self.assertEqual(list(rows), list(self.sequences))
        for name, bases in self.sequences.items():
            length, label, *numbers = rows[name]
            numbers = list(map(float, numbers))
            self.assertEqual(int(length), len(bases))
            ids = frame([IDS[b] for b in bases])
            wanted = self.expected(ids, pooling, bias)
            for got, want in zip(numbers[3:], wanted):
                # Logits within 1e-4 of one another, 16 of them mixed; a sum has as many errors as rows.
                self.assertAlmostEqual(got, want, delta=2e-4 * (len(ids) if pooling == "sum" else 1))
            top = max(numbers[3:])
            total = sum(math.exp(x - top) for x in numbers[3:])
            for got, logit in zip(numbers[:3], numbers[3:]):
                self.assertAlmostEqual(got, math.exp(logit - top) / total, delta=1e-12)
            self.assertEqual(label, labels[numbers.index(max(numbers[:3]))])

    def test_hugging_face(self):
        zero = [0, 0, 0]
        self.check(self.classify(self.score_model), lambda ids: ids + [SEP], "last", zero)
        self.check(self.classify(self.score_model, "--special-tokens", "none"), lambda ids: ids, "last", zero)
        self.check(self.classify(self.score_model, "--special-tokens", "cls-sep"), lambda ids: [CLS] + ids + [SEP],
                   "last", zero)
        self.check(self.classify(self.score_model, "--pooling", "pool"), lambda ids: ids + [SEP], "pool", zero)

    def test_sequence_decoder(self):
        self.check(self.classify(self.decoder_model), lambda ids: ids, "pool", self.bias)
        for pooling in ("last", "first", "pool", "sum"):
            with self.subTest(pooling=pooling):
                self.check(self.classify(self.decoder_model, "--pooling", pooling), lambda ids: ids, pooling, self.bias)

    def test_padded_as_in_training(self):
        self.check(self.classify(self.decoder_model, "--pad-to", 302, "--special-tokens", "cls-sep"),
                   lambda ids: [PAD] * (300 - len(ids)) + [CLS] + ids + [SEP], "pool", self.bias)

    def test_lightning_names(self):
        model = self.make("lightning", {"decoder.0.output_transform.weight": ((3, self.width), self.matrix),
                                        "decoder.0.output_transform.bias": ((3,), self.bias)})
        self.assertEqual(self.classify(model).stdout, self.classify(self.decoder_model).stdout)

    def test_labels(self):
        model = self.make("labels", {"score.weight": ((3, self.width), self.matrix)},
                          id2label={"0": "exon", "1": "intron", "2": "a b"})
        self.check(self.classify(model), lambda ids: ids + [SEP], "last", [0, 0, 0], ("exon", "intron", "a b"))

    def test_several_classes_at_once(self):
        model = self.make("several", {"score.weight": ((3, self.width), self.matrix)},
                          problem_type="multi_label_classification")
        _, rows = self.table(self.classify(model))
        for label, *numbers in (row[1:] for row in rows.values()):
            probabilities, logits = list(map(float, numbers[:3])), list(map(float, numbers[3:]))
            for p, x in zip(probabilities, logits):
                self.assertAlmostEqual(p, 1 / (1 + math.exp(-x)), delta=1e-12)
            self.assertEqual(label, ",".join(str(i) for i in range(3) if logits[i] >= 0) or ".")

    def test_regression(self):
        model = self.make("regression", {"score.weight": ((3, self.width), self.matrix)}, problem_type="regression")
        header, rows = self.table(self.classify(model))
        self.assertEqual(header, ["id", "length", "logit_0", "logit_1", "logit_2"])
        _, wanted = self.table(self.classify(self.score_model))
        for name in rows:
            self.assertEqual(rows[name][1:], wanted[name][5:])

    def test_threads_and_mates_change_no_bit(self):
        whole = self.classify(self.decoder_model, "--threads", 1).stdout
        self.assertEqual(self.classify(self.decoder_model, "--threads", 3).stdout, whole)
        name, bases = "s129", self.sequences["s129"]
        alone = self.ok("classify", "--model", self.decoder_model, "-", stdin=f">{name}\n{bases}\n".encode())
        self.assertIn(alone.stdout.splitlines()[1], whole.splitlines())


class Bad(Classify):
    def refuse(self, model, *args, says, code=1, stdin=b">a\nACGT\n"):
        self.fails(code, "classify", "--model", model, "-", *args, says=says, stdin=stdin)

    def test_no_head(self):
        self.refuse(self.dna_model, says=["hyenadna-tiny-1k-hf", "score.weight"])

    def test_wrong_shapes(self):
        model = self.make("narrow", {"score.weight": ((3, 2), array.array("f", [0] * 6))})
        self.refuse(model, says=["score.weight", "(3, 2)", "128"])
        model = self.make("three", {"score.weight": ((3, self.width), self.matrix)}, id2label={"0": "a"})
        self.refuse(model, says=["config.json", "id2label"])

    def test_sequences(self):
        self.refuse(self.score_model, "--output", "o.tsv", stdin=b">a\nAC-T\n", says="line 2")
        self.refuse(self.score_model, "--output", "o.tsv", stdin=b"", says="standard input")
        long = b">a\n" + b"A" * 1026 + b"\n"
        self.refuse(self.score_model, "--output", "o.tsv", stdin=long, says=["1 026 bases", "at most 1025"])
        self.fails(1, "classify", "--model", self.score_model, self.write("l.fa", long),
                   says=["l.fa", "1 026 bases", "at most 1025"])
        self.fails(1, "classify", "--model", self.score_model, self.write("l.fa", long), "--pad-to", "100",
                   says=["at most 99", "--pad-to 100"])
        self.fails(1, "classify", "--model", self.score_model, self.fasta, "--pad-to", "1027", says="--pad-to 1027")

    def test_usage(self):
        for args in (["--pooling", "ragged"], ["--special-tokens", "bos"], ["--pad-to", "0"]):
            self.refuse(self.score_model, *args, says="--help", code=2)
        self.fails(2, "classify", self.fasta, says="--model")
        self.fails(2, "classify", "--model", self.score_model, says="is required")

    def test_output_is_whole_or_not_there(self):
        self.classify(self.score_model, "--output", "o.tsv", "--comments")
        with open(self.path("o.tsv")) as file:
            lines = file.read().splitlines()
        self.assertRegex(lines[0], r"\A# lcsm \d+\.\d+\.\d+, model score")
        self.assertEqual(lines[1], "# classify --pooling last --special-tokens sep")
        self.assertEqual(len(lines), 3 + len(self.sequences))
        os.remove(self.path("o.tsv"))
        many = self.write("many.fa", "".join(f">r{n}\n{self.sequences['s300']}\n" for n in range(20000)))
        before = self.listing()
        process = subprocess.Popen([harness.LCSM, "classify", "--model", self.score_model, many, "--output", "o.tsv"],
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=self.tmp,
                                   env=self.environment())
        try:
            process.communicate(timeout=1)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=60)
        self.assertEqual(process.returncode, 130)
        self.assertEqual(self.listing(), before)


if __name__ == "__main__":
    unittest.main()
