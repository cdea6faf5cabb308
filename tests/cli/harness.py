"""What all parts of the command's tests use: running it, and models to run."""
import array
import json
import math
import os
import shutil
import struct
import subprocess
import tempfile
import unittest

LCSM = None    # Set by run.py.
SOURCE = None
SANITIZED = False


def golden(name):
    return os.path.join(SOURCE, "tests", "data", "golden", name)


def read_safetensors(path):
    """(header, data bytes); the header without its metadata."""
    with open(path, "rb") as file:
        raw = file.read()
    size = struct.unpack("<Q", raw[:8])[0]
    header = json.loads(raw[8:8 + size])
    header.pop("__metadata__", None)
    return header, raw[8 + size:]


def write_safetensors(path, header, data):
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + data)


def read_npy(path):
    """(shape, floats) of a float32 .npy file in C order."""
    with open(path, "rb") as file:
        raw = file.read()
    assert raw[:6] == b"\x93NUMPY", raw[:6]
    if raw[6] == 1:
        size, start = struct.unpack("<H", raw[8:10])[0], 10
    else:
        size, start = struct.unpack("<I", raw[8:12])[0], 12
    header = eval(raw[start:start + size].decode(), {"__builtins__": {}}, {})  # A literal of ours.
    assert header["descr"] == "<f4" and not header["fortran_order"], header
    values = array.array("f", raw[start + size:])
    assert len(values) == math.prod(header["shape"]), header
    return header["shape"], values


def tiny_byte_model(folder, lmax=256, width=16, layers=2):
    """A byte-level Hyena with made-up weights: deterministic, 100 KB."""
    inner, order, bands, hidden, vocab = 2 * width, 2, 5, 16, 256
    seed = [1]

    def values(count, scale, offset=0.0):
        out = array.array("f")
        for _ in range(count):
            seed[0] = (seed[0] * 1103515245 + 12345) % 2**31
            out.append(offset + scale * (seed[0] / 2**30 - 1))
        return out

    tensors = {}

    def add(name, shape, scale=0.3, offset=0.0):
        tensors[name] = (shape, values(math.prod(shape), scale, offset))

    add("backbone.embeddings.word_embeddings.weight", (vocab, width), 1.0)
    for i in range(layers):
        p = f"backbone.layers.{i}."
        m = p + "mixer."
        f = m + "filter_fn."
        add(p + "norm1.weight", (width,), 0.1, 1.0)
        add(p + "norm1.bias", (width,))
        add(m + "in_proj.weight", ((order + 1) * width, width))
        add(m + "in_proj.bias", ((order + 1) * width,))
        add(m + "short_filter.weight", ((order + 1) * width, 1, 3))
        add(m + "short_filter.bias", ((order + 1) * width,))
        add(f + "bias", ((order - 1) * width,))
        t = array.array("f", (n / (lmax - 1) for n in range(lmax)))
        z = array.array("f")
        for n in range(lmax):
            angles = [b * 2 * math.pi * n / lmax for b in (1e-4, 1.0)]
            z.extend([n / (lmax - 1)] + [math.cos(a) for a in angles] + [-math.sin(a) for a in angles])
        tensors[f + "pos_emb.z"] = ((1, lmax, bands), z)
        tensors[f + "pos_emb.t"] = ((1, lmax, 1), t)
        add(f + "implicit_filter.0.weight", (hidden, bands))
        add(f + "implicit_filter.0.bias", (hidden,))
        tensors[f + "implicit_filter.1.freq"] = ((1, hidden), array.array("f", [10.0] * hidden))
        for k in (2, 4):
            add(f + f"implicit_filter.{k}.weight", (hidden, hidden))
            add(f + f"implicit_filter.{k}.bias", (hidden,))
        add(f + "implicit_filter.6.weight", ((order - 1) * width, hidden))
        lo, hi = math.log(0.01) / 1.5, math.log(0.01) / 0.3
        tensors[f + "modulation.deltas"] = ((1, 1, width), array.array(
            "f", (lo + (hi - lo) * c / (width - 1) for c in range(width))))
        add(m + "out_proj.weight", (width, width))
        add(m + "out_proj.bias", (width,))
        add(p + "norm2.weight", (width,), 0.1, 1.0)
        add(p + "norm2.bias", (width,))
        add(p + "mlp.fc1.weight", (inner, width))
        add(p + "mlp.fc1.bias", (inner,))
        add(p + "mlp.fc2.weight", (width, inner))
        add(p + "mlp.fc2.bias", (width,))
    add("backbone.ln_f.weight", (width,), 0.1, 1.0)
    add("backbone.ln_f.bias", (width,))

    header, data = {}, b""
    for name, (shape, floats) in tensors.items():
        raw = floats.tobytes()
        header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    os.makedirs(folder, exist_ok=True)
    write_safetensors(os.path.join(folder, "model.safetensors"), header, data)
    config = {
        "d_model": width, "n_layer": layers, "d_inner": inner, "vocab_size": vocab, "pad_vocab_size_multiple": 8,
        "residual_in_fp32": True, "filter_shift": 0.0, "filter_layout": "order_slowest",
        "layer": {"_name_": "hyena", "order": order, "emb_dim": bands, "filter_order": hidden, "num_inner_mlps": 2,
                  "short_filter_order": 3, "l_max": lmax, "modulate": True, "w": 10}}
    with open(os.path.join(folder, "config.json"), "w") as file:
        json.dump(config, file)
    with open(os.path.join(folder, "tokenizer_config.json"), "w") as file:
        json.dump({"tokenizer_class": "ByteTokenizer"}, file)


class CliTest(unittest.TestCase):
    """A scratch folder `self.tmp` for each test, which is also where lcsm runs."""

    maxDiff = 2000

    @classmethod
    def setUpClass(cls):
        cls.shared = tempfile.mkdtemp(prefix="lcsm-cli-")
        cls.bytes_model = os.path.join(cls.shared, "tiny-bytes")
        tiny_byte_model(cls.bytes_model)
        cls.dna_model = golden("hyenadna-tiny-1k-hf")

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.shared)

    def setUp(self):
        self.tmp = tempfile.mkdtemp(prefix="lcsm-cli-")
        self.addCleanup(shutil.rmtree, self.tmp)

    def path(self, name):
        return os.path.join(self.tmp, name)

    def write(self, name, text):
        with open(self.path(name), "wb") as file:
            file.write(text if isinstance(text, bytes) else text.encode())
        return self.path(name)

    def environment(self):
        env = dict(os.environ)
        for name in ("LCSM_MODELS", "LCSM_SIMD"):
            env.pop(name, None)
        env["PATH"] = os.path.dirname(LCSM) + ":" + env.get("PATH", "")
        return env

    def run_lcsm(self, *args, stdin=b"", env=None):
        """The finished process; stdout and stderr are bytes."""
        return subprocess.run([LCSM, *map(str, args)], input=stdin, capture_output=True, cwd=self.tmp,
                              env={**self.environment(), **(env or {})}, timeout=300)

    def ok(self, *args, **kwargs):
        done = self.run_lcsm(*args, **kwargs)
        self.assertEqual(done.returncode, 0, done.stderr.decode(errors="replace"))
        return done

    def fails(self, code, *args, says=(), **kwargs):
        """Exits with `code`, nothing on stdout, a sentence on stderr with all of `says`."""
        before = self.listing()
        done = self.run_lcsm(*args, **kwargs)
        text = done.stderr.decode(errors="replace")
        self.assertEqual(done.returncode, code, text)
        self.assertEqual(done.stdout, b"")
        self.assertTrue(text.startswith("lcsm"), text)
        if code == 1:
            self.assertEqual(text.count("\n"), 1, f"not one sentence: {text}")
        for part in [says] if isinstance(says, str) else says:
            self.assertIn(part, text)
        self.assertEqual(self.listing(), before, "left a file behind")
        return text

    def listing(self):
        return sorted(os.path.join(folder, name) for folder, folders, files in os.walk(self.tmp)
                      for name in folders + files)

    def copy_model(self, source=None, name="model"):
        """A writable copy of a model folder, to damage."""
        target = self.path(name)
        shutil.copytree(source or self.dna_model, target)
        for entry in os.listdir(target):
            os.chmod(os.path.join(target, entry), 0o644)
        return target
