"""Scoring recordings that have no clean reference."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from denoise import audio
from denoise.core.pools import ordered_map
from denoise.core.text import utf8
from denoise.metrics.opinion import NAMES, dnsmos
from denoise.metrics.validity import Undefined


def score_recordings(paths: Sequence[Path], *, processes: int = 1) -> pd.DataFrame:
    """The opinions that DNSMOS predicts of recordings and of all files in folders.

    Returns
    -------
    pd.DataFrame
        A row for each channel of each file, with the columns ``file``, ``channel`` (from 1),
        `metrics.opinion.NAMES` and ``status``.

    Raises
    ------
    UserError
        If a folder does not exist or holds no audio.
    """
    files = [
        file for path in paths for file in (audio.audio_files(path) if path.is_dir() else [path])
    ]
    rows = ordered_map(_scored, files, processes=processes, label="score", chunk=1)
    return pd.DataFrame([row for of_file in rows for row in of_file])


def _scored(path: Path) -> list[dict[str, Any]]:
    """A row for each channel."""
    name = {"file": utf8(str(path))}
    nothing: dict[str, Any] = dict.fromkeys(NAMES, float("nan"))
    try:
        recording, rate = audio.read(path)
    except audio.UnusableAudio as error:
        return [{**name, "channel": 1, **nothing, "status": str(error)}]
    rows = []
    for number, channel in enumerate(recording.T, 1):
        try:
            found = {**dnsmos(channel, rate), "status": "ok"}
        except Undefined as reason:
            found = {**nothing, "status": str(reason)}
        rows.append({**name, "channel": number, **found})
    return rows
