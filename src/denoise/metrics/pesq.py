"""PESQ (ITU-T P.862), by the package ``pesq``."""

from __future__ import annotations

import numpy as np

from denoise.metrics.validity import Undefined, need_signals


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
