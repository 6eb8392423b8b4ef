"""Scoring every utterance of a test set."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from denoise import audio
from denoise.core import files
from denoise.core.arrays import load_array
from denoise.core.pools import ordered_map
from denoise.core.tables import read_table, write_table
from denoise.metrics.pesq import pesq
from denoise.metrics.registry import score_utterance
from denoise.metrics.validity import Undefined
from denoise.mixing.files import References

CHUNK = 4


@dataclass(frozen=True)
class MethodOutput:
    """What a method made of a test set."""

    enhanced: Path
    """Packed like the noisy audio of the test set."""
    spectral: Path | None = None
    """``id`` and ``mse_spec`` of each utterance, if it predicts spectrograms."""
    bandwidth: int | None = None
    """The rate in Hz that the method works at, if not that of the test set: only from 16 kHz on is
    wide-band PESQ measured beside the others."""


def score_test_set(
    output: MethodOutput, test_set: References, out_path: Path, *, processes: int = 1
) -> None:
    """Write a row for each utterance: what it is, every metric, and ``status``.

    Everything is scored at the test set's ``score_rate``.
    """
    manifest = files.read_made(test_set.manifest)
    table = read_table(test_set.mixtures)
    work = functools.partial(
        _score_slice,
        enhanced=output.enhanced,
        clean=test_set.clean,
        rate=manifest["rate"],
        score_rate=manifest["score_rate"],
        wide=min(manifest["rate"], output.bandwidth or manifest["rate"]) >= 16000,
    )
    places = list(zip(table["offset"], table["samples"], strict=True))
    scores = pd.DataFrame(
        ordered_map(work, places, processes=processes, label="score", chunk=CHUNK)
    )
    about = table[
        ["id", "split", "recording", "speaker", "sex", "noise_type", "noise_id", "snr_target"]
    ]
    result = pd.concat([about, table["snr"].rename("snr_input"), scores], axis=1)
    if output.spectral is not None:
        result = result.merge(read_table(output.spectral), on="id", how="left")
    else:
        result["mse_spec"] = np.nan
    columns = [name for name in result if name != "status"] + ["status"]
    # The last bits of a sum depend on where an array lies in memory; nine digits do not.
    write_table(out_path, result[columns], float_format="%.9g")


def _score_slice(
    place: tuple[int, int], enhanced: Path, clean: Path, rate: int, score_rate: int, wide: bool
) -> dict[str, float | str]:
    start, length = place
    part = slice(start, start + length)
    pair = [load_array(path)[part] for path in (clean, enhanced)]
    common = [audio.resample(signal, rate, score_rate) for signal in pair]
    values = score_utterance(common[0], common[1], score_rate)
    if wide and score_rate < 16000:
        banded = [audio.resample(signal, rate, 16000) for signal in pair]
        try:
            values["pesq_wb"] = pesq(banded[0], banded[1], 16000, "wb")
        except Undefined as reason:
            before = "" if values["status"] == "ok" else f"{values['status']}; "
            values["status"] = f"{before}pesq_wb: {reason}"
    return values
