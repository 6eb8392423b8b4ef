"""Recordings, a file at a time, all kept in memory."""

from __future__ import annotations

from pathlib import Path

import librosa
import numpy as np


def prepare(paths: list[Path], rate: int, shortest_s: float, out: Path) -> None:
    """Decode, downmix and resample each recording, and keep those that are long enough."""
    kept = []
    for path in paths:
        wave, _ = librosa.load(path, sr=rate)
        if len(wave) >= shortest_s * rate:
            kept.append(wave)
    np.save(out, np.concatenate(kept))
