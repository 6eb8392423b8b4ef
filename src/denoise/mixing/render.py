"""Audio from the rows of a mixture table."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from denoise.core.arrays import load_array
from denoise.mixing.degradations import degrade, from_text
from denoise.mixing.rooms import Response, response_of

if TYPE_CHECKING:
    import pandas as pd

PEAK = 0.99
"""Mixtures are scaled down to this, so that none clips."""
_CROSS_FADE_S = 0.02
_MOST_RESPONSES = 2000
"""Number of responses kept in memory: 128 MB for responses of one second at 16 kHz."""


class Packs(dict[str, np.ndarray]):
    """Packs of prepared audio by their paths, memory-mapped.

    Parameters
    ----------
    sources
        The paths.
    """

    def __init__(self, sources: Iterable[str]) -> None:
        # As plain arrays: each of the many slices of a memmap would cost several times as much.
        super().__init__({source: np.asarray(load_array(source)) for source in set(sources)})
        self._responses: dict[tuple[str, int], Response] = {}

    def response(self, source: str, start: int, samples: int, rate: int) -> Response:
        """The impulse response at a place in a pack."""
        place = source, start
        if place not in self._responses:
            if len(self._responses) >= _MOST_RESPONSES:
                self._responses.clear()
            self._responses[place] = response_of(self[source][start : start + samples], rate)
        return self._responses[place]


def packs_of(table: pd.DataFrame) -> Packs:
    """The packs that a mixture table refers to."""
    named = [table[column] for column in SOURCES if column in table]
    return Packs({source for column in named for source in column.unique()} - {""})


SOURCES = ("speech_source", "noise_source", "room_source")
"""Columns of a mixture table that contain the paths of packs."""
Row = Mapping[str, Any]


def loop(noise: np.ndarray, offset: int, length: int, fade: int) -> np.ndarray:
    """`length` samples of `noise` from `offset`, repeated with cross-fades where it ends.

    Parameters
    ----------
    noise : np.ndarray [shape=(samples,)]
    offset, length, fade : int
        In samples. The cross-fade has equal power (the ends are uncorrelated) and is shortened to
        a quarter of a shorter noise.
    """
    if 0 <= offset <= len(noise) - length:
        return np.asarray(noise[offset : offset + length])
    fade = min(fade, len(noise) // 4)
    period = np.array(noise[: len(noise) - fade], dtype=np.float32)
    rising, falling = _cross_fade(fade)
    period[:fade] = rising * period[:fade] + falling * noise[len(noise) - fade :]
    return np.take(period, np.arange(offset, offset + length), mode="wrap")


@functools.lru_cache(8)
def _cross_fade(length: int) -> tuple[np.ndarray, np.ndarray]:
    """A rising and a falling quarter of a sine [shape=(length,) each].

    NumPy's sine of float32 depends on the processor in its last digit; the last digit of `math`'s,
    which may too, is rounded away.
    """
    angles = [(place + 0.5) / length * (math.pi / 2) for place in range(length)]
    return (
        np.array([math.sin(angle) for angle in angles], np.float32),
        np.array([math.cos(angle) for angle in angles], np.float32),
    )


def render(row: Row, packs: dict[str, np.ndarray], rate: int) -> tuple[np.ndarray, np.ndarray]:
    """The noisy and the clean audio [shape=(samples,)] of one row of a mixture table."""
    scale = np.float32(row["clip_scale"])
    speech, clean, noise = microphone_signals(row, packs, rate)
    noisy = speech + np.float32(row["gain"]) * noise
    return degrade(scale * noisy, scale * clean, rate, from_text(row.get("degradations") or ""))


def microphone_signals(
    row: Row, packs: dict[str, np.ndarray], rate: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The speech and noise of a row at the microphone, and the clean target of the speech
    [shape=(samples,) each]: reverberant speech, target, reverberant noise before its gain."""
    if not row.get("room"):
        speech, noise = sources(row, packs, rate)
        return speech, speech, noise
    of_speech, of_noise = responses(row, packs, rate)
    lead = min(of_speech.tail, row["speech_offset"])
    dry = speech_of(with_lead(row, lead), packs)
    target = of_speech.target(dry, lead, row["room_target"], row["early_ms"])
    noise = noise_of(with_lead(row, of_noise.tail), packs, rate)
    return of_speech.reverberate(dry, lead), target, of_noise.reverberate(noise, of_noise.tail)


def responses(row: Row, packs: dict[str, np.ndarray], rate: int) -> tuple[Response, Response]:
    """The impulse responses of speech and of noise of a reverberant row."""
    assert isinstance(packs, Packs)
    places = (
        (row[f"{side}_response_start"], row[f"{side}_response_samples"])
        for side in ("speech", "noise")
    )
    first, second = (
        packs.response(row["room_source"], int(start), int(samples), rate)
        for start, samples in places
    )
    return first, second


def with_lead(row: Row, lead: int) -> dict[str, Any]:
    """The row of a window, extended by `lead` samples at the start."""
    # The noise of a pair lies beside its speech, another goes on in both directions.
    noise = "noise_start" if row["paired"] else "noise_offset"
    return {
        **row,
        "samples": row["samples"] + lead,
        "speech_offset": row["speech_offset"] - lead,
        "speech_start": row["speech_start"] - lead,
        noise: row[noise] - lead,
    }


def render_recording(
    row: Row, packs: dict[str, np.ndarray], rate: int
) -> tuple[np.ndarray, np.ndarray]:
    """The whole recording of a row's window, mixed like the window.

    Returns
    -------
    tuple of np.ndarray [shape=(recording_samples,)]
        Noisy and clean audio.
    """
    return render(whole_recording(row), packs, rate)


def whole_recording(row: Row) -> dict[str, Any]:
    """The row of the whole recording of a row's window."""
    return {**with_lead(row, row["speech_offset"]), "samples": row["recording_samples"]}


def sources(row: Row, packs: dict[str, np.ndarray], rate: int) -> tuple[np.ndarray, np.ndarray]:
    """The recorded speech and noise [shape=(samples,)] of a row."""
    return speech_of(row, packs), noise_of(row, packs, rate)


def speech_of(row: Row, packs: dict[str, np.ndarray]) -> np.ndarray:
    """The recorded speech [shape=(samples,)] of a row."""
    return _recorded(packs[row["speech_source"]], int(row["speech_start"]), row)


def noise_of(row: Row, packs: dict[str, np.ndarray], rate: int) -> np.ndarray:
    """The recorded noise [shape=(samples,)] of a row."""
    pack, start = packs[row["noise_source"]], int(row["noise_start"])
    if row["paired"]:
        return _recorded(pack, start, row) - speech_of(row, packs)
    recording = pack[start : start + int(row["noise_samples"])]
    fade = int(_CROSS_FADE_S * rate)
    return loop(recording, int(row["noise_offset"]), int(row["samples"]), fade)


def _recorded(pack: np.ndarray, start: int, row: Row) -> np.ndarray:
    """A window of a pack from `start`, padded with silence after the end of the recording."""
    length = int(row["samples"])
    # The rest of a padded window is silence, and the pack goes on with another recording.
    there = min(length, int(row["recording_samples"]) - int(row["speech_offset"]))
    wave = pack[start : start + there]
    return wave if len(wave) == length else np.pad(wave, (0, length - len(wave)))
