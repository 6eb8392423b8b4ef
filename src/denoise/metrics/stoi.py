"""Short-time objective intelligibility, both versions in one pass.

The values are those of ``pystoi``, which makes all of the resampling, the removal of silence and
the spectra twice for the two, and frame by frame.  Its resampler and its bands are used here.

C. H. Taal, R. C. Hendriks, R. Heusdens & J. Jensen, IEEE TASLP 19(7), 2011 (STOI); J. Jensen &
C. H. Taal, IEEE/ACM TASLP 24(11), 2016 (ESTOI).
"""

from __future__ import annotations

import functools

import numpy as np
import scipy.fft

from denoise.metrics.validity import Undefined, need_signals

_RATE, _FRAME, _HOP, _N_FFT = 10_000, 256, 128, 512
_BANDS, _LOWEST_HZ = 15, 150
_SEGMENT = 30
"""Frames over which envelopes are compared, 384 ms."""
_DYNAMIC_RANGE_DB, _LOWEST_SDR_DB = 40, -15
_SHORTEST_S = 0.4
_TINY = np.finfo(np.float64).eps


def stoi_and_estoi(clean: np.ndarray, estimate: np.ndarray, rate: int) -> tuple[float, float]:
    """Intelligibility of `estimate` [shape=(samples,)], and its extended version; about 0 to 1.

    Raises
    ------
    Undefined
        If there are less than 0.4 s, or of speech.
    """
    need_signals(clean, estimate)
    if len(clean) < _SHORTEST_S * rate:
        raise Undefined("shorter than 0.4 s")
    pair = [_resampled(signal, rate) for signal in (clean, estimate)]
    active = _without_silence(*(_frames(signal) for signal in pair))
    if active.shape[1] - _FRAME <= (_SEGMENT - 1) * _HOP:
        raise Undefined(f"less than {_SEGMENT * _HOP / _RATE:.1f} s of it is not silent")
    speech, found = (_segments(_envelopes(signal)) for signal in active)
    return _stoi(speech, found), _estoi(speech, found)


def _resampled(signal: np.ndarray, rate: int) -> np.ndarray:
    from pystoi.utils import resample_oct

    signal = np.asarray(signal, np.float64)
    return signal if rate == _RATE else np.asarray(resample_oct(signal, _RATE, rate))


@functools.cache
def _window() -> np.ndarray:
    return np.hanning(_FRAME + 2)[1:-1]


def _frames(signal: np.ndarray) -> np.ndarray:
    """Windowed frames [shape=(frames, 256)]; the last begins before the last 256 samples."""
    views = np.lib.stride_tricks.sliding_window_view(signal, _FRAME)[:-1:_HOP]
    return views * _window()


def _without_silence(clean: np.ndarray, estimate: np.ndarray) -> np.ndarray:
    """Both signals [shape=(2, samples)] put together again from the frames in which the clean one
    is within 40 dB of its loudest."""
    levels = 20 * np.log10(np.linalg.norm(clean, axis=1) + _TINY)
    kept = np.stack([clean, estimate])[:, levels.max() - levels < _DYNAMIC_RANGE_DB]
    halves = np.zeros((2, kept.shape[1] + 1, _HOP))
    halves[:, :-1] += kept[..., :_HOP]
    halves[:, 1:] += kept[..., _HOP:]
    return halves.reshape(2, -1)


def _envelopes(signal: np.ndarray) -> np.ndarray:
    """Magnitudes of third-octave bands [shape=(15, frames)]."""
    from pystoi.utils import thirdoct

    bands, _ = thirdoct(_RATE, _N_FFT, _BANDS, _LOWEST_HZ)
    spectra = scipy.fft.rfft(_frames(signal), _N_FFT, axis=1)
    return np.sqrt(np.einsum("bk,fk->bf", bands, spectra.real**2 + spectra.imag**2))


def _segments(envelopes: np.ndarray) -> np.ndarray:
    """Every 30 successive frames [shape=(segments, 15, 30)]."""
    views = np.lib.stride_tricks.sliding_window_view(envelopes, _SEGMENT, axis=1)
    return np.ascontiguousarray(views.transpose(1, 0, 2))


def _normalised(values: np.ndarray, axis: int) -> np.ndarray:
    """With mean 0 and norm 1 along an axis."""
    centred = values - values.mean(axis=axis, keepdims=True)
    return centred / (np.linalg.norm(centred, axis=axis, keepdims=True) + _TINY)


def _stoi(speech: np.ndarray, found: np.ndarray) -> float:
    # Equations 3 and 5 of Taal et al.
    levels = [np.linalg.norm(side, axis=2, keepdims=True) for side in (speech, found)]
    scaled = found * (levels[0] / (levels[1] + _TINY))
    clipped = np.minimum(scaled, speech * (1 + 10 ** (-_LOWEST_SDR_DB / 20)))
    correlations = np.sum(_normalised(clipped, 2) * _normalised(speech, 2), axis=2)
    return float(correlations.mean())


def _estoi(speech: np.ndarray, found: np.ndarray) -> float:
    # Equations 6 to 8 of Jensen & Taal.
    sides = [_normalised(_normalised(side, 2), 1) for side in (speech, found)]
    return float(np.sum(sides[0] * sides[1]) / _SEGMENT / len(speech))
