"""Scoring any pair of folders of files."""

from __future__ import annotations

import logging
from pathlib import Path

import pandas as pd

from denoise import audio
from denoise.audio import audio_files
from denoise.core.errors import UserError
from denoise.core.pools import ordered_map
from denoise.evaluation.scoring import CHUNK
from denoise.metrics.registry import METRICS, score_utterance

log = logging.getLogger(__name__)


def score_folders(
    clean: Path, enhanced: Path, noisy: Path | None = None, *, processes: int = 1
) -> pd.DataFrame:
    """Score the files of `enhanced` against those of the same name in `clean`.

    Files are compared by their path without suffix, at 16 kHz if the clean file's rate is at least
    that, else at 8 kHz.  With `noisy`, its files are scored too; only names that stand in all
    folders are, so that means are over the same files.

    Returns
    -------
    pd.DataFrame
        Columns ``file``, ``method`` (``enhanced`` or ``noisy``), the metrics and ``status``.

    Raises
    ------
    UserError
        If a folder is missing or empty, or no name stands in all of them.
    """
    folders = {"clean": clean, "enhanced": enhanced} | ({"noisy": noisy} if noisy else {})
    found = {
        method: {
            path.relative_to(folder).with_suffix("").as_posix(): path
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
        raise UserError(f"no name stands in all of {', '.join(map(str, folders.values()))}")
    alone = sorted(set.union(*(set(names) for names in found.values())) - common)
    if alone:
        log.warning(
            "%d of the names do not stand in all of %s and are not scored: %s",
            len(alone),
            ", ".join(f"'{folder}'" for folder in folders.values()),
            ", ".join(alone[:5]) + (", …" if len(alone) > 5 else ""),
        )
    jobs = [
        (name, method, found["clean"][name], found[method][name])
        for method in list(found)[1:]
        for name in sorted(common)
    ]
    rows = ordered_map(_score_files, jobs, processes=processes, label="score", chunk=CHUNK)
    return pd.DataFrame(rows)


def _score_files(item: tuple[str, str, Path, Path]) -> dict[str, float | str]:
    name, method, clean_path, other_path = item
    about: dict[str, float | str] = {"file": name, "method": method}
    try:
        clean, rate = audio.read(clean_path)
        other, other_rate = audio.read(other_path)
    except audio.UnusableAudio as error:
        empty: dict[str, float | str] = dict.fromkeys(METRICS, float("nan"))
        return {**about, **empty, "status": str(error)}
    working = 16000 if rate >= 16000 else 8000
    first = audio.resample(clean.mean(axis=1), rate, working)
    second = audio.resample(other.mean(axis=1), other_rate, working)
    # Codecs and resamplers may add or drop a few samples; more is another recording.
    if abs(len(first) - len(second)) > 0.05 * working:
        empty = dict.fromkeys(METRICS, float("nan"))
        lengths = f"{len(first) / working:.2f} s and {len(second) / working:.2f} s"
        return {**about, **empty, "status": f"lengths differ: {lengths}"}
    length = min(len(first), len(second))
    return {**about, **score_utterance(first[:length], second[:length], working)}
