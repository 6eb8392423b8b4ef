"""Impulse responses of rooms: where the direct sound is, and how much of them is worth keeping."""

from __future__ import annotations

import numpy as np

_ONSET_DB = -20.0
_RISE_S = 0.0025
_BEFORE_S = 0.002
_DECAY_DB = -60.0


def direct_sound(response: np.ndarray, rate: int) -> int:
    """The sample at which the direct sound of an impulse response is strongest.

    It begins where the response first comes within 20 dB of its largest value (ISO 3382-1:2009,
    A.3.4), which may be a reflection, and is strongest at most 2.5 ms later.

    Parameters
    ----------
    response : np.ndarray [shape=(samples,)]
    rate : int
        Samples per second.

    Examples
    --------
    >>> direct_sound(np.array([0, 0, 0.5, 0, 0, 0.1]), 1000)
    2
    """
    onset = _onset(response)
    return onset + int(np.argmax(np.abs(response[onset : onset + 1 + round(_RISE_S * rate)])))


def _onset(response: np.ndarray) -> int:
    strength = np.abs(response)
    return int(np.argmax(strength >= 10 ** (_ONSET_DB / 20) * strength.max()))


def trim_response(response: np.ndarray, rate: int) -> np.ndarray:
    """The part of an impulse response [shape=(samples,)] that can be heard.

    It begins 2 ms before the onset of the direct sound, which therefore stays the same, and ends
    where what is left of its energy is 60 dB below all of it (backward integration: Schroeder, JASA
    37, 1965).
    """
    start = max(0, _onset(response) - round(_BEFORE_S * rate))
    left = np.cumsum(np.square(response[::-1], dtype=float))[::-1]
    heard = np.flatnonzero(left > 10 ** (_DECAY_DB / 10) * left[start])
    return response[start : heard[-1] + 1]
