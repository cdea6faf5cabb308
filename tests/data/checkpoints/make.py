"""Makes the small checkpoints in this folder: python make.py (needs torch).

They come from torch itself, so that the reader is tested against what torch writes and not against
what we think it writes. Element j of every tensor is j + 0.5 (floats) or j (integers) unless a comment
says otherwise. Only names of globals are hostile here, nothing is run by making these files.
"""
import collections
import io
import os
import sys
import zipfile

import torch
from torch import nn

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../cli"))
from torch_file import Call, Pickler  # noqa: E402


def ramp(*shape, dtype=torch.float32):
    n = 1
    for s in shape:
        n *= s
    x = torch.arange(n, dtype=torch.float64)
    if dtype.is_floating_point:
        x = x + 0.5
    return x.to(dtype).reshape(shape)


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(4, 3)
        self.head = nn.Linear(3, 4, bias=False)
        self.head.weight = self.embed.weight  # tied: one storage
        self.embed.weight.data.copy_(ramp(4, 3))


base = ramp(3, 4)
tensors = collections.OrderedDict(
    f32=ramp(2, 3), f16=ramp(3, dtype=torch.float16), bf16=ramp(3, dtype=torch.bfloat16),
    f64=ramp(3, dtype=torch.float64), i64=ramp(3, dtype=torch.int64), u8=ramp(3, dtype=torch.uint8),
    scalar=torch.tensor(1.5), empty=torch.zeros(0, 4),
    transposed=base.t(),            # (4, 3): element (i, j) is 4 j + i + 0.5
    slice=base[1:, ::2],            # (2, 2): 4.5, 6.5, 8.5, 10.5
    parameter=nn.Parameter(ramp(2)))

torch.save(tensors, "tensors.pt")
torch.save(tensors, "tensors-protocol4.pt", pickle_protocol=4)
torch.save(Small().state_dict(), "module.pt")  # carries _metadata
torch.save(tensors, "legacy.pt", _use_new_zipfile_serialization=False)
torch.save([1, 2], "list.pt")
torch.save({"model": dict(tensors)}, "nested.pt")

# For convert: names as in old safari files, mixed dtypes, an integer, a number; and a bad weight.
E = "embedding.weight"
torch.save({E: ramp(2, 2, dtype=torch.float16), "s4seq.encoder.norm.weight": ramp(2, dtype=torch.float64),
            "s4seq.encoder.layers.0.mixer.output_linear.weight": ramp(2, 2, dtype=torch.bfloat16),
            "s4seq.encoder.layers.0.norm1.weight": ramp(2) + 10, "s4seq.encoder.layers.0.norm2.weight": ramp(2) + 20,
            "s4seq.encoder.layers.1.norm1.weight": ramp(2) + 30, "s4seq.encoder.layers.1.norm2.weight": ramp(2) + 40,
            "s4seq.encoder.steps": ramp(1, dtype=torch.int64), "decoder.0.weight": ramp(2), "epoch": 3,
            "lm_head.weight": ramp(2, 2), "optimizer.x": ramp(1)}, "safari.pt")
torch.save({E: base, "lm_head.weight": base}, "tied.pt")
torch.save({E: torch.tensor([[1.0, float("nan")]])}, "nan.pt")
torch.save({E: torch.tensor([[1e300]], dtype=torch.float64)}, "overflow.pt")


def save(obj, file, compression=zipfile.ZIP_STORED, storages=None):
    """A checkpoint without torch, in which Call(name, args) becomes a call of `name`."""
    out = io.BytesIO()
    Pickler(out, protocol=2).dump(obj)
    with zipfile.ZipFile(file, "w", compression) as z:
        def put(name, data):
            z.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), data, compress_type=compression)
        put("w/data.pkl", out.getvalue())
        for key, data in (storages or {}).items():
            put(f"w/data/{key}", data)


def tensor(key="0", numel=4, offset=0, shape=(4,), stride=(1,), kind="torch.FloatStorage", hooks=None):
    pid = Call("persistent", ("storage", Call(kind, None), key, "cpu", numel))
    return Call("torch._utils._rebuild_tensor_v2", (pid, offset, shape, stride, False, hooks))


four = {"0": bytes(16)}
hostile = Call("os.system", ("echo pwned",))
save({"state_dict": {"w": tensor()}, "hyper_parameters": hostile}, "hostile-outside.ckpt", storages=four)
save({"state_dict": {"w": tensor(), "model.x": hostile}}, "hostile-inside.ckpt", storages=four)
save({"state_dict": {"w": tensor(hooks=hostile)}}, "hostile-hooks.ckpt", storages=four)
save({"state_dict": {"w": tensor(kind="evil.Storage")}}, "hostile-storage.ckpt", storages=four)
save({"state_dict": hostile}, "hostile-dict.ckpt", storages=four)
save({"w": tensor(shape=(5,))}, "outside-storage.ckpt", storages=four)
save({"w": tensor(offset=1)}, "offset.ckpt", storages=four)
save({"w": tensor(shape=(2, 2), stride=(1 << 62, 1 << 62))}, "stride-overflow.ckpt", storages=four)
save({"w": tensor(shape=(1 << 40, 1 << 40), stride=(0, 0))}, "shape-overflow.ckpt", storages=four)
save({"w": tensor(shape=(1 << 30,), stride=(0,))}, "expanded.ckpt", storages=four)
save({"w": tensor(key="1")}, "no-entry.ckpt", storages=four)
save({"w": tensor(key="../0")}, "traversal.ckpt", storages=four)
save({"w": tensor(numel=5)}, "wrong-size.ckpt", storages=four)
save({"w": [1, 2]}, "value-list.ckpt", storages=four)
save({7: tensor()}, "key-int.ckpt", storages=four)
save({}, "empty.ckpt")
save({"w": tensor()}, "deflated.ckpt", zipfile.ZIP_DEFLATED, storages=four)
save({"w": tensor()}, "bzip2.ckpt", zipfile.ZIP_BZIP2, storages=four)
save({"w": tensor(numel=1 << 24, shape=(1 << 24,))}, "bomb.ckpt", zipfile.ZIP_DEFLATED,
     storages={"0": bytes(1 << 26)})
