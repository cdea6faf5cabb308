"""Tensors in a checkpoint's number format, and safetensors files without a library.

A tensor here is a pair (float64 array, dtype name); the array holds exactly what the file will hold, so
that a reference computed from it and a program that reads the file start from the same numbers.
"""
import json
import struct

import numpy as np


def round_to(array, dtype):
    """The float64 array with each number rounded to float32 or bfloat16."""
    single = np.asarray(array, dtype=np.float64).astype(np.float32)
    if dtype == "F32":
        return single.astype(np.float64)
    assert dtype == "BF16"
    bits = single.view(np.uint32).astype(np.uint64)
    bits = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16 << 16  # To nearest, ties to even.
    return bits.astype(np.uint32).view(np.float32).astype(np.float64)


class Maker:
    """Random tensors under their names, in the order in which they are asked for."""

    def __init__(self, seed, dtype="F32"):
        self.random = np.random.default_rng(seed)
        self.dtype = dtype
        self.tensors = {}

    def put(self, name, array, dtype=None):
        dtype = dtype or self.dtype
        self.tensors[name] = (round_to(array, dtype), dtype)

    def normal(self, name, shape, scale, mean=0.0, dtype=None):
        self.put(name, mean + scale * self.random.standard_normal(shape), dtype)

    def uniform(self, name, shape, low, high, dtype=None):
        self.put(name, self.random.uniform(low, high, shape), dtype)

    def linear(self, name, out, into, bias, gain=1.0):
        self.normal(name + ".weight", (out, into), gain / np.sqrt(into))
        if bias:
            self.normal(name + ".bias", (out,), 0.1)


def write_safetensors(path, tensors):
    """tensors: name -> (array, "F64", "F32", "BF16" or "I64")."""
    order = sorted(tensors, key=lambda n: ({"F64": 0, "I64": 0, "F32": 1, "BF16": 2}[tensors[n][1]], n))
    header, blobs, offset = {}, [], 0
    for name in order:
        array, dtype = tensors[name]
        if dtype == "BF16":
            blob = (np.asarray(array, dtype=np.float32).view(np.uint32) >> 16).astype("<u2").tobytes()
        else:
            blob = np.asarray(array).astype({"F64": "<f8", "F32": "<f4", "I64": "<i8"}[dtype]).tobytes()
        header[name] = {"dtype": dtype, "shape": list(np.shape(array)),
                        "data_offsets": [offset, offset + len(blob)]}
        blobs.append(blob)
        offset += len(blob)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + b"".join(blobs))
