"""The scale-invariant signal-to-distortion ratio."""

from __future__ import annotations

import functools

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


SPEECH_FROM_HZ = 80.0
"""Speech has next to nothing below; rumble and hum of recordings are there (the deepest voices
begin at about 80 Hz: Titze, "Principles of Voice Production", 1994, ch. 7)."""
_ORDER = 4
_UNLIKE_DB = 3.0


def high_passed(wave: np.ndarray, rate: int, corner_hz: float) -> np.ndarray:
    """A signal without what is below a frequency, and no delay.

    A Butterworth filter of fourth order, forwards and backwards: 6 dB less at the corner, 48 dB an
    octave below it.

    Parameters
    ----------
    wave : np.ndarray [shape=(samples,)]
    rate
        In Hz.
    corner_hz
        Between 0 and half the rate.
    """
    from scipy.signal import sosfiltfilt  # slow to import

    sections = _high_pass(rate, corner_hz)
    # Its response at 80 Hz has died away after a tenth of a second.
    padding = min(len(wave) - 1, round(10 * rate / corner_hz))
    return np.asarray(sosfiltfilt(sections, np.asarray(wave, np.float64), padlen=padding))


@functools.lru_cache(maxsize=8)
def _high_pass(rate: int, corner_hz: float) -> np.ndarray:
    from scipy.signal import butter

    return np.asarray(butter(_ORDER, corner_hz, "highpass", fs=rate, output="sos"))


def si_sdr_above(
    clean: np.ndarray, estimate: np.ndarray, rate: int, corner_hz: float = SPEECH_FROM_HZ
) -> float:
    """`si_sdr` of what both have above a frequency: that of speech, whatever rumbles below it.

    Over all frequencies a recording's rumble, which nobody hears, can decide: what a model takes
    of it from the clean reference too counts as distortion.

    Parameters
    ----------
    clean, estimate : np.ndarray [shape=(samples,)]
    rate
        In Hz.
    corner_hz
        Of the filter, `high_passed`.

    Raises
    ------
    Undefined
        As `si_sdr`, also where nothing is left above the frequency.
    """
    need_signals(clean, estimate)
    return si_sdr(*(high_passed(wave, rate, corner_hz) for wave in (clean, estimate)))


def unlike(everywhere_db: float, above_db: float) -> bool:
    """Whether `si_sdr` and `si_sdr_above` differ by 3 dB or more."""
    return abs(everywhere_db - above_db) >= _UNLIKE_DB
