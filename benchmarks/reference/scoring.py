"""Scores, a file at a time."""

from __future__ import annotations

from pathlib import Path

import librosa
import numpy as np
import pesq
import pystoi


def score(clean: list[Path], enhanced: list[Path], rate: int) -> list[dict[str, float]]:
    """SNR, SI-SDR, PESQ, STOI and ESTOI of each pair of files."""
    rows = []
    for one, other in zip(clean, enhanced, strict=True):
        speech, found = (librosa.load(path, sr=rate)[0] for path in (one, other))
        scaled = (found @ speech) / (speech @ speech) * speech
        rows.append(
            {
                "snr": 10 * np.log10(np.sum(speech**2) / np.sum((speech - found) ** 2)),
                "si_sdr": 10 * np.log10(np.sum(scaled**2) / np.sum((scaled - found) ** 2)),
                "pesq": pesq.pesq(rate, speech, found, "wb" if rate == 16000 else "nb"),
                "stoi": pystoi.stoi(speech, found, rate),
                "estoi": pystoi.stoi(speech, found, rate, extended=True),
            }
        )
    return rows
