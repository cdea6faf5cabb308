"""Torch checkpoints without torch: a zip archive of a pickle and a storage for each tensor."""
import io
import pickle
import zipfile

STORAGES = {"F32": "FloatStorage", "BF16": "BFloat16Storage", "F64": "DoubleStorage", "F16": "HalfStorage", "I64": "LongStorage"}
WIDTHS = {"F32": 4, "BF16": 2, "F64": 8, "F16": 2, "I64": 8}


class Call:
    """Pickles as a call of any global; without arguments, as that global."""
    def __init__(self, name, args=None):
        self.name, self.args = name, args


class Pickler(pickle._Pickler):
    def save_call(self, call):
        if call.name == "persistent":
            self.save(call.args)
            self.write(pickle.BINPERSID)
            return
        module, _, name = call.name.rpartition(".")
        self.write(pickle.GLOBAL + f"{module}\n{name}\n".encode())
        if call.args is not None:
            self.save(call.args)
            self.write(pickle.REDUCE)

    dispatch = dict(pickle._Pickler.dispatch)
    dispatch[Call] = save_call


def write(path, header, data, rename=lambda name: name, tied=(), others=()):
    """The tensors of a safetensors file under other names; `tied` are (name, name of the tensor whose storage it is)."""
    state, storages = {}, {}

    def tensor(key, entry):
        numel = len(storages[key]) // WIDTHS[entry["dtype"]]
        strides = [1]
        for n in entry["shape"][:0:-1]:
            strides.insert(0, strides[0] * n)
        storage = Call("persistent", ("storage", Call("torch." + STORAGES[entry["dtype"]]), key, "cpu", numel))
        return Call("torch._utils._rebuild_tensor_v2",
                    (storage, 0, tuple(entry["shape"]), tuple(strides[:len(entry["shape"])]), False, None))

    for i, (name, entry) in enumerate(header.items()):
        begin, end = entry["data_offsets"]
        storages[str(i)] = data[begin:end]
        state[rename(name)] = tensor(str(i), entry)
    for name, same in tied:
        i = list(header).index(same)
        state[rename(name)] = tensor(str(i), header[same])
    state.update(others)
    out = io.BytesIO()
    Pickler(out, protocol=2).dump(state)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("w/data.pkl", out.getvalue())
        for key, raw in storages.items():
            archive.writestr(f"w/data/{key}", raw)
