"""The composite measures of Hu & Loizou and their components."""

from __future__ import annotations

import functools

import numpy as np

from denoise.metrics.signal import frames_of, segmental_snr
from denoise.metrics.validity import need_signals


def log_likelihood_ratio(clean: np.ndarray, estimate: np.ndarray, rate: int) -> float:
    """Log-likelihood ratio of linear predictors, mean of the lowest 95 % of the frames.

    Y. Hu & P. C. Loizou, IEEE TASLP 16(1), 2008; order 10 below 10 kHz, else 16.
    """
    order = 10 if rate < 10_000 else 16
    own, correlation = _predictors(frames_of(clean, rate), order)
    other, _ = _predictors(frames_of(estimate, rate), order)
    tiny = np.finfo(np.float64).eps
    left = [np.maximum(_residual_energy(filters, correlation), tiny) for filters in (other, own)]
    return _lowest_mean(np.log(left[0] / left[1]))


def _residual_energy(filters: np.ndarray, correlation: np.ndarray) -> np.ndarray:
    """Energy of frames with these autocorrelations after filtering [shape=(frames,)].

    This is the quadratic form of the Toeplitz matrix of the autocorrelation, computed by
    diagonals.
    """
    energy = correlation[:, 0] * np.sum(filters**2, axis=1)
    for lag in range(1, filters.shape[1]):
        energy += 2 * correlation[:, lag] * np.sum(filters[:, lag:] * filters[:, :-lag], axis=1)
    return energy


def _predictors(frames: np.ndarray, order: int) -> tuple[np.ndarray, np.ndarray]:
    """Prediction error filters and autocorrelations, both [shape=(frames, order + 1)].

    By the recursion of Levinson and Durbin, over all frames at once.
    """
    import scipy.fft  # slow to import

    spectra = scipy.fft.rfft(frames, 2 * frames.shape[1])
    correlation = scipy.fft.irfft(spectra.real**2 + spectra.imag**2)[:, : order + 1]
    # White noise far below 16 bits keeps the equations of a silent frame solvable.
    correlation[:, 0] += 1e-10
    filters = np.zeros_like(correlation)
    filters[:, 0] = 1
    error = correlation[:, 0].copy()
    for step in range(1, order + 1):
        reflection = -np.sum(filters[:, :step] * correlation[:, step:0:-1], axis=1) / error
        filters[:, 1 : step + 1] += reflection[:, None] * filters[:, step - 1 :: -1][:, :step]
        error *= 1 - reflection**2
    return filters, correlation


def _lowest_mean(distances: np.ndarray) -> float:
    kept = np.sort(distances)[: max(1, round(0.95 * len(distances)))]
    return float(kept.mean())


# Centre frequencies and bandwidths in Hz of the 25 critical bands of the measure.
_CENTRES = np.array(
    [50, 120, 190, 260, 330, 400, 470, 540, 617.372, 703.378, 798.717, 904.128, 1020.38, 1148.30,
     1288.72, 1442.54, 1610.70, 1794.16, 1993.93, 2211.08, 2446.71, 2701.97, 2978.04, 3276.17,
     3597.63]
)  # fmt: skip
_WIDTHS = np.array(
    [70, 70, 70, 70, 70, 70, 70, 77.3724, 86.0056, 95.3398, 105.411, 116.256, 127.914, 140.423,
     153.823, 168.154, 183.457, 199.776, 217.153, 235.631, 255.255, 276.072, 298.126, 321.465,
     346.136]
)  # fmt: skip


def weighted_spectral_slope(clean: np.ndarray, estimate: np.ndarray, rate: int) -> float:
    """Weighted spectral slope distance, mean of the lowest 95 % of the frames.

    D. H. Klatt, ICASSP 1982, with the constants of Loizou's implementation.
    """
    first, second = (_band_levels(frames_of(signal, rate), rate) for signal in (clean, estimate))
    slopes = [np.diff(levels, axis=1) for levels in (first, second)]
    weights = [
        _slope_weights(levels, slope) for levels, slope in zip((first, second), slopes, strict=True)
    ]
    weight = (weights[0] + weights[1]) / 2
    distances = np.sum(weight * (slopes[0] - slopes[1]) ** 2, 1) / np.sum(weight, 1)
    return _lowest_mean(distances)


def _band_levels(frames: np.ndarray, rate: int) -> np.ndarray:
    """Levels in dB of the critical bands [shape=(frames, 25)]."""
    import scipy.fft

    size = 2 ** int(np.ceil(np.log2(2 * frames.shape[1])))
    spectra = scipy.fft.rfft(frames, size)[:, :-1]
    mean_square = spectra.real**2 + spectra.imag**2
    bands = np.einsum("fk,bk->fb", mean_square, _band_filters(rate, size))
    return 10 * np.log10(np.maximum(bands, 1e-10))


@functools.lru_cache(4)
def _band_filters(rate: int, size: int) -> np.ndarray:
    """Weights of the bins of a transform of `size` in the critical bands [shape=(25, size / 2)]."""
    bins = np.arange(size // 2)
    centre = np.floor(_CENTRES / (rate / 2) * (size // 2))[:, None]
    width = (_WIDTHS / (rate / 2) * (size // 2))[:, None]
    factor = np.log(_WIDTHS.min() / _WIDTHS)[:, None]
    filters = np.exp(-11 * ((bins - centre) / width) ** 2 + factor)
    filters[filters <= np.exp(-30 / (2 * 2.303))] = 0
    return filters


def _slope_weights(levels: np.ndarray, slopes: np.ndarray) -> np.ndarray:
    """Klatt's weights [shape=(frames, 24)]: near the spectral maximum and near local peaks."""
    bands = slopes.shape[1]
    # Along a rising slope the peak lies above, along a falling one below: where the slopes from
    # this one up stop to rise, and where those from this one down stop to fall.
    above = np.full((len(slopes), bands + 1), bands)
    below = np.full((len(slopes), bands + 1), -1)
    for band in range(bands):
        down = bands - 1 - band
        above[:, down] = np.where(slopes[:, down] > 0, above[:, down + 1], down)
        below[:, band] = np.where(slopes[:, band] > 0, band, below[:, band - 1])
    places = np.where(slopes > 0, above[:, :-1] - 1, below[:, :-1] + 1)
    peaks = np.take_along_axis(levels, places, axis=1)
    largest = levels.max(axis=1, keepdims=True)
    at = levels[:, :-1]
    return 20 / (20 + largest - at) * (1 / (1 + peaks - at))


def composite(
    clean: np.ndarray, estimate: np.ndarray, rate: int, pesq_score: float
) -> dict[str, float]:
    """CSIG, CBAK and COVL, the composite measures of Hu & Loizou (IEEE TASLP 16(1), 2008).

    `pesq_score` is wide-band at 16 kHz, as is the custom, and narrow-band at 8 kHz, as in the
    paper.  Each is limited to [1, 5].
    """
    need_signals(clean, estimate)
    llr = log_likelihood_ratio(clean, estimate, rate)
    wss = weighted_spectral_slope(clean, estimate, rate)
    seg = segmental_snr(clean, estimate, rate)
    scores = {
        "csig": 3.093 - 1.029 * llr + 0.603 * pesq_score - 0.009 * wss,
        "cbak": 1.634 + 0.478 * pesq_score - 0.007 * wss + 0.063 * seg,
        "covl": 1.594 + 0.805 * pesq_score - 0.512 * llr - 0.007 * wss,
    }
    return {name: float(np.clip(value, 1, 5)) for name, value in scores.items()}
