"""Each kind of bad input: one sentence, exit code 1, nothing on stdout, nothing left behind."""
import io
import json
import os
import pickle
import shutil
import struct
import unittest
import zipfile

from harness import CliTest, golden, read_safetensors, write_safetensors


class BadModels(CliTest):
    def refuse(self, folder, *says):
        """Every command that loads the folder refuses it in the same way."""
        ids = self.write("ids", "7 8 9")
        self.fails(1, "generate", "--model", folder, "--prompt-tokens", ids, "--max-new-tokens", 5, says=says)
        self.fails(1, "logits", "--model", folder, "--tokens", ids, "--output", "l.npy", says=says)
        return self.fails(1, "inspect", "--model", folder, says=says)

    def damaged(self, change):
        """A model whose safetensors header and data went through change(header, data) -> data."""
        folder = self.copy_model()
        path = os.path.join(folder, "model.safetensors")
        header, data = read_safetensors(path)
        data = change(header, data) or data
        write_safetensors(path, header, data)
        return folder

    def config(self, **fields):
        folder = self.copy_model()
        path = os.path.join(folder, "config.json")
        with open(path) as file:
            config = json.load(file)
        config.update(fields)
        with open(path, "w") as file:
            json.dump(config, file)
        return folder

    def test_missing_folder(self):
        self.refuse(self.path("nowhere"), "nowhere")

    def test_empty_folder(self):
        os.mkdir(self.path("empty"))
        self.refuse(self.path("empty"), "config.json")

    def test_a_file_is_no_folder(self):
        self.refuse(self.write("file", "hello"), "file")

    def test_missing_weights(self):
        folder = self.copy_model()
        os.remove(os.path.join(folder, "model.safetensors"))
        self.refuse(folder, "model.safetensors")

    def test_unconverted_checkpoint_names_the_way(self):
        self.refuse(golden("hyenadna-tiny-1k-ckpt"), "convert")

    def test_truncated_weights(self):
        folder = self.copy_model()
        path = os.path.join(folder, "model.safetensors")
        for size in (0, 3, 8, 100, os.path.getsize(path) - 1):
            with self.subTest(size=size):
                shutil.copy(os.path.join(self.dna_model, "model.safetensors"), path)
                os.chmod(path, 0o644)
                os.truncate(path, size)
                self.refuse(folder, "model.safetensors")

    def test_wrong_magic(self):
        folder = self.copy_model()
        with open(os.path.join(folder, "model.safetensors"), "wb") as file:
            file.write(b"PK\x03\x04 this is a zip, is it not" * 100)
        self.refuse(folder, "model.safetensors")

    def test_header_longer_than_the_file(self):
        folder = self.copy_model()
        with open(os.path.join(folder, "model.safetensors"), "wb") as file:
            file.write(struct.pack("<Q", 1 << 40) + b"{}")
        self.refuse(folder, "model.safetensors", "header")

    def test_header_that_is_no_json(self):
        folder = self.copy_model()
        with open(os.path.join(folder, "model.safetensors"), "wb") as file:
            file.write(struct.pack("<Q", 8) + b"{\"a\": [}")
        self.refuse(folder, "model.safetensors")

    def test_overlapping_offsets(self):
        def change(header, data):
            names = sorted(header, key=lambda name: header[name]["data_offsets"])
            first, second = names[0], names[1]
            size = header[second]["data_offsets"][1] - header[second]["data_offsets"][0]
            header[second]["data_offsets"] = [0, size]
        self.refuse(self.damaged(change), "model.safetensors")

    def test_offsets_out_of_range(self):
        def change(header, data):
            last = max(header, key=lambda name: header[name]["data_offsets"])
            begin, end = header[last]["data_offsets"]
            header[last]["data_offsets"] = [begin + 4096, end + 4096]
        self.refuse(self.damaged(change), "model.safetensors")

    def test_wrong_shape(self):
        def change(header, data):
            entry = header["hyena.backbone.layers.0.mlp.fc1.weight"]
            entry["shape"] = entry["shape"][::-1]
        self.refuse(self.damaged(change), "fc1.weight", "(128, 512)", "(512, 128)")

    def test_wrong_dtype(self):
        def change(header, data):
            header["hyena.backbone.layers.0.norm1.weight"]["dtype"] = "I32"
        self.refuse(self.damaged(change), "norm1.weight", "I32")

    def test_missing_tensor(self):
        def change(header, data):
            header["hyena.something.else"] = header.pop("hyena.backbone.layers.1.mlp.fc2.bias")
        self.refuse(self.damaged(change), "layers.1.mlp.fc2.bias")

    def test_not_finite_weights(self):
        for value in ("nan", "inf"):
            def change(header, data):
                begin = header["hyena.backbone.layers.1.mixer.out_proj.weight"]["data_offsets"][0]
                return data[:begin + 40] + struct.pack("<f", float(value)) + data[begin + 44:]
            with self.subTest(value=value):
                self.refuse(self.damaged(change), "layers.1.mixer.out_proj.weight", value)
                shutil.rmtree(self.path("model"))

    def test_config_contradicts_tensors(self):
        for fields in ({"n_layer": 3}, {"d_model": 64}, {"d_inner": 100}, {"vocab_size": 99}, {"filter_order": 32},
                       {"emb_dim": 7}, {"hyena_order": 3}):
            with self.subTest(fields=fields):
                self.refuse(self.config(**fields), *(["model"]))
                shutil.rmtree(self.path("model"))

    def test_nonsense_in_config(self):
        for fields in ({"n_layer": -1}, {"n_layer": "two"}, {"d_model": 0}, {"max_seq_len": 1e30}, {"d_model": None},
                       {"n_layer": 10**15}):
            with self.subTest(fields=fields):
                self.refuse(self.config(**fields), "config.json", *fields)
                shutil.rmtree(self.path("model"))

    def test_config_that_is_no_json(self):
        folder = self.copy_model()
        for text in ("", "{", "[]", "null", "{\"a\": 1} trailing", "[" * 100000):
            with self.subTest(text=text[:20]):
                with open(os.path.join(folder, "config.json"), "w") as file:
                    file.write(text)
                self.refuse(folder, "config.json")

    def test_unknown_family(self):
        self.refuse(self.config(model_type="perceptron"), "perceptron")


class BadPrompts(CliTest):
    def refuse(self, *args, says, model=None):
        self.fails(1, "generate", "--model", model or self.dna_model, "--max-new-tokens", 5, *args, says=says)

    def test_empty_prompt(self):
        self.refuse("--prompt", "", says="the prompt is empty")
        self.refuse("--prompt=", says="the prompt is empty")
        self.refuse("--prompt-file", self.write("p", ""), says=["the prompt is empty"])
        self.refuse("--prompt-file", self.write("p", "\n"), says=["the prompt is empty"])
        self.refuse("--prompt-tokens", self.write("p", "  \n"), says=[self.path("p")])

    def test_missing_prompt_files(self):
        self.refuse("--prompt-file", "nope.txt", says="nope.txt")
        self.refuse("--prompt-tokens", "nope.txt", says="nope.txt")
        self.refuse("--prompt-file", self.tmp, says=self.tmp)

    def test_ids_outside_the_vocabulary(self):
        for text, word in (("7 8 12", "12"), ("7 -1", "-1"), ("7 99999999999999999999", "99999"), ("7 x", "x"),
                           ("7 1.5", "1.5")):
            with self.subTest(text=text):
                ids = self.write("ids", text)
                self.refuse("--prompt-tokens", ids, says=[ids, word])
                self.fails(1, "logits", "--model", self.dna_model, "--tokens", ids, "--output", "l.npy",
                           says=[ids, word])

    def test_beyond_the_models_limit(self):
        self.fails(1, "generate", "--model", self.dna_model, "--prompt", "A", "--max-new-tokens", 2000, says="1026")
        self.fails(1, "generate", "--model", self.dna_model, "--prompt", "A", "--max-new-tokens", 2**64 - 1,
                   says="1026")
        ids = self.write("ids", "7 " * 1027)
        self.fails(1, "logits", "--model", self.dna_model, "--tokens", ids, "--output", "l.npy", says=["1027", "1026"])
        self.fails(1, "inspect", "--model", self.dna_model, "--length", 1027, says=["1027", "1026"])
        self.ok("inspect", "--model", self.dna_model, "--length", 1026)


class BadCheckpoints(CliTest):
    def refuse(self, file, *says):
        self.fails(1, "convert", file, "--output", self.path("out"), says=says)

    def checkpoint(self, change):
        """The golden checkpoint with its pickle's bytes changed, beside its config."""
        shutil.copy(golden("hyenadna-tiny-1k-ckpt/config.json"), self.path("config.json"))
        os.chmod(self.path("config.json"), 0o644)
        target = self.path("weights.ckpt")
        with zipfile.ZipFile(golden("hyenadna-tiny-1k-ckpt/weights.ckpt")) as old, \
                zipfile.ZipFile(target, "w") as new:
            for entry in old.infolist():
                data = old.read(entry)
                name = entry.filename
                if name.endswith("data.pkl"):
                    data = change(data)
                new.writestr(name, data)
        return target

    def test_missing_and_wrong_files(self):
        self.refuse(self.path("nope.ckpt"), "nope.ckpt")
        self.refuse(self.write("text.ckpt", "not a checkpoint at all"), "text.ckpt")
        self.refuse(self.write("empty.ckpt", ""), "empty.ckpt")

    def test_truncated(self):
        shutil.copy(golden("hyenadna-tiny-1k-ckpt/config.json"), self.tmp)
        with open(golden("hyenadna-tiny-1k-ckpt/weights.ckpt"), "rb") as file:
            raw = file.read()
        for size in (10, 1000, len(raw) // 2, len(raw) - 1):
            with self.subTest(size=size):
                self.refuse(self.write("weights.ckpt", raw[:size]), "weights.ckpt")

    def test_hostile_global_is_not_run(self):
        class Hostile:
            def __reduce__(self):
                return os.system, (f"touch {marker}",)
        marker = self.path("pwned")
        state = {"state_dict": {"model.backbone.ln_f.weight": Hostile()}}
        file = self.checkpoint(lambda data: pickle.dumps(state, protocol=2))
        self.refuse(file, "weights.ckpt", "system")
        self.assertFalse(os.path.exists(marker))

    def test_pickle_cut_short_or_garbled(self):
        for change in (lambda data: data[:len(data) // 2], lambda data: b"\x80\x02" + b"(" * 5000, lambda data: b"",
                       lambda data: bytes(b ^ 0x55 for b in data)):
            self.refuse(self.checkpoint(change), "weights.ckpt")

    def test_zip_bomb(self):
        shutil.copy(golden("hyenadna-tiny-1k-ckpt/config.json"), self.tmp)
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as file:
            with file.open("archive/data.pkl", "w", force_zip64=True) as entry:
                for _ in range(512):
                    entry.write(bytes(1 << 20))
        self.refuse(self.write("weights.ckpt", packed.getvalue()), "weights.ckpt")

    def test_output_that_cannot_be(self):
        shutil.copytree(golden("hyenadna-tiny-1k-ckpt"), self.path("in"))
        self.write("file", "")
        self.fails(1, "convert", self.path("in"), "--output", self.path("file/out"), says="file/out")
        self.fails(1, "convert", self.path("in"), "--output", self.path("file"), says="file")


if __name__ == "__main__":
    unittest.main()
