"""Long filters as the families parametrise them, (taps, D) in float64."""
import numpy as np

from functions import linear, rms_norm


def z_plane(poles, residues, taps):
    """Re sum_s R_s p_s^n; both (D, S, 1, 2), last axis real and imaginary part."""
    p = poles[:, :, 0, 0] + 1j * poles[:, :, 0, 1]
    r = residues[:, :, 0, 0] + 1j * residues[:, :, 0, 1]
    return np.stack([(r * p ** n).sum(-1).real for n in range(taps)])


def log_real(log_poles, residues, taps):
    """sum_s R_s exp(n logp_s); log_poles (D, S, 1), residues (D, S)."""
    return np.stack([(residues * np.exp(n * log_poles[:, :, 0])).sum(-1) for n in range(taps)])


def s4d(a, log_dt, b, c, taps, zoh):
    """2 Re sum_s C_s bbar_s abar_s^n; a, b and c are complex (D, S), log_dt is (D)."""
    dt = np.exp(log_dt)[:, None]
    if zoh:
        abar = np.exp(a * dt)
        bbar = b * (abar - 1) / a
    else:
        abar = (1 + a * dt / 2) / (1 - a * dt / 2)
        bbar = b * dt / (1 - a * dt / 2)
    return np.stack([2 * (c * bbar * abar ** n).sum(-1).real for n in range(taps)])


def shift_ssm(b, c, taps):
    """The FIR of a shift register of N cells: tap l = sum_j B[j] C[j + l]; b and c are (D, N)."""
    size = b.shape[1]
    h = np.zeros((taps, len(b)))
    for lag in range(min(size, taps)):
        h[lag] = (b[:, :size - lag] * c[:, lag:]).sum(-1)
    return h


def soft_threshold(kernel, limit):
    """Kernel (D, L)."""
    return (np.sign(kernel) * np.maximum(np.abs(kernel) - limit, 0)).T


def upsample(x, factor):
    """A framework's linear interpolation along the last axis, without aligned corners."""
    size = x.shape[-1]
    at = np.maximum((np.arange(size * factor) + 0.5) / factor - 0.5, 0)
    low = np.minimum(np.floor(at).astype(int), size - 1)
    high = np.minimum(low + 1, size - 1)
    return x[..., low] * (1 - (at - low)) + x[..., high] * (at - low)


def multiscale(kernels, multiplier, init_scale, norm, taps):
    """SGConv, kernels concatenated: each (D, n), norm (D)."""
    scales = len(kernels)
    parts = [upsample(k, 2 ** (max(0, i - 1) + init_scale)) * multiplier ** (scales - 1 - i)
             for i, k in enumerate(kernels)]
    whole = np.concatenate(parts, -1) / norm[:, None]
    whole = np.pad(whole, ((0, 0), (0, max(0, taps - whole.shape[1]))))
    return whole[:, :taps].T


def toeplitz_mlp(w, prefix, layers, gamma, taps, norm_eps):
    """TNN, position type 1: h[0] = rpe(0), h[n] = gamma^n rpe(n), with rpe a small network of n."""
    x = linear(np.arange(taps, dtype=np.float64)[:, None], w, prefix + ".pos_proj")
    for i in range(layers + 1):
        x = rms_norm(x, 1.0, norm_eps, False)
        x = linear(np.maximum(x, 0), w, f"{prefix}.layers.{i}.2" if i < layers else f"{prefix}.out.2")
    return x * gamma ** np.arange(taps)[:, None]
