"""Mixture tables of windows, and test sets of whole utterances, as files.

The table is the record of what was mixed: sources, offsets, gain, asked and realised SNR, and
the scale that avoids clipping.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Literal

import pandas as pd

from denoise.core import files
from denoise.core.arrays import PackWriter
from denoise.core.settings import digest
from denoise.core.tables import read_table, records, write_table
from denoise.mixing.draw import draw_utterances, draw_windows
from denoise.mixing.levels import set_levels
from denoise.mixing.render import load_packs, render
from denoise.mixing.settings import MixingSettings, TestSetSettings

log = logging.getLogger(__name__)


def mix_windows(
    splits: Path,
    noise_splits: Path | None,
    settings: MixingSettings,
    rate: int,
    seed: int,
    out_paths: dict[Literal["train", "validation"], Path],
    *,
    processes: int = 1,
) -> None:
    """Write the mixture tables of training and validation windows.

    Parameters
    ----------
    splits, noise_splits
        Tables of `splits.split`; no noise for paired corpora.
    rate
        Samples per second of the prepared audio.
    out_paths
        The CSV to write for each split.

    Raises
    ------
    UserError
        If a split is empty, or no speech recording is as long as a window.
    """
    speech, noise = _read_splits(splits, noise_splits)
    for split, path in out_paths.items():
        table = draw_windows(speech, noise, settings, split, rate, seed)
        table = set_levels(table, rate, seed, processes=processes)
        write_table(path, table)
        log.info("%s: %d windows, median SNR %.1f dB", split, len(table), table["snr"].median())


def mix_test_set(
    splits: Path,
    noise_splits: Path | None,
    settings: TestSetSettings,
    rate: int,
    seed: int,
    out_folder: Path,
    *,
    processes: int = 1,
) -> None:
    """Write ``mixtures.csv`` and the packed ``noisy.npy`` and ``clean.npy`` of a test set.

    The table's ``offset`` and ``samples`` say where each utterance lies in both.
    """
    speech, noise = _read_splits(splits, noise_splits)
    table = draw_utterances(speech, noise, settings, seed)
    table = set_levels(table, rate, seed, processes=processes)
    packs = load_packs([*table["speech_source"], *table["noise_source"]])
    out_folder.mkdir(parents=True, exist_ok=True)
    with (
        files.replacing(out_folder / "noisy.npy") as noisy_path,
        files.replacing(out_folder / "clean.npy") as clean_path,
    ):
        noisy_pack, clean_pack = PackWriter(noisy_path), PackWriter(clean_path)
        offsets = []
        for row in records(table):
            noisy, clean = render(row, packs, rate)
            offsets.append(noisy_pack.append(noisy))
            clean_pack.append(clean)
        noisy_pack.close()
        clean_pack.close()
    write_table(out_folder / "mixtures.csv", table.assign(offset=offsets))
    files.write_json(
        out_folder / "manifest.json",
        {
            "rate": rate,
            "score_rate": settings.score_rate or rate,
            "utterances": len(table),
            "hours": round(table["samples"].sum() / rate / 3600, 4),
            "speakers": table["speaker"].nunique(),
            "kinds": sorted(table["kind"].unique()),
            "sha256": digest(
                [files.file_digest(out_folder / f"{n}.npy") for n in ("noisy", "clean")]
            ),
        },
    )


def _read_splits(splits: Path, noise_splits: Path | None) -> tuple[pd.DataFrame, pd.DataFrame]:
    speech = read_table(splits)
    return speech, read_table(noise_splits) if noise_splits else speech.iloc[:0]
