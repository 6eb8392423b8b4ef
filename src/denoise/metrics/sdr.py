"""The scale-invariant signal-to-distortion ratio."""

from __future__ import annotations

import numpy as np

from denoise.metrics.validity import Undefined, mean_square, need_signals


def si_sdr(clean: np.ndarray, estimate: np.ndarray) -> float:
    """Scale-invariant signal-to-distortion ratio in dB.

    J. Le Roux, S. Wisdom, H. Erdogan, J. R. Hershey, "SDR - half-baked or well done?", ICASSP 2019.
    By its formula the reference turned upside down would be perfect: an estimate whose correlation
    with the reference is below -0.5 has no value.
    """
    need_signals(clean, estimate)
    clean = np.asarray(clean, np.float64)
    estimate = np.asarray(estimate, np.float64)
    product, energies = np.sum(estimate * clean), (np.sum(clean * clean), np.sum(estimate**2))
    if product < -0.5 * np.sqrt(energies[0] * energies[1]):
        raise Undefined("inverted polarity")
    target = product / energies[0] * clean
    error = mean_square(estimate - target)
    if error <= 1e-15 * mean_square(estimate):
        raise Undefined("identical signals")
    return 10 * np.log10(max(mean_square(target), 1e-30) / error)
