"""Makes the seeds of the fuzzers: python3 fuzz/make_corpus.py, from the test data and a few lines here."""
import gzip
import json
import os
import struct
import zipfile
import zlib

HERE = os.path.dirname(os.path.abspath(__file__))
DATA = os.path.join(HERE, "..", "tests", "data")
CHECKPOINTS = os.path.join(DATA, "checkpoints")


def put(reader, name, data):
    folder = os.path.join(HERE, "corpus", reader)
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, name), "wb") as f:
        f.write(data)


def safetensors(header, data):
    text = header if isinstance(header, str) else json.dumps(header, separators=(",", ":"))
    return struct.pack("<Q", len(text)) + text.encode() + data


a = {"dtype": "F32", "shape": [2, 1], "data_offsets": [0, 8]}
put("safetensors", "good", safetensors(
    {"__metadata__": {"format": "pt"}, "a": a, "b": {"dtype": "BF16", "shape": [], "data_offsets": [8, 10]},
     "c": {"dtype": "I64", "shape": [0, 3], "data_offsets": [10, 10]}}, bytes(10)))
put("safetensors", "overlap", safetensors({"a": a, "b": {**a, "data_offsets": [4, 12]}}, bytes(12)))
put("safetensors", "hole", safetensors({"a": {**a, "data_offsets": [4, 12]}}, bytes(12)))
put("safetensors", "long", struct.pack("<Q", 1 << 60) + b"{}")
put("safetensors", "types", safetensors(
    {t: {"dtype": t, "shape": [0], "data_offsets": [0, 0]}
     for t in "BOOL U8 I8 U16 I16 U32 I32 U64 I64 F8_E5M2 F8_E4M3 F16 BF16 F32 F64".split()}, b""))

for name in sorted(os.listdir(CHECKPOINTS)):
    path = os.path.join(CHECKPOINTS, name)
    if not name.endswith((".pt", ".ckpt")) or os.path.getsize(path) > 5000:
        continue
    put("checkpoint", name, open(path, "rb").read())
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as z:
            for entry in z.namelist():
                if entry.endswith("data.pkl"):
                    put("pickle", name, z.read(entry))
with zipfile.ZipFile(os.path.join(DATA, "golden", "hyenadna-tiny-1k-ckpt", "weights.ckpt")) as z:
    put("pickle", "lightning", z.read("weights/data.pkl"))

letters = "abcdefgh"
vocab = {c: i for i, c in enumerate(letters + "Ġ" + "'")}
vocab.update({"ab": 20, "abc": 21, "Ġab": 22, "<|endoftext|>": 23})
merges = ["a b", "ab c", "Ġ ab"]
tokenizer = {"normalizer": None, "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True},
             "model": {"type": "BPE", "unk_token": None, "vocab": vocab, "merges": merges},
             "added_tokens": [{"id": 23, "content": "<|endoftext|>", "special": True}]}
text = "abc ab'd  \n 12é<|endoftext|>[MASK]ACGTnacg\u3000x".encode()
put("tokenizer", "json", json.dumps(tokenizer, ensure_ascii=False).encode() + b"\0" + text)
tokenizer["added_tokens"] = []
tokenizer["pre_tokenizer"]["add_prefix_space"] = True
tokenizer["model"].update(merges=[m.split() for m in merges], ignore_merges=True, unk_token="a")
put("tokenizer", "json-lists", json.dumps(tokenizer).encode() + b"\0" + text)
put("tokenizer", "pair", json.dumps(vocab, ensure_ascii=False).encode() + b"\0#version: 0.2\n" +
    "\n".join(merges).encode() + b"\n\0" + text)

for folder in sorted(os.listdir(os.path.join(DATA, "golden"))):
    path = os.path.join(DATA, "golden", folder, "config.json")
    if os.path.exists(path):
        text = open(path, "rb").read()
        put("stack" if b"lcsm-stack" in text else "config", folder, text)
step = {"do": "activate", "from": "input", "to": "output", "with": "relu"}
stack = {"model_type": "lcsm-stack", "vocab_size": 4, "width": 4, "max_length": 9, "embedding": "e",
         "blocks": [{"repeat": 3, "parts": [{"steps": [step]}]}]}
put("stack", "small", json.dumps(stack).encode())
for name, change in {
        "cycle": {"do": "read", "block": 0, "to": "output"},
        "delayed": {"do": "read", "block": 2, "delay": 1, "to": "output"},
        "wide": {"do": "convolve", "from": ["input"] * 9, "to": "a", "repeat": 1024,
                 "filter": {"kind": "taps", "tensor": "t{i}"}},
        "heads": {"do": "attention", "from": ["input", "input", "input"], "to": "output", "heads": 3,
                  "rotary": {"width": 2}, "kv_heads": 2, "window": 5},
        "not-causal": {"do": "linear-attention", "from": ["input", "input", "input"], "to": "output",
                       "causal": False}}.items():
    put("stack", name, json.dumps({**stack, "blocks": [{"parts": [{"steps": [change, step]}]}]}).encode())
put("config", "deep", b"[" * 100)
put("config", "long_name", b'{"' + b"b" * 201 + b'\\nb": 3}')
put("config", "numbers", b'{"a": -0.0, "b": 1e308, "c": 18446744073709551615, "d": [null, {"e": "\\u00e9"}], "layer": {"l_max": 16.0}}')
put("token_ids", "good", b"7 8 9\n10\t11\r\n")
put("token_ids", "bad", b"7 8 x 99999999999999999999 -1")


def bgzip(text, block):
    """Members with bgzip's extra field, the last one empty."""
    parts = [text[at:at + block] for at in range(0, len(text), block)] + [b""]
    members = [gzip.compress(part, mtime=0) for part in parts]
    return b"".join(m[:3] + b"\4" + m[4:10] + b"\6\0BC\2\0\x1b\0" + m[10:] for m in members)


fasta = b">one a record\nACGTNacgtn\nUu\n\n>two\tx\r\nRYSWKM\r\nBDHVry\r\n>three\nA"
put("fasta", "plain", fasta)
put("fasta", "gzip", gzip.compress(fasta[:30], mtime=0) + gzip.compress(fasta[30:], mtime=0))
put("fasta", "bgzip", bgzip(fasta, 20))
put("fasta", "bgzip-cut", bgzip(fasta, 20)[:-30])
put("fasta", "gzip-cut", gzip.compress(fasta, mtime=0)[:-9])
put("fasta", "gzip-tail", gzip.compress(fasta, mtime=0) + b"tail")
put("fasta", "empty-record", b">a\n>b\nA\n")
put("fasta", "no-name", b"> a\nA\n")
put("fasta", "bad-letter", b">a\nAC-T\n")
put("fasta", "fastq", b"@a\nACGT\n+\nIIII\n")
bed = b"# x\ntrack y\nchr1\t0\t10\tname\t0\t-\r\n\nchr2 5 7\n"
put("bed", "good", bed)
put("bed", "gzip", gzip.compress(bed, mtime=0))
put("bed", "backwards", b"a\t5\t4\n")
put("bed", "huge", b"a\t5\t99999999999999999999\n")


def bgzip_file(data, block):
    out = b""
    for at in [*range(0, len(data), block), len(data)]:
        text = data[at:at + block]
        packer = zlib.compressobj(6, zlib.DEFLATED, -15)
        body = packer.compress(text) + packer.flush()
        out += b"\x1f\x8b\x08\x04\0\0\0\0\0\xff\x06\0BC\x02\0" + struct.pack("<H", len(body) + 25) + body
        out += struct.pack("<II", zlib.crc32(text), len(text))
    return out


vcf = (b"##fileformat=VCFv4.3\n##contig=<ID=1>\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\tFORMAT\tS\n"
       b"1\t10\trs1\tac\tA,ACG,*,<DEL>,G]17:5],.T\t9\tPASS\tDP=3;F\tGT\t0/1\n1\t11\t.\tN\t.\t.\t.\t.\tGT\t.\n")
put("vcf", "plain", vcf)
put("vcf", "crlf", vcf.replace(b"\n", b"\r\n") + b"\r\n")
put("vcf", "gzip", gzip.compress(vcf, mtime=0))
put("vcf", "bgzip", bgzip_file(vcf, 100))
put("vcf", "columns", vcf + b"1\t12\t.\tA\tC\n")
put("vcf", "alleles", vcf + b"1\t99999999999\t.\t\t,,\t.\t.\t.\tGT\t.\n")
put("vcf", "bcf", b"BCF\2\2rest")
fasta = b">one first\nACGTA\nCCGGT\nac\n>two\n>chr3\tx\nUNRY\n\n"
put("faidx", "plain", fasta + b"\0one\t12\t11\t5\t6\nchr3\t4\t39\t4\t5\n")
put("faidx", "ragged", b">a\nAC\nGTACCG\n\nGTa\r\nc\n>b\n")
put("faidx", "gzip", gzip.compress(fasta, mtime=0))
put("faidx", "bgzip", bgzip_file(fasta, 9))
put("faidx", "cut", bgzip_file(fasta, 9)[:-28])
put("faidx", "index", fasta + b"\0one\t1152921504606846976\t1\t1\t1152921504606846976\nx\t9\t0\t9\t3\n")

header = json.dumps({"program": "lcsm", "model": "m", "model_hash": "00", "weights": "f32", "simd_target": "avx2",
                     "horizon": 9, "steps": 4, "method": "planned", "schedule": "across-layers", "levels": "1 direct",
                     "sample": 0, "max_new_tokens": 3, "temperature": 1.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0,
                     "seed": "7", "stop_at_eos": False, "logprobs": False, "ends_sequence": True, "num_stops": 1})
# Wrapped by the fuzzer: the second byte is the header's share of the rest, 256ths.
header += " " * (384 - len(header))
put("session", "wrapped", b"\x01" + bytes([192]) + header[1:].encode() + bytes([4] * 128))
put("session", "header", b"\x01\xff{" + header.encode())
put("session", "raw", b"\x00LCSM\r\n\x1a\n" + struct.pack("<QQ", 1, 2) + b"{}" + bytes(24))
