"""lcsm convert, inspect and logits on good input."""
import array
import json
import os
import struct
import unittest

import harness
import torch_file
from harness import CliTest, golden, read_npy, read_safetensors

GOLDEN = ("hyenadna-tiny-1k-hf", "hyenadna-tiny-1k-ckpt", "hyena-order3-ckpt")


class Golden(CliTest):
    def model(self, name):
        """The golden folder as it is, or converted."""
        if name.endswith("-hf"):
            return golden(name)
        self.ok("convert", golden(name), "--output", self.path(name))
        return self.path(name)

    def reference(self, name):
        header, data = read_safetensors(golden(name + "/reference.safetensors"))

        def values(key, code):
            begin, end = header[key]["data_offsets"]
            return array.array(code, data[begin:end])
        codes = {"F64": "d", "F32": "f", "I64": "q", "I32": "i"}
        return (values("input_ids", codes[header["input_ids"]["dtype"]]), header["logits"]["shape"],
                values("logits", codes[header["logits"]["dtype"]]))

    def test_logits_match_float64(self):
        for name in GOLDEN:
            folder = self.model(name)
            ids, shape, wanted = self.reference(name)
            tokens = self.write("ids", " ".join(map(str, ids)))
            for extra in ([], ["--step"], ["--step", "--method", "lazy"], ["--step", "--threads", "1"]):
                with self.subTest(name=name, extra=extra):
                    done = self.ok("logits", "--model", folder, "--tokens", tokens, "--output", "l.npy", *extra)
                    self.assertEqual((done.stdout, done.stderr), (b"", b""))
                    got_shape, got = read_npy(self.path("l.npy"))
                    self.assertEqual(list(got_shape), shape)
                    self.assertLess(max(abs(a - b) for a, b in zip(got, wanted)), 1e-4)

    def test_greedy_continuations(self):
        for name in GOLDEN:
            with self.subTest(name=name):
                folder = self.model(name)
                with open(golden(name + "/greedy.json")) as file:
                    known = json.load(file)
                tokens = self.write("ids", " ".join(map(str, known["prompt_tokens"])))
                done = self.ok("generate", "--model", folder, "--prompt-tokens", tokens, "--temperature", 0,
                               "--max-new-tokens", len(known["greedy_tokens"]), "--format", "tokens", "--quiet")
                self.assertEqual(list(map(int, done.stdout.split())), known["greedy_tokens"])


class Logits(CliTest):
    def test_stdin_and_stdout(self):
        self.ok("logits", "--model", self.bytes_model, "--tokens", "-", "--output", "a.npy", stdin=b"1 2 3")
        self.ok("logits", "--model", self.bytes_model, "--tokens", self.write("t", "1\n2\n3\n"), "--output", "b.npy")
        piped = self.ok("logits", "--model", self.bytes_model, "--tokens", self.path("t"), "--output", "-").stdout
        with open(self.path("a.npy"), "rb") as a, open(self.path("b.npy"), "rb") as b:
            self.assertEqual(a.read(), piped)
            self.assertEqual(b.read(), piped)

    def test_threads_change_no_bit(self):
        ids = self.write("ids", " ".join(str(n * 37 % 256) for n in range(250)))
        for extra in ([], ["--step"]):
            files = []
            for threads in (1, 2, 3):
                self.ok("logits", "--model", self.bytes_model, "--tokens", ids, "--output", "l.npy", "--threads",
                        threads, *extra)
                with open(self.path("l.npy"), "rb") as file:
                    files.append(file.read())
            self.assertEqual(files[0], files[1])
            self.assertEqual(files[0], files[2])

    def test_replaces_an_older_file(self):
        self.write("l.npy", "old")
        self.ok("logits", "--model", self.bytes_model, "--tokens", self.write("t", "1"), "--output", "l.npy")
        self.assertEqual(read_npy(self.path("l.npy"))[0], (1, 256))
        self.assertEqual(sorted(os.listdir(self.tmp)), ["l.npy", "t"])


class Inspect(CliTest):
    def test_table(self):
        text = self.ok("inspect", "--model", self.dna_model, "--length", 1000).stdout.decode()
        for part in ("hyena", "layers", "width", "128", "1 026 positions", "12 ids in 16", "hyenadna", "tensors",
                     "histories", "at most at a time"):
            self.assertIn(part, text)

    def test_json(self):
        report = json.loads(self.ok("inspect", "--model", self.dna_model, "--length", 1000, "--json").stdout)
        self.assertEqual((report["layers"], report["width"], report["order"]), (2, 128, 2))
        self.assertEqual((report["vocab"], report["padded_vocab"], report["max_length"]), (12, 16, 1026))
        self.assertEqual(report["tokenizer"], "hyenadna")
        header, data = read_safetensors(os.path.join(self.dna_model, "model.safetensors"))
        self.assertEqual((report["tensors"], report["tensor_bytes"]), (len(header), len(data)))
        memory = report["memory_bytes"]
        # Taps that spectra are made of are gone when a session is made.
        session = memory["histories"] + memory["blocks"] + memory["scratch"] + memory["activations"]
        self.assertEqual(memory["total"], memory["weights"] + memory["taps"] + memory["spectra"]
                         + max(memory["making"], session))
        # Inputs are kept as they are, half of them where outputs take their place, or as spectra.
        self.assertGreaterEqual(memory["histories"] + memory["blocks"], 1000 // 2 * 2 * 128 * 4)
        bare = json.loads(self.ok("inspect", "--model", self.dna_model, "--json").stdout)
        self.assertNotIn("memory_bytes", bare)

    def test_foretold_memory_is_kept(self):
        if harness.SANITIZED:
            self.skipTest("a sanitizer's own memory counts as the command's")
        report = json.loads(self.ok("inspect", "--model", self.bytes_model, "--length", 256, "--json").stdout)
        self.ok("generate", "--model", self.bytes_model, "--prompt", "a", "--max-new-tokens", 255, "--stats", "s.json")
        with open(self.path("s.json")) as file:
            peak = json.load(file)["peak_rss_bytes"]
        self.assertLess(peak, (64 << 20) + 1.15 * report["memory_bytes"]["total"])


class Convert(CliTest):
    def test_file_or_folder(self):
        self.ok("convert", golden("hyenadna-tiny-1k-ckpt"), "--output", "a")
        done = self.ok("convert", golden("hyenadna-tiny-1k-ckpt/weights.ckpt"), "--output", "b")
        self.assertEqual(done.stdout, b"")
        for name in ("config.json", "model.safetensors"):
            with open(self.path("a/" + name), "rb") as a, open(self.path("b/" + name), "rb") as b:
                self.assertEqual(a.read(), b.read(), name)

    def test_told_facts_stand_in_the_config(self):
        self.ok("convert", golden("hyena-order3-ckpt"), "--output", "out", "--filter-shift", "0.125",
                "--filter-layout", "order_fastest")
        with open(self.path("out/config.json")) as file:
            config = json.load(file)
        self.assertEqual(config["filter_shift"], 0.125)
        self.assertIn("fastest", config["filter_layout"])


class ConvertStacks(CliTest):
    """Published stacks as torch files, and descriptions of one's own."""
    NAMES = ("stripedhyena1-evo", "stripedhyena2", "stripedhyena2-bf16", "stu-approx", "h3", "stack-mixed")

    def checkpoint(self, name, **kwargs):
        header, data = read_safetensors(golden(name + "/model.safetensors"))
        torch_file.write(self.path(name + ".pt"), header, data, **kwargs)
        return ["convert", self.path(name + ".pt"), "--config", golden(name + "/config.json"), "--output", self.path(name)]

    def test_converted_ones_write_the_tokens_of_the_original(self):
        for name in self.NAMES:
            with self.subTest(name=name):
                own = name == "stack-mixed"
                extra = {"blocks.0.projections._extra_state": torch_file.Call("_io.BytesIO", (b"fp8",)), "step": 7}
                said = self.ok(*self.checkpoint(name, rename=lambda n: n if own else "module._orig_mod." + n,
                                                others=extra)).stderr.decode()
                self.assertNotIn("filter shift", said)
                self.assertIn("left out blocks.0.projections._extra_state: not a tensor", said)
                before, _ = read_safetensors(golden(name + "/model.safetensors"))
                after, _ = read_safetensors(self.path(name + "/model.safetensors"))
                self.assertEqual({n: (t["dtype"], t["shape"]) for n, t in after.items()},
                                 {n: (t["dtype"], t["shape"]) for n, t in before.items()})
                with open(golden(name + "/config.json")) as one, open(self.path(name + "/config.json")) as other:
                    self.assertEqual(one.read(), other.read())
                with open(golden(name + "/greedy.json")) as file:
                    known = json.load(file)
                done = self.ok("generate", "--model", self.path(name), "--temperature", 0, "--format", "tokens", "--quiet",
                               "--prompt-tokens", self.write("ids", " ".join(map(str, known["prompt_tokens"]))),
                               "--max-new-tokens", len(known["greedy_tokens"]))
                self.assertEqual(list(map(int, done.stdout.split())), known["greedy_tokens"])

    def test_a_tied_head_is_written_once(self):
        said = self.ok(*self.checkpoint("stripedhyena2", tied=[("unembed.weight", "embedding_layer.weight")]))
        self.assertIn("left out unembed.weight: tied to the embedding", said.stderr.decode())
        self.assertNotIn("unembed.weight", read_safetensors(self.path("stripedhyena2/model.safetensors"))[0])

    def test_what_cannot_be_is_one_sentence(self):
        convert = self.checkpoint("stu-approx")
        self.fails(1, *convert, "--filter-shift", 0.1, says="expected no filter shift and no filter layout")
        header, data = read_safetensors(golden("stu-approx/model.safetensors"))
        torch_file.write(self.path("twice.pt"), {**header, "module.norm.weight": header["norm.weight"]}, data)
        self.fails(1, "convert", self.path("twice.pt"), "--config", golden("stu-approx/config.json"), "--output",
                   self.path("twice"), says=["both mean \"norm.weight\"", "expected one of them"])
        folder = self.path("unconverted")
        os.makedirs(folder)
        os.rename(self.path("stu-approx.pt"), os.path.join(folder, "model.pt"))
        with open(golden("stu-approx/config.json")) as file:
            self.write("unconverted/config.json", file.read())
        self.fails(1, "inspect", "--model", folder, says=["must be converted first", "lcsm convert"])


if __name__ == "__main__":
    unittest.main()
