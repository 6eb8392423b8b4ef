"""Levels: energy, RMS and the active speech level of ITU-T P.56."""

from __future__ import annotations

import math

import numpy as np

_SUMMED = 1 << 14  # samples that are summed in their own precision
_P56_BLOCK_S = 1e-3
_P56_MARGIN_DB = 15.9
_P56_PRECISION_DB = 1e-4
_P56_HANGOVER_S = 0.2
_P56_TIME_CONSTANT_S = 0.03


def energy(audio: np.ndarray) -> float:
    """Sum of the squares of ``audio`` [shape=(samples,)], to about six digits, and fast.

    The same digits on every x86-64 processor: `numpy.dot` would leave the order of the sum to the
    BLAS library, which chooses a kernel by the processor; `numpy.einsum` has one loop for all.
    """
    parts = (audio[start : start + _SUMMED] for start in range(0, len(audio), _SUMMED))
    return math.fsum(float(np.einsum("i,i", part, part)) for part in parts)


def rms(audio: np.ndarray) -> float:
    """Root mean square of ``audio`` [shape=(samples,)] in full-scale units; 0 if empty."""
    return math.sqrt(energy(audio) / len(audio)) if len(audio) else 0.0


def active_level(audio: np.ndarray, rate: int) -> tuple[float, float]:
    """Active speech level and activity factor by ITU-T P.56, method B.

    The envelope is two exponential smoothings of 0.03 s of the magnitude, here of its means over
    1 ms (P.56 asks for at least 694 values a second).  Speech is active where the envelope, or its
    value up to 0.2 s (the hangover) earlier, reaches a threshold that lies 15.9 dB below the RMS
    over the active samples.

    Parameters
    ----------
    audio : np.ndarray [shape=(samples,)]
    rate : int
        Samples per second.

    Returns
    -------
    level : float
        RMS over the active samples, in full-scale units; 0 for silence.
    activity : float
        Share of the samples that are active.
    """
    # Importing it takes longer than most jobs do, and few of them need it.
    from scipy.signal import lfilter

    total = energy(audio)
    if total <= 0:
        return 0.0, 0.0
    size = max(1, round(rate * _P56_BLOCK_S))
    whole = len(audio) // size * size
    magnitude = np.abs(audio)
    # Over a short axis `mean` takes several times as long.
    means = np.einsum("ij->i", magnitude[:whole].reshape(-1, size)) / np.float32(size)
    if whole < len(audio):
        means = np.append(means, magnitude[whole:].mean())
    # `math` instead of NumPy, whose functions choose their code by the processor.
    pole = math.exp(-size / (rate * _P56_TIME_CONSTANT_S))
    # Both smoothings in one pass.
    envelope = lfilter([(1.0 - pole) ** 2], [1.0, -2.0 * pole, pole**2], means.astype(np.float64))
    held = _running_maximum(envelope, int(_P56_HANGOVER_S * rate / size))
    # From low to high thresholds the active level rises more slowly than the threshold: their
    # distance falls through the margin once.
    low = 10.0 * math.log10(total / len(audio)) - _P56_MARGIN_DB
    high = 20.0 * math.log10(held.max() + 1e-300)
    # Only values between the two are still to be compared, which is faster than to sort all.
    between, above = held[held >= 10 ** (low / 20)], 0
    while len(between) and high - low > _P56_PRECISION_DB:
        middle = (low + high) / 2
        reached = between >= 10 ** (middle / 20)
        count = above + int(np.count_nonzero(reached))
        level_db = 10 * math.log10(total / max(count * size, 1))
        if level_db - middle > _P56_MARGIN_DB:
            low, between = middle, between[reached]
        else:
            high, between, above = middle, between[~reached], count
    active = min(max(1, above + len(between)) * size, len(audio))
    return math.sqrt(total / active), active / len(audio)


def _running_maximum(values: np.ndarray, length: int) -> np.ndarray:
    """The largest of each value and the `length` values before it."""
    from scipy.ndimage import maximum_filter1d

    size = length + 1
    return maximum_filter1d(values, size, mode="constant", cval=0.0, origin=(size - 1) // 2)
