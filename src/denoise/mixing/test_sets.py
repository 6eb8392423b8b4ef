"""Test sets of whole utterances: mixed, rendered and packed."""

from __future__ import annotations

from denoise.core import files
from denoise.core.arrays import PackWriter
from denoise.core.settings import digest
from denoise.core.tables import records, write_table
from denoise.mixing.draw import draw_utterances
from denoise.mixing.files import SplitTables, TestSetFiles
from denoise.mixing.levels import set_levels
from denoise.mixing.render import load_packs, render
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
    speech, noise = splits.read()
    table = draw_utterances(speech, noise, settings, seed)
    table = set_levels(table, rate, seed, processes=processes)
    packs = load_packs([*table["speech_source"], *table["noise_source"]])
    with files.replacing(out.noisy) as noisy_path, files.replacing(out.clean) as clean_path:
        noisy_pack, clean_pack = PackWriter(noisy_path), PackWriter(clean_path)
        offsets = []
        for row in records(table):
            noisy, clean = render(row, packs, rate)
            offsets.append(noisy_pack.append(noisy))
            clean_pack.append(clean)
        noisy_pack.close()
        clean_pack.close()
    write_table(out.mixtures, table.assign(offset=offsets))
    files.write_json(
        out.manifest,
        {
            "rate": rate,
            "score_rate": settings.score_rate or rate,
            "utterances": len(table),
            "hours": round(table["samples"].sum() / rate / 3600, 4),
            "speakers": table["speaker"].nunique(),
            "noise_types": sorted(table["noise_type"].unique()),
            "sha256": digest([files.file_digest(path) for path in (out.noisy, out.clean)]),
        },
    )
