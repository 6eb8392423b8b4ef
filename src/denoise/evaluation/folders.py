"""Scoring any pair of folders of files."""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from denoise import audio
from denoise.audio import audio_files
from denoise.core.errors import UserError
from denoise.core.pools import ordered_map
from denoise.core.text import utf8
from denoise.evaluation.scoring import CHUNK
from denoise.metrics.registry import METRICS, score_utterance
from denoise.metrics.sdr import SPEECH_FROM_HZ, si_sdr_above
from denoise.metrics.validity import Undefined

log = logging.getLogger(__name__)

_LOWEST_RATE = 4000
"""Below, nothing of speech is left to be scored."""


def score_folders(
    clean: Path,
    enhanced: Path,
    noisy: Path | None = None,
    *,
    processes: int = 1,
    high_pass_hz: float = SPEECH_FROM_HZ,
) -> pd.DataFrame:
    """Score the files of `enhanced` against those of the same name in `clean`.

    Files are compared by their path without suffix, at 16 kHz if the clean file's rate is at least
    that, else at 8 kHz.  Every channel is compared with the same one of the reference, or with the
    reference's only one.  With `noisy`, its files are scored too; only names that stand in all
    folders are, so that means are over the same files.

    SI-SDR is taken over all frequencies, and above `high_pass_hz` (`metrics.sdr.si_sdr_above`) in
    the column `column_above`.

    Returns
    -------
    pd.DataFrame
        A row for each channel of each file, with the columns ``file``, ``channel`` (from 1),
        ``method`` (``enhanced`` or ``noisy``), the metrics and ``status``.

    Raises
    ------
    UserError
        If a folder is missing or empty, or no name stands in all of them.
    """
    folders = {"clean": clean, "enhanced": enhanced} | ({"noisy": noisy} if noisy else {})
    found = {
        method: {
            utf8(path.relative_to(folder).with_suffix("").as_posix()): path
            for path in audio_files(folder)
        }
        for method, folder in folders.items()
    }
    common = set.intersection(*(set(names) for names in found.values()))
    for method in list(found)[1:]:
        if not found["clean"].keys() & found[method].keys():
            raise UserError(
                f"no file of '{folders[method]}' has the name of one in '{clean}': the clean and "
                "the processed version of an utterance must have the same name"
            )
    if not common:
        listed = ", ".join(map(str, folders.values()))
        raise UserError(
            f"no file name occurs in all of {listed}: all versions of an utterance must have the "
            "same name"
        )
    alone = sorted(set.union(*(set(names) for names in found.values())) - common)
    if alone:
        log.warning(
            "%d of the file names do not occur in all of %s and are not scored: %s",
            len(alone),
            ", ".join(f"'{folder}'" for folder in folders.values()),
            ", ".join(alone[:5]) + (", …" if len(alone) > 5 else ""),
        )
    work = functools.partial(_score_files, high_pass_hz=high_pass_hz)
    jobs = [
        (name, method, found["clean"][name], found[method][name])
        for method in list(found)[1:]
        for name in sorted(common)
    ]
    rows = ordered_map(work, jobs, processes=processes, label="score", chunk=CHUNK)
    return pd.DataFrame([row for of_file in rows for row in of_file])


def column_above(high_pass_hz: float) -> str:
    """The column of SI-SDR above a frequency: ``si_sdr_80`` for 80 Hz."""
    return f"si_sdr_{high_pass_hz:g}"


def _score_files(item: tuple[str, str, Path, Path], high_pass_hz: float) -> list[dict[str, Any]]:
    """A row for each channel."""
    name, method, clean_path, other_path = item
    try:
        pairs = list(_channels(clean_path, other_path))
    except audio.UnusableAudio as error:
        unscored = {**dict.fromkeys(METRICS, float("nan")), "status": str(error)}
        scored: list[dict[str, Any]] = [_renamed(unscored, high_pass_hz)]
    else:
        scored = [_scored(*pair, high_pass_hz) for pair in pairs]
    return [
        {"file": name, "channel": number, "method": method, **values}
        for number, values in enumerate(scored, 1)
    ]


def _scored(
    clean: np.ndarray, estimate: np.ndarray, rate: int, high_pass_hz: float
) -> dict[str, Any]:
    """Like `score_utterance`, with SI-SDR above the given frequency instead of 80 Hz."""
    values = score_utterance(clean, estimate, rate)
    if high_pass_hz != SPEECH_FROM_HZ:
        values = _renamed(values, high_pass_hz)
        try:
            values[column_above(high_pass_hz)] = si_sdr_above(clean, estimate, rate, high_pass_hz)
        except Undefined:  # for the reason that the status has for 80 Hz
            values[column_above(high_pass_hz)] = float("nan")
    return values


def _renamed(values: dict[str, Any], high_pass_hz: float) -> dict[str, Any]:
    return {
        column_above(high_pass_hz) if name == column_above(SPEECH_FROM_HZ) else name: value
        for name, value in values.items()
    }


def _channels(clean_path: Path, other_path: Path) -> Iterator[tuple[np.ndarray, np.ndarray, int]]:
    """Reference and estimate [shape=(samples,)] of each channel, and the rate of both.

    Raises
    ------
    UnusableAudio
        If a file cannot be read, or the two are not of one recording.
    """
    try:
        clean, rate = audio.read(clean_path)
    except audio.UnusableAudio as error:
        raise audio.UnusableAudio(f"the reference {error}") from None
    other, other_rate = audio.read(other_path)
    if min(rate, other_rate) < _LOWEST_RATE:
        raise audio.UnusableAudio(
            f"has {min(rate, other_rate)} Hz: speech is scored from {_LOWEST_RATE} Hz on"
        )
    # A reference of one channel is that of every channel.
    if clean.shape[1] not in (1, other.shape[1]):
        raise audio.UnusableAudio(
            f"channels differ: the reference has {clean.shape[1]}, this has {other.shape[1]}"
        )
    # Codecs and resamplers may add or drop a few samples; more is another recording.
    lengths = len(clean) / rate, len(other) / other_rate
    if abs(lengths[0] - lengths[1]) > 0.05:
        raise audio.UnusableAudio(f"lengths differ: {lengths[0]:.2f} s and {lengths[1]:.2f} s")
    working = 16000 if rate >= 16000 else 8000
    references = [audio.resample(channel, rate, working) for channel in clean.T]
    for number, channel in enumerate(other.T):
        estimate = audio.resample(channel, other_rate, working)
        reference = references[number % len(references)]
        length = min(len(reference), len(estimate))
        yield reference[:length], estimate[:length], working
