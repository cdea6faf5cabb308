"""Writes a model folder for lcsm: python3 export.py FOLDER. Your training would stand where the seed is."""
import json
import os
import struct
import sys

import torch

from model import OwnModel


def norm(name):
    return {"kind": "layer", "eps": 1e-5, "weight": name + ".weight", "bias": name + ".bias"}


def linear(source, to, name, **more):
    return {"do": "linear", "from": source, "to": to, "weight": name + ".weight", "bias": name + ".bias", **more}


def description(model):
    """What forward() does, block by block; see docs/stacks.md."""
    b = "blocks.{i}."
    mixer = [linear("input", ["gate", "v"], b + "mixer.project"),
             {"do": "convolve", "from": "v", "filter": {"kind": "taps", "tensor": b + "mixer.kernel"},
              "skip": b + "mixer.skip"},
             {"do": "activate", "from": "gate", "with": "sigmoid"},
             {"do": "multiply", "from": ["gate", "v"], "to": "v"},
             linear("v", "output", b + "mixer.out")]
    mlp = [linear("input", "hidden", b + "up", width=2 * model.width),
           {"do": "activate", "from": "hidden", "with": "gelu"},
           linear("hidden", "output", b + "down")]
    return {"model_type": "lcsm-stack", "vocab_size": model.vocab, "width": model.width, "max_length": model.length,
            "embedding": "embed.weight",
            "blocks": [{"repeat": len(model.blocks), "parts": [
                {"name": "mixer", "norm": norm(b + "norm1"), "steps": mixer},
                {"name": "mlp", "norm": norm(b + "norm2"), "steps": mlp}]}],
            "final_norm": norm("norm"), "head": "head.weight"}


def write_safetensors(path, tensors):
    """What safetensors.torch.save_file does, without the package."""
    header, data = {}, b""
    for name, tensor in sorted(tensors.items()):
        numbers = tensor.detach().to(torch.float32).contiguous().flatten().tolist()
        raw = struct.pack(f"<{len(numbers)}f", *numbers)
        header[name] = {"dtype": "F32", "shape": list(tensor.shape), "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + data)


def make():
    torch.manual_seed(1)
    return OwnModel().eval()


if __name__ == "__main__":
    folder = sys.argv[1]
    os.makedirs(folder, exist_ok=True)
    own = make()
    write_safetensors(os.path.join(folder, "model.safetensors"), own.state_dict())
    with open(os.path.join(folder, "config.json"), "w") as out:
        json.dump(description(own), out, indent=1)
        out.write("\n")
