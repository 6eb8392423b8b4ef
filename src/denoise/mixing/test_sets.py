"""Test sets of whole utterances, mixed or recorded."""

from __future__ import annotations

import numpy as np
import pandas as pd

from denoise.core import files
from denoise.core.arrays import PackWriter
from denoise.core.settings import digest
from denoise.core.tables import records, write_table
from denoise.mixing.draw import choose_utterances, draw_utterances
from denoise.mixing.files import SplitTables, TestSetFiles
from denoise.mixing.levels import set_levels
from denoise.mixing.render import packs_of, render
from denoise.mixing.settings import TestSetSettings


def mix_test_set(
    splits: SplitTables,
    settings: TestSetSettings,
    rate: int,
    seed: int,
    out: TestSetFiles,
    *,
    processes: int = 1,
) -> None:
    """Draw the mixtures of a test set and write it.

    Parameters
    ----------
    rate
        Samples per second of the prepared audio.
    """
    given = splits.read()
    table = draw_utterances(given, settings, seed)
    table = set_levels(table, rate, seed, processes=processes)
    packs = packs_of(table)
    with files.replacing(out.noisy) as noisy_path, files.replacing(out.clean) as clean_path:
        noisy_pack, clean_pack = PackWriter(noisy_path), PackWriter(clean_path)
        offsets = []
        for row in records(table):
            noisy, clean = render(row, packs, rate)
            offsets.append(noisy_pack.append(noisy))
            clean_pack.append(clean)
        noisy_pack.close()
        clean_pack.close()
    _write(table.assign(offset=offsets), given.speech, settings, rate, out, clean=True)


def take_recordings(
    splits: SplitTables, settings: TestSetSettings, rate: int, seed: int, out: TestSetFiles
) -> None:
    """Write a test set of noisy recordings without a clean version.

    The columns about mixtures (noise, SNR) are empty, and ``clean`` has no samples.
    """
    speech = splits.read().speech
    table = choose_utterances(speech, settings, seed)
    packs = packs_of(table[["speech_source"]])
    with files.replacing(out.noisy) as noisy_path, files.replacing(out.clean) as clean_path:
        pack = PackWriter(noisy_path)
        offsets = [
            pack.append(packs[row["speech_source"]][row["speech_start"] :][: row["samples"]])
            for row in records(table)
        ]
        pack.close()
        PackWriter(clean_path).close()
    table = table.assign(offset=offsets, noise_id="", snr=np.nan)
    _write(table, speech, settings, rate, out, clean=False)


def _write(
    table: pd.DataFrame,
    speech: pd.DataFrame,
    settings: TestSetSettings,
    rate: int,
    out: TestSetFiles,
    *,
    clean: bool,
) -> None:
    """Write the table, with the transcripts of `speech` if there are any, and the manifest."""
    if (speech.get("transcript", pd.Series("")) != "").any():
        spoken = speech.set_index(["source", "id"])["transcript"]
        names = pd.MultiIndex.from_frame(table[["speech_source", "recording"]])
        table = table.assign(transcript=spoken.reindex(names).to_numpy())
    write_table(out.mixtures, table)
    files.write_json(
        out.manifest,
        {
            "rate": rate,
            "score_rate": settings.score_rate or rate,
            "clean": clean,
            "utterances": len(table),
            "hours": round(table["samples"].sum() / rate / 3600, 4),
            "speakers": table["speaker"].nunique(),
            "noise_types": sorted(set(table["noise_type"]) - {""}),
            "sha256": digest([files.file_digest(path) for path in (out.noisy, out.clean)]),
        },
    )
