"""The scale-invariant signal-to-distortion ratio."""

from __future__ import annotations

import numpy as np

from denoise.metrics.validity import Undefined, mean_square, need_signals


def si_sdr(clean: np.ndarray, estimate: np.ndarray) -> float:
    """Scale-invariant signal-to-distortion ratio in dB.

    J. Le Roux, S. Wisdom, H. Erdogan, J. R. Hershey, "SDR - half-baked or well done?", ICASSP 2019.
    """
    need_signals(clean, estimate)
    clean = np.asarray(clean, np.float64)
    estimate = np.asarray(estimate, np.float64)
    target = np.sum(estimate * clean) / np.sum(clean * clean) * clean
    error = mean_square(estimate - target)
    if error <= 1e-15 * mean_square(estimate):
        raise Undefined("identical signals")
    return 10 * np.log10(max(mean_square(target), 1e-30) / error)
