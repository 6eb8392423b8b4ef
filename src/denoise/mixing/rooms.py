"""Reverberant speech and noise, each from a position of its own in the same room.

The room is given by impulse responses.  The clean target is, by default, the direct sound with the
early reflections, which help intelligibility (Bradley, Sato & Picard, JASA 113, 2003), without the
late ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import Field
from scipy import fft

from denoise import audio
from denoise.core.settings import Settings

_SPEECH_KNEE_HZ, _SPEECH_LOWEST_HZ = 500.0, 100.0
_DIRECT_S = (0.001, 0.0025)


class RoomSettings(Settings):
    """Reverberation: rooms of `data.rooms`, with speech and noise at different positions."""

    share: float = Field(0, ge=0, le=1)
    """Share of the mixtures that are reverberant."""
    target: Literal["early", "anechoic", "reverberant"] = "early"
    """The clean target: the direct sound with `early_ms` of reflections, the direct sound alone, or
    the reverberant speech. All are aligned with the direct sound."""
    early_ms: float = Field(50, gt=0, le=1000)
    """Reflections up to this delay after the direct sound, in ms, are early."""


NO_ROOM = {
    "room": "",
    "speech_response": "",
    "noise_response": "",
    "room_target": "",
    "early_ms": 0.0,
    "room_source": "",
    "speech_response_start": -1,
    "speech_response_samples": 0,
    "noise_response_start": -1,
    "noise_response_samples": 0,
}
"""The columns of a mixture table about the room, for a row without reverberation."""
ROOM_COLUMNS = tuple(NO_ROOM)


@dataclass(frozen=True)
class Response:
    """An impulse response of a room, scaled so that speech keeps its level.

    Parameters
    ----------
    samples : np.ndarray [shape=(samples,)], float32
        The impulse response.
    direct : int
        The sample of the direct sound in it.
    rate : int
        Samples per second.
    """

    samples: np.ndarray
    direct: int
    rate: int

    @property
    def tail(self) -> int:
        """Samples of reverberation after the direct sound."""
        return len(self.samples) - 1 - self.direct

    def reverberate(self, wave: np.ndarray, lead: int = 0) -> np.ndarray:
        """`wave` [shape=(lead + samples,)] after the room [shape=(samples,)].

        The direct sound keeps its place; of the `lead`, only the reverberation is returned.
        """
        return self._convolve(self.samples, wave, lead)

    def target(self, wave: np.ndarray, lead: int, kind: str, early_ms: float) -> np.ndarray:
        """The clean target of `wave`, as of `RoomSettings`."""
        if kind == "reverberant":
            return self.reverberate(wave, lead)
        if kind == "early":
            last = self.direct + round(early_ms * self.rate / 1000)
            return self._convolve(self.samples[: last + 1], wave, lead)
        before, after = (round(part * self.rate) for part in _DIRECT_S)
        near = self.samples[max(0, self.direct - before) : self.direct + after + 1]
        gain = np.copysign(_speech_gain(near, self.rate), self.samples[self.direct])
        return np.float32(gain) * wave[lead:]

    def _convolve(self, samples: np.ndarray, wave: np.ndarray, lead: int) -> np.ndarray:
        length = len(wave) + len(samples) - 1
        size = fft.next_fast_len(length, real=True)
        spectrum = fft.rfft(wave.astype(np.float32), size) * fft.rfft(samples, size)
        start = lead + self.direct
        heard = fft.irfft(spectrum, size)[start : start + len(wave) - lead]
        return heard.astype(np.float32, copy=False)


def response_of(recorded: np.ndarray, rate: int) -> Response:
    """A recorded response [shape=(samples,)], scaled so that speech keeps its level."""
    samples = np.asarray(recorded, np.float32)
    scaled = samples / np.float32(_speech_gain(samples, rate))
    return Response(scaled, audio.direct_sound(samples, rate), rate)


def _speech_gain(samples: np.ndarray, rate: int) -> float:
    """The factor by which a response [shape=(samples,)] changes the RMS of speech.

    Speech is assumed to have its long-term average spectrum: flat from 100 to 500 Hz, falling by 9
    dB per octave above (after Byrne et al., JASA 96, 1994).
    """
    size = fft.next_fast_len(max(len(samples), rate // 10), real=True)
    frequency = np.fft.rfftfreq(size, 1 / rate)
    weights = (frequency >= _SPEECH_LOWEST_HZ) / (1 + (frequency / _SPEECH_KNEE_HZ) ** 3)
    power = np.abs(fft.rfft(samples, size)) ** 2
    return float(np.sqrt((weights * power).sum() / weights.sum()))
