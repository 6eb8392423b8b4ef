"""Gains and realised SNRs of drawn mixtures, by measuring their audio.

The SNR is the active level of the speech recording (ITU-T P.56) over the RMS of the noise in the
mixture, so that pauses and silent windows do not distort it.  Both are measured at the microphone,
after the room if there is one, and before any degradation.
"""

from __future__ import annotations

import functools
import math

import numpy as np
import pandas as pd

from denoise import audio
from denoise.core.pools import ordered_map
from denoise.core.settings import item_seed
from denoise.core.tables import records
from denoise.mixing.render import (
    PEAK,
    Packs,
    microphone_signals,
    packs_of,
    responses,
    speech_of,
    whole_recording,
)

_FAINT_NOISE = 10 ** (-30 / 20)
_NOISE_DRAWS = 16
_CHUNK = 256
_LONGEST_S = 60.0


def set_levels(table: pd.DataFrame, rate: int, seed: int, *, processes: int = 1) -> pd.DataFrame:
    """Set gain, clip scale and realised SNR in dB of each drawn row, by measuring its audio.

    A noise window much fainter than its recording (a gap between two barks) is drawn again where
    an SNR is asked for, since it would be amplified beyond sense.
    """
    parts = [table[start : start + _CHUNK] for start in range(0, len(table), _CHUNK)]
    work = functools.partial(_levels_of_chunk, rate=rate, seed=seed)
    found = np.concatenate(list(ordered_map(work, parts, processes=processes, label="mix")))
    offsets, gains, scales, ratios, levels = found.T
    table = table.assign(
        noise_offset=offsets.astype(int),
        gain=gains,
        clip_scale=scales,
        snr=ratios,
        speech_level=levels,
    )
    order = [
        "id", "split", "recording", "speaker", "sex", "speech_offset", "noise_id", "noise_type",
        "noise_offset", "snr_target", "snr", "gain", "clip_scale", "speech_level", "samples",
        "recording_samples", "paired", "speech_source", "speech_start", "noise_source",
        "noise_start", "noise_samples", "room", "speech_response", "noise_response", "room_target",
        "early_ms", "room_source", "speech_response_start", "speech_response_samples",
        "noise_response_start", "noise_response_samples", "degradations",
    ]  # fmt: skip
    return table[[name for name in order if name in table]].reset_index(drop=True)


def _levels_of_chunk(chunk: pd.DataFrame, rate: int, seed: int) -> np.ndarray:
    """Offset of the noise, gain, clip scale, SNR and level of the speech of each row
    [shape=(rows, 5)]."""
    packs = packs_of(chunk)
    return np.array([_levels(row, packs, rate, seed) for row in records(chunk)])


def _levels(
    row: dict, packs: Packs, rate: int, seed: int
) -> tuple[int, float, float, float, float]:
    speech, _, noise = microphone_signals(row, packs, rate)
    level, loudness = _speech_level(row, packs, rate), audio.rms(noise)
    if row["paired"]:
        gain = 1.0
    elif not math.isnan(row["snr_target"]):
        rng = None
        for _ in range(_NOISE_DRAWS):
            if loudness > _FAINT_NOISE * row["noise_level"]:
                break
            rng = rng or np.random.default_rng(item_seed(seed, "redraw", row["id"]))
            row["noise_offset"] = int(rng.integers(row["noise_offsets"])) * row["noise_stride"]
            _, _, noise = microphone_signals(row, packs, rate)
            loudness = audio.rms(noise)
        gain = level / max(loudness, 1e-9) * 10 ** (-row["snr_target"] / 20)
    else:
        gain = row["gain_target"]
    noisy = np.float32(gain) * noise
    noisy += speech
    peak = float(max(noisy.max(), -noisy.min()))
    scale = min(1.0, PEAK / peak) if peak > 0 else 1.0
    snr = 20 * math.log10(level / (gain * loudness)) if gain * loudness > 0 else math.inf
    return row["noise_offset"], gain, scale, snr, level


def _speech_level(row: dict, packs: Packs, rate: int) -> float:
    """Active level at the microphone of the recording that contains the speech.

    For a long recording, the effect of the room is measured on an excerpt that starts with the
    window.
    """
    if not row.get("room"):
        return row["speech_level"]
    of_speech, _ = responses(row, packs, rate)
    if row["recording_samples"] <= _LONGEST_S * rate:
        speech = of_speech.reverberate(speech_of(whole_recording(row), packs))
        return audio.active_level(speech, rate)[0]
    part = max(row["samples"], int(_LONGEST_S * rate))
    dry = speech_of({**row, "samples": part}, packs)
    return row["speech_level"] * audio.rms(of_speech.reverberate(dry)) / max(audio.rms(dry), 1e-9)
