"""The measures that training needs too, apart from the others, whose edits train nothing again.

Functions take ``clean`` and ``estimate`` [shape=(samples,)] of equal length; where they have no
value they raise `Undefined`.
"""

from __future__ import annotations

import numpy as np

_SILENCE = 1e-10  # mean power, -100 dBFS


class Undefined(ValueError):
    """The measure has no value for this input; the text says why."""


def power(signal: np.ndarray) -> float:
    """Mean square."""
    return float(np.mean(np.square(signal, dtype=np.float64)))


def need_signals(clean: np.ndarray, estimate: np.ndarray) -> None:
    """Raise `Undefined` unless both are finite and can be heard."""
    if len(clean) == 0:
        raise Undefined("no samples")
    if not (np.isfinite(clean).all() and np.isfinite(estimate).all()):
        raise Undefined("NaN or infinite samples")
    if power(clean) < _SILENCE:
        raise Undefined("silent reference")
    if power(estimate) < _SILENCE:
        raise Undefined("silent estimate")


def si_sdr(clean: np.ndarray, estimate: np.ndarray) -> float:
    """Scale-invariant signal-to-distortion ratio in dB.

    J. Le Roux, S. Wisdom, H. Erdogan, J. R. Hershey, "SDR - half-baked or well done?", ICASSP 2019.
    """
    need_signals(clean, estimate)
    clean = np.asarray(clean, np.float64)
    estimate = np.asarray(estimate, np.float64)
    target = np.sum(estimate * clean) / np.sum(clean * clean) * clean
    error = power(estimate - target)
    if error <= 1e-15 * power(estimate):
        raise Undefined("identical signals")
    return 10 * np.log10(max(power(target), 1e-30) / error)


def pesq(clean: np.ndarray, estimate: np.ndarray, rate: int, mode: str) -> float:
    """PESQ as MOS-LQO: ITU-T P.862.1 (``nb``) or P.862.2 (``wb``, 16 kHz only)."""
    from pesq import PesqError
    from pesq import pesq as run

    need_signals(clean, estimate)
    if rate not in (8000, 16000) or (mode == "wb" and rate != 16000):
        raise Undefined(f"PESQ {mode} is not defined at {rate} Hz")
    if len(clean) < rate / 4:
        raise Undefined("shorter than 0.25 s")
    try:
        value = float(run(rate, np.asarray(clean), np.asarray(estimate), mode))
    except (PesqError, ValueError) as error:
        raise Undefined(f"PESQ: {_text(error)}") from None
    if not 0.9 < value < 5:
        raise Undefined(f"PESQ gave {value:g}")
    return value


def _text(error: Exception) -> str:
    first = error.args[0] if error.args else repr(error)
    return first.decode() if isinstance(first, bytes) else str(first)
