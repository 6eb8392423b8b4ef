"""Short-time objective intelligibility, both versions, by ``pystoi``.

C. H. Taal, R. C. Hendriks, R. Heusdens & J. Jensen, IEEE TASLP 19(7), 2011 (STOI); J. Jensen &
C. H. Taal, IEEE/ACM TASLP 24(11), 2016 (ESTOI).
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator

import numpy as np

from denoise.metrics.validity import Undefined, need_signals

_SHORTEST_S = 0.4
_TOO_FEW = "Not enough STFT frames"


def stoi_and_estoi(clean: np.ndarray, estimate: np.ndarray, rate: int) -> tuple[float, float]:
    """Intelligibility of `estimate` [shape=(samples,)], and its extended version; about 0 to 1.

    Raises
    ------
    Undefined
        If there are less than 0.4 s, or of speech.
    """
    from pystoi.stoi import FS, stoi
    from pystoi.utils import resample_oct

    need_signals(clean, estimate)
    if len(clean) < _SHORTEST_S * rate:
        raise Undefined(f"shorter than {_SHORTEST_S} s")
    pair = [np.asarray(signal, np.float64) for signal in (clean, estimate)]
    if rate != FS:  # once for both versions, of whose time it is half
        pair = [resample_oct(signal, FS, rate) for signal in pair]
    with _given_random_numbers(), warnings.catch_warnings():
        warnings.filterwarnings("error", _TOO_FEW)
        try:
            return stoi(*pair, FS), stoi(*pair, FS, extended=True)
        except RuntimeWarning:
            raise Undefined(f"less than {_SHORTEST_S} s of it is not silent") from None


@contextlib.contextmanager
def _given_random_numbers() -> Iterator[None]:
    """The same of NumPy's global random numbers every time.

    ESTOI adds some at the level of rounding, which alone decide where the estimate is digital zero.
    """
    before = np.random.get_state()  # noqa: NPY002
    np.random.seed(0)  # noqa: NPY002
    try:
        yield
    finally:
        np.random.set_state(before)  # noqa: NPY002
