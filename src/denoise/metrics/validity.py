"""When a metric has a value at all.

Functions take ``clean`` and ``estimate`` [shape=(samples,)] of equal length; where they have no
value they raise `Undefined`.
"""

from __future__ import annotations

import numpy as np

_SILENCE = 1e-10  # mean power, -100 dBFS


class Undefined(ValueError):
    """The metric has no value for this input; the text says why."""


def mean_square(signal: np.ndarray) -> float:
    """Mean square."""
    return float(np.mean(np.square(signal, dtype=np.float64)))


def need_signals(clean: np.ndarray, estimate: np.ndarray) -> None:
    """Raise `Undefined` unless both are finite and hold something to be heard."""
    if len(clean) == 0:
        raise Undefined("no samples")
    if not (np.isfinite(clean).all() and np.isfinite(estimate).all()):
        raise Undefined("NaN or infinite samples")
    for name, signal in (("reference", clean), ("estimate", estimate)):
        # Of a constant nothing is heard, and metrics that take the offset away divide by nothing.
        if np.var(signal, dtype=np.float64) < _SILENCE:
            constant = mean_square(signal) >= _SILENCE
            raise Undefined(f"{'constant' if constant else 'silent'} {name}")
