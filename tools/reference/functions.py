"""What all families are made of, in float64, by definition. Rows are positions: x is (L, D)."""
import math

import numpy as np


def linear(x, w, prefix):
    y = x @ w[prefix + ".weight"].T
    return y + w[prefix + ".bias"] if prefix + ".bias" in w else y


def layer_norm(x, weight, bias, eps=1e-5):
    mean = x.mean(-1, keepdims=True)
    variance = ((x - mean) ** 2).mean(-1, keepdims=True)
    return (x - mean) / np.sqrt(variance + eps) * weight + bias


def rms_norm(x, weight, eps, eps_inside):
    square = (x ** 2).mean(-1, keepdims=True)
    return x / (np.sqrt(square + eps) if eps_inside else np.sqrt(square) + eps) * weight


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def silu(x):
    return x * sigmoid(x)


def gelu(x):
    return 0.5 * x * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))


def gelu_tanh(x):
    return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x ** 3)))


def convolve(h, u):
    """y[t] = sum over lags n <= t of h[n] * u[t - n]; h is (taps, D), u is (L, D)."""
    y = np.zeros_like(u)
    for lag in range(min(len(h), len(u))):
        y[lag:] += h[lag] * u[:len(u) - lag]
    return y


def short_fir(x, weight, bias=None):
    """weight is (D, 1, K) as a framework's depthwise convolution has it: tap K-1 meets the current input."""
    y = convolve(weight[:, 0, ::-1].T, x)
    return y if bias is None else y + bias


def rotate(x, base, scaling=1.0, size=None):
    """Rotary positions over the first `size` of (L, heads, width), in two halves."""
    size = size or x.shape[-1]
    half = size // 2
    angle = np.outer(np.arange(len(x)) / scaling, base ** (-np.arange(half) * 2.0 / size))[:, None, :]
    a, b = x[..., :half], x[..., half:size]
    turned = [a * np.cos(angle) - b * np.sin(angle), a * np.sin(angle) + b * np.cos(angle)]
    return np.concatenate(turned + [x[..., size:]], -1)


def attention(q, k, v, heads, kv_heads=None, rotary=None, window=None, slopes=None, soft_cap=None):
    """q is (L, heads * width), k and v (L, kv_heads * width). `window` positions back are seen besides
    one's own; `slopes` are ALiBi's; `soft_cap` bends the scaled scores before them."""
    length, kv_heads = len(q), kv_heads or heads
    q = q.reshape(length, heads, -1)
    k, v = k.reshape(length, kv_heads, -1), v.reshape(length, kv_heads, -1)
    if rotary:
        q, k = rotate(q, **rotary), rotate(k, **rotary)
    k, v = np.repeat(k, heads // kv_heads, 1), np.repeat(v, heads // kv_heads, 1)
    score = np.einsum("ihc,jhc->hij", q, k) / math.sqrt(q.shape[-1])
    if soft_cap:
        score = soft_cap * np.tanh(score / soft_cap)
    back = np.arange(length)[:, None] - np.arange(length)[None, :]
    if slopes is not None:
        score = score - np.asarray(slopes)[:, None, None] * back
    seen = back >= 0
    if window is not None:
        seen &= back <= window
    score = np.where(seen, score, -np.inf)
    weight = np.exp(score - score.max(-1, keepdims=True))
    weight /= weight.sum(-1, keepdims=True)
    return np.einsum("hij,jhc->ihc", weight, v).reshape(length, -1)
