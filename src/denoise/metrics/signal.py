"""Metrics of the waveform: MSE, SNR and segmental SNR."""

from __future__ import annotations

import numpy as np

from denoise.metrics.validity import Undefined, mean_square, need_signals


def mse(clean: np.ndarray, estimate: np.ndarray) -> float:
    """Mean squared error of the waveform, in squared full-scale units."""
    return mean_square(np.asarray(clean, np.float64) - estimate)


def snr(clean: np.ndarray, estimate: np.ndarray) -> float:
    """Signal-to-noise ratio in dB, the noise being ``estimate - clean``."""
    need_signals(clean, estimate)
    error = mse(clean, estimate)
    if error == 0:
        raise Undefined("identical signals")
    return 10 * np.log10(mean_square(clean) / error)


def frames_of(signal: np.ndarray, rate: int) -> np.ndarray:
    """Frames of 30 ms every 7.5 ms under a Hann window [shape=(frames, samples)]."""
    length = round(0.03 * rate)
    if len(signal) < length:
        raise Undefined("shorter than a frame of 30 ms")
    window = 0.5 * (1 - np.cos(2 * np.pi * np.arange(1, length + 1) / (length + 1)))
    views = np.lib.stride_tricks.sliding_window_view(np.asarray(signal, np.float64), length)
    return views[:: length // 4] * window


def segmental_snr(clean: np.ndarray, estimate: np.ndarray, rate: int) -> float:
    """Mean SNR in dB of frames of 30 ms, each limited to [-10, 35] dB.

    P. C. Loizou, "Speech Enhancement: Theory and Practice", 2nd ed., section 11.1.
    """
    need_signals(clean, estimate)
    reference = frames_of(clean, rate)
    error = reference - frames_of(estimate, rate)
    tiny = np.finfo(np.float64).eps
    ratio = np.sum(reference**2, 1) / (np.sum(error**2, 1) + tiny) + tiny
    return float(np.clip(10 * np.log10(ratio), -10, 35).mean())
