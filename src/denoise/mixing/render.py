"""Audio from the rows of a mixture table."""

from __future__ import annotations

import functools
import math

import numpy as np

from denoise.core.arrays import load_array

PEAK = 0.99
"""Mixtures are scaled down to this, so that none clips."""
_CROSS_FADE_S = 0.02


def load_packs(sources: list[str]) -> dict[str, np.ndarray]:
    """Memory-map each pack of prepared audio, given by its path."""
    # As plain arrays: each of the many slices of a memmap would cost several times as much.
    return {source: np.asarray(load_array(source)) for source in set(sources)}


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


def render(
    row: dict[str, object], packs: dict[str, np.ndarray], rate: int
) -> tuple[np.ndarray, np.ndarray]:
    """The noisy and the clean audio [shape=(samples,)] of one row of a mixture table."""
    scale = np.float32(row["clip_scale"])  # type: ignore[arg-type]
    clean, noise = sources(row, packs, rate)
    noisy = clean + np.float32(row["gain"]) * noise  # type: ignore[arg-type]
    return scale * noisy, scale * clean


def render_recording(
    row: dict[str, object], packs: dict[str, np.ndarray], rate: int
) -> tuple[np.ndarray, np.ndarray]:
    """The whole recording that a row's window is cut from, mixed as the window is.

    Returns
    -------
    tuple of np.ndarray [shape=(recording_samples,)]
        Noisy and clean audio.
    """
    before = int(row["speech_offset"])  # type: ignore[call-overload]
    # The noise of a pair lies beside its speech, another goes on in both directions.
    noise = "noise_start" if row["paired"] else "noise_offset"
    whole = {
        **row,
        "samples": row["recording_samples"],
        "speech_offset": 0,
        "speech_start": int(row["speech_start"]) - before,  # type: ignore[call-overload]
        noise: int(row[noise]) - before,  # type: ignore[call-overload]
    }
    return render(whole, packs, rate)


def sources(
    row: dict[str, object], packs: dict[str, np.ndarray], rate: int
) -> tuple[np.ndarray, np.ndarray]:
    """The speech and, as it was recorded, the noise [shape=(samples,)] of a row."""
    length, start = int(row["samples"]), int(row["speech_start"])  # type: ignore[call-overload]
    noise_start = int(row["noise_start"])  # type: ignore[call-overload]
    # The rest of a padded window is silence, and the pack goes on with another recording.
    there = min(length, int(row["recording_samples"]) - int(row["speech_offset"]))  # type: ignore[call-overload]
    clean = _padded(packs[str(row["speech_source"])][start : start + there], length)
    pack = packs[str(row["noise_source"])]
    if row["paired"]:
        return clean, _padded(pack[noise_start : noise_start + there], length) - clean
    whole = pack[noise_start : noise_start + int(row["noise_samples"])]  # type: ignore[call-overload]
    offset = int(row["noise_offset"])  # type: ignore[call-overload]
    return clean, loop(whole, offset, length, int(_CROSS_FADE_S * rate))


def _padded(wave: np.ndarray, length: int) -> np.ndarray:
    """`wave` [shape=(samples,)] with silence after it up to `length`."""
    return wave if len(wave) == length else np.pad(wave, (0, length - len(wave)))
