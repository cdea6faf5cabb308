"""PyTorch against lcsm: scoring known tokens with a HyenaDNA model of the large shape, in one run.

    pip install torch numpy safetensors
    python3 bench/rivals/hyena_torch.py --lcsm build/release/apps/cli/lcsm --lengths 8192,131072

Writes a checkpoint with random weights in the published layout to a temporary folder and has both read it: first the
logits of 1 000 tokens are compared, then each length is run by each of the two in turn, every run a process of its
own, so that its peak memory is its own. PyTorch's time is that of one forward pass behind one to warm up (imports
and loading left out); lcsm's is that of the whole process, start, filters and all. The forward pass is written from the
formulas with the operations that the published model uses: linear layers, a grouped Conv1d, the filters' networks
evaluated in each layer, torch.fft.rfft over twice the length.
"""
import argparse
import json
import math
import os
import resource
import subprocess
import sys
import tempfile
import time

import numpy as np

WIDTH, LAYERS, INNER, FEATURES, FILTER_WIDTH, FREQUENCY, SHIFT = 256, 8, 1024, 5, 64, 10.0, 0.05


def write_model(folder, l_max):
    from safetensors.numpy import save_file
    rng = np.random.default_rng(1)

    def normal(*shape, std=0.02):
        return (rng.standard_normal(shape) * std).astype(np.float32)

    n = np.arange(l_max, dtype=np.float64)
    t = (n / (l_max - 1)).astype(np.float32)
    angle = 2 * math.pi * n / l_max
    bands = (FEATURES - 1) // 2
    waves = np.linspace(1e-4, bands - 1, bands)[None, :] * angle[:, None]
    z = np.concatenate([t[:, None], np.cos(waves), -np.sin(waves)], axis=1).astype(np.float32)
    deltas = np.linspace(math.log(1e-2) / 1.5, math.log(1e-2) / 0.3, WIDTH).astype(np.float32)
    ones, zeros = np.ones(WIDTH, np.float32), np.zeros(WIDTH, np.float32)
    T = {"hyena.backbone.embeddings.word_embeddings.weight": normal(16, WIDTH, std=0.5), "lm_head.weight": normal(16, WIDTH),
         "hyena.backbone.ln_f.weight": ones, "hyena.backbone.ln_f.bias": zeros}
    for i in range(LAYERS):
        p = f"hyena.backbone.layers.{i}."
        f = p + "mixer.filter_fn."
        for norm in ("norm1", "norm2"):
            T[f"{p}{norm}.weight"], T[f"{p}{norm}.bias"] = ones, zeros
        T[p + "mixer.in_proj.weight"], T[p + "mixer.in_proj.bias"] = normal(3 * WIDTH, WIDTH), normal(3 * WIDTH)
        T[p + "mixer.out_proj.weight"], T[p + "mixer.out_proj.bias"] = normal(WIDTH, WIDTH), normal(WIDTH)
        T[p + "mixer.short_filter.weight"], T[p + "mixer.short_filter.bias"] = normal(3 * WIDTH, 1, 3, std=0.5), normal(3 * WIDTH)
        T[f + "bias"], T[f + "pos_emb.z"], T[f + "pos_emb.t"] = normal(WIDTH, std=1), z[None], t[None, :, None]
        T[f + "modulation.deltas"] = deltas[None, None]
        for j, (rows, columns) in enumerate(((FILTER_WIDTH, FEATURES), (FILTER_WIDTH, FILTER_WIDTH), (FILTER_WIDTH, FILTER_WIDTH))):
            T[f"{f}implicit_filter.{2 * j}.weight"], T[f"{f}implicit_filter.{2 * j}.bias"] = normal(rows, columns), normal(rows)
        T[f + "implicit_filter.1.freq"] = np.full((1, FILTER_WIDTH), FREQUENCY, np.float32)
        T[f + "implicit_filter.6.weight"] = normal(WIDTH, FILTER_WIDTH)
        T[p + "mlp.fc1.weight"], T[p + "mlp.fc1.bias"] = normal(INNER, WIDTH), normal(INNER)
        T[p + "mlp.fc2.weight"], T[p + "mlp.fc2.bias"] = normal(WIDTH, INNER), normal(WIDTH)
    save_file(T, os.path.join(folder, "model.safetensors"), metadata={"format": "pt"})
    config = dict(model_type="hyenadna", architectures=["HyenaDNAForCausalLM"], torch_dtype="float32", vocab_size=12,
                  pad_vocab_size_multiple=8, d_model=WIDTH, n_layer=LAYERS, d_inner=INNER, max_seq_len=l_max, hyena_order=2,
                  short_filter_order=3, emb_dim=FEATURES, filter_order=FILTER_WIDTH, num_inner_mlps=2,
                  activation_freq=FREQUENCY, train_freq=True, use_bias=True, layer_norm_epsilon=1e-5, pad_token_id=4,
                  tie_word_embeddings=False)
    tokenizer = dict(tokenizer_class="HyenaDNATokenizer", model_max_length=l_max, padding_side="left",
                     characters=["A", "C", "G", "T", "N"])
    for name, content in (("config.json", config), ("tokenizer_config.json", tokenizer)):
        with open(os.path.join(folder, name), "w") as f:
            json.dump(content, f)


def forward(T, ids):
    """Logits (L, 16). T: tensors by their published names."""
    import torch
    import torch.nn.functional as F
    L = len(ids)
    x = F.embedding(ids, T["hyena.backbone.embeddings.word_embeddings.weight"])[None]
    for i in range(LAYERS):
        p = f"hyena.backbone.layers.{i}."
        f = p + "mixer.filter_fn."
        u = F.layer_norm(x, (WIDTH,), T[p + "norm1.weight"], T[p + "norm1.bias"])
        u = F.linear(u, T[p + "mixer.in_proj.weight"], T[p + "mixer.in_proj.bias"]).transpose(1, 2)
        u = F.conv1d(u, T[p + "mixer.short_filter.weight"], T[p + "mixer.short_filter.bias"], padding=2,
                     groups=3 * WIDTH)[..., :L]
        x0, x1, v = u.split(WIDTH, dim=1)
        h = T[f + "pos_emb.z"][:, :L]
        for j in (0, 2, 4):
            h = torch.sin(T[f + "implicit_filter.1.freq"] *
                          F.linear(h, T[f"{f}implicit_filter.{j}.weight"], T[f"{f}implicit_filter.{j}.bias"]))
        h = F.linear(h, T[f + "implicit_filter.6.weight"])
        h = h * (torch.exp(-T[f + "pos_emb.t"][:, :L] * T[f + "modulation.deltas"].abs()) + SHIFT)
        h = h[0].transpose(0, 1)
        v = v * x1
        y = torch.fft.irfft(torch.fft.rfft(v, n=2 * L) * torch.fft.rfft(h, n=2 * L)[None], n=2 * L)[..., :L]
        y = ((y + v * T[f + "bias"][None, :, None]) * x0).transpose(1, 2)
        x = x + F.linear(y, T[p + "mixer.out_proj.weight"], T[p + "mixer.out_proj.bias"])
        u = F.layer_norm(x, (WIDTH,), T[p + "norm2.weight"], T[p + "norm2.bias"])
        u = F.gelu(F.linear(u, T[p + "mlp.fc1.weight"], T[p + "mlp.fc1.bias"]), approximate="tanh")
        x = x + F.linear(u, T[p + "mlp.fc2.weight"], T[p + "mlp.fc2.bias"])
    x = F.layer_norm(x, (WIDTH,), T["hyena.backbone.ln_f.weight"], T["hyena.backbone.ln_f.bias"])
    return F.linear(x, T["lm_head.weight"])[0]


def child(args):
    """One process of PyTorch: a pass to warm up (on a tenth of the tokens) and one that counts."""
    import torch
    from safetensors.torch import load_file
    torch.set_num_threads(args.threads)
    T = load_file(os.path.join(args.child, "model.safetensors"))
    ids = torch.from_numpy(np.loadtxt(os.path.join(args.child, "tokens.txt"), dtype=np.int64))
    with torch.inference_mode():
        forward(T, ids[:len(ids) // 10 + 1])
        start = time.perf_counter()
        logits = forward(T, ids)
        seconds = time.perf_counter() - start
    if args.logits:
        np.save(args.logits, logits.numpy())
    print(json.dumps(dict(seconds=seconds, rss=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)))


def run_torch(folder, threads, logits=None):
    command = [sys.executable, __file__, "--child", folder, "--threads", str(threads)]
    out = subprocess.run(command + (["--logits", logits] if logits else []), check=True, capture_output=True, text=True)
    return json.loads(out.stdout)


def run_lcsm(lcsm, folder, threads):
    """Seconds and peak bytes of a whole `lcsm score`."""
    start = time.perf_counter()
    process = subprocess.Popen([lcsm, "score", "--model", folder, os.path.join(folder, "in.fa"), "--threads", str(threads),
                                "--quiet", "--output", os.path.join(folder, "out.tsv")])
    _, status, usage = os.wait4(process.pid, 0)
    if status != 0:
        raise SystemExit("lcsm score failed")
    return dict(seconds=time.perf_counter() - start, rss=usage.ru_maxrss * 1024)


def write_tokens(folder, length):
    bases = np.random.default_rng(length).integers(0, 4, length)
    np.savetxt(os.path.join(folder, "tokens.txt"), bases + 7, fmt="%d")
    with open(os.path.join(folder, "in.fa"), "w") as f:
        f.write(">random\n" + "".join("ACGT"[b] for b in bases) + "\n")


def products(args):
    """GFLOP/s of the model's matrix products: the libraries' own on 4 096 tokens, lcsm's on 96 at a time."""
    # NumPy's library reads its number of threads once, when it is loaded.
    if os.environ.get("OPENBLAS_NUM_THREADS") != str(args.threads):
        os.environ["OPENBLAS_NUM_THREADS"] = str(args.threads)
        os.execv(sys.executable, [sys.executable] + sys.argv)
    import torch
    torch.set_num_threads(args.threads)
    rows = {}
    for turn in range(args.repeats):
        with tempfile.NamedTemporaryFile() as out:
            subprocess.run([args.lcsm, "bench", "prefill", "--shape", "hyenadna-large-1m", "--lengths", "1000", "--repeats", "1",
                            "--threads", str(args.threads), "--json", out.name], check=True, capture_output=True)
            for m in json.load(open(out.name))["matrices"]:
                rows.setdefault((m["in"], m["out"]), {}).setdefault("lcsm", []).append(m["gflops"])
        for (columns, width), row in rows.items():
            x, w = torch.randn(4096, columns), torch.randn(width, columns)
            a, b = x.numpy(), np.ascontiguousarray(w.numpy().T)
            for name, call in (("PyTorch", lambda: torch.nn.functional.linear(x, w)), ("NumPy", lambda: a @ b)):
                call()
                start, calls = time.perf_counter(), 0
                while time.perf_counter() - start < 0.5:
                    call()
                    calls += 1
                seconds = (time.perf_counter() - start) / calls
                row.setdefault(name, []).append(2e-9 * 4096 * columns * width / seconds)
    blas = next((line for line in torch.__config__.show().split("\n") if "Math Kernel" in line), "").strip(" -")
    print(f"PyTorch {torch.__version__} ({blas}), NumPy {np.__version__}, {args.threads} threads")
    for (columns, width), row in rows.items():
        for name, values in row.items():
            values.sort()
            print(f"{columns:5} x {width:5} {name:8} {' '.join(f'{v:.0f}' for v in values)} GFLOP/s, median {values[len(values) // 2]:.0f}")


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--lcsm", default="lcsm")
    ap.add_argument("--lengths", default="8192,131072")
    ap.add_argument("--threads", type=int, default=os.cpu_count())
    ap.add_argument("--repeats", type=int, default=3)
    ap.add_argument("--products", action="store_true", help="matrix products alone, with NumPy's library as well")
    ap.add_argument("--child", help=argparse.SUPPRESS)
    ap.add_argument("--logits", help=argparse.SUPPRESS)
    args = ap.parse_args()
    if args.child:
        return child(args)
    if args.products:
        return products(args)
    lengths = [int(n) for n in args.lengths.split(",")]
    with tempfile.TemporaryDirectory() as folder:
        write_model(folder, max(max(lengths), 1000) + 2)
        write_tokens(folder, 1000)
        theirs, ours = os.path.join(folder, "theirs.npy"), os.path.join(folder, "ours.npy")
        run_torch(folder, args.threads, theirs)
        subprocess.run([args.lcsm, "logits", "--model", folder, "--tokens", os.path.join(folder, "tokens.txt"), "--output",
                        ours, "--quiet"], check=True)
        a, b = np.load(theirs), np.load(ours)
        difference = np.abs(a - b).max()
        print(f"1000 tokens: logits up to {np.abs(a).max():.3f}, the two differ by at most {difference:.1e}")
        if not difference < 1e-3 * np.abs(a).max():
            raise SystemExit("the two do not compute the same")
        print(f"{'tokens':>9} {'':8} {'seconds (all runs)':34} {'median':>8} {'peak MiB':>9}")
        for length in lengths:
            write_tokens(folder, length)
            runs = {"PyTorch": [], "lcsm": []}
            for _ in range(args.repeats):
                runs["PyTorch"].append(run_torch(folder, args.threads))
                runs["lcsm"].append(run_lcsm(args.lcsm, folder, args.threads))
            middle = {}
            for name, results in runs.items():
                seconds = sorted(r["seconds"] for r in results)
                middle[name] = seconds[len(seconds) // 2], max(r["rss"] for r in results)
                print(f"{length:9} {name:8} {' '.join(f'{s:.2f}' for s in seconds):34} {middle[name][0]:8.2f} "
                      f"{middle[name][1] / 2**20:9.0f}", flush=True)
            (theirs_s, theirs_b), (ours_s, ours_b) = middle["PyTorch"], middle["lcsm"]
            print(f"{length:9} lcsm is {theirs_s / ours_s:.2f} times as fast and takes {ours_b / theirs_b:.2f} of the memory")


if __name__ == "__main__":
    main()
