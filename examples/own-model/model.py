"""A long-convolution language model of one's own, in plain PyTorch."""
import torch
from torch import nn


class Mixer(nn.Module):
    """out(sigmoid(gate) * (kernel (causal convolution) v + skip * v))"""

    def __init__(self, width, length):
        super().__init__()
        self.project = nn.Linear(width, 2 * width)
        self.kernel = nn.Parameter(torch.randn(width, length) * torch.exp(-torch.arange(length) / 24) / 2)
        self.skip = nn.Parameter(torch.randn(width))
        self.out = nn.Linear(width, width)

    def forward(self, x):
        gate, v = self.project(x).chunk(2, -1)
        n = x.shape[1]
        spectrum = torch.fft.rfft(v, 2 * n, dim=1) * torch.fft.rfft(self.kernel.T[:n], 2 * n, dim=0)
        y = torch.fft.irfft(spectrum, 2 * n, dim=1)[:, :n] + self.skip * v
        return self.out(torch.sigmoid(gate) * y)


class OwnModel(nn.Module):
    def __init__(self, vocab=256, width=16, length=256, blocks=2):
        super().__init__()
        self.vocab, self.width, self.length = vocab, width, length
        self.embed = nn.Embedding(vocab, width)
        self.blocks = nn.ModuleList(nn.ModuleDict({
            "norm1": nn.LayerNorm(width), "mixer": Mixer(width, length), "norm2": nn.LayerNorm(width),
            "up": nn.Linear(width, 2 * width), "down": nn.Linear(2 * width, width)}) for _ in range(blocks))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, vocab, bias=False)

    def forward(self, tokens):
        x = self.embed(tokens)
        for b in self.blocks:
            x = x + b["mixer"](b["norm1"](x))
            x = x + b["down"](nn.functional.gelu(b["up"](b["norm2"](x))))
        return self.head(self.norm(x))
