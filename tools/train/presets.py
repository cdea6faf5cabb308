"""Every hyper-parameter of the shipped models, in one place.

A preset fixes a training run completely: data split, architecture, seed, batch
shapes per step and learning-rate schedule are functions of these numbers and of
the step index alone, which is what makes a stopped run resumable exactly.
"""

PRESETS = {
    "kjv-bytes": dict(
        data="kjv",
        style="safari",
        seed=1611,
        vocab=256,
        padded_vocab=256,
        tied=True,
        shift=0.0,
        l_max=8192,
        d_model=192,
        n_layer=5,
        d_inner=384,
        emb_dim=17,
        filter_order=32,
        w=3.0,
        # (length, rows) of an ordinary step and of a full-context step
        short=(1024, 4),
        long=(8192, 1),
        long_every=16,        # one step in so many is a full-context one ...
        long_every_decay=6,   # ... and more of them while the rate decays
        steps=2190,
        decay_start=1850,
        decay=[(2021, 0.591), (2190, 0.02)],
        warmup=60,
        lr_muon=0.02,
        lr_adam=0.003,
        lr_filter=0.002,
        weight_decay=0.05,
    ),
    "ecoli-hyenadna": dict(
        data="ecoli",
        style="hf",
        seed=536,
        vocab=12,
        padded_vocab=16,
        tied=False,
        shift=0.05,
        l_max=8194,           # 8192 bases and the two special tokens of the HyenaDNA convention
        d_model=128,
        n_layer=4,
        d_inner=384,
        emb_dim=17,
        filter_order=32,
        w=3.0,
        short=(1024, 8),
        long=(8192, 1),
        long_every=16,
        long_every_decay=4,
        steps=2140,
        decay_start=1800,
        decay=[(1908, 0.784), (2140, 0.02)],
        warmup=60,
        lr_muon=0.01,
        lr_adam=0.002,
        lr_filter=0.001,
        weight_decay=0.05,
    ),
}
