"""The spectrograms of training and validation windows, on disk.

A cache is a folder of ``.npy`` shards that training reads through ``mmap``, so that memory does
not grow with the number of windows.
"""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import pandas as pd

from denoise import files
from denoise.mixing import load_packs, render
from denoise.parallel import ordered_map
from denoise.spectrogram import FeatureSettings, encode_input, encode_target, stft

_SHARD = 1024


def write(
    mixtures: Path, rate: int, settings: FeatureSettings, out_folder: Path, *, processes: int = 1
) -> None:
    """Write inputs and targets of a mixture table as shards and a ``manifest.json``.

    Shard ``k`` is ``input-k.npy`` and ``target-k.npy`` [shape=(windows, f, t, 1)]; the folder gets
    its name only when it is complete.
    """
    table = files.read_table(mixtures)
    parts = [table[start : start + _SHARD] for start in range(0, len(table), _SHARD)]
    with files.replacing(out_folder) as temporary:
        temporary.mkdir()
        work = functools.partial(_write_shard, rate=rate, settings=settings, folder=temporary)
        jobs = list(enumerate(parts))
        shards = list(ordered_map(work, jobs, processes=processes, label="spectrograms"))
        files.write_json(
            temporary / "manifest.json",
            {
                "windows": len(table),
                "hours": round(table["samples"].sum() / rate / 3600, 4),
                "shards": shards,
                "features": settings.model_dump(mode="json"),
            },
        )


def _write_shard(
    job: tuple[int, pd.DataFrame], rate: int, settings: FeatureSettings, folder: Path
) -> dict[str, object]:
    number, part = job
    rows = part.to_dict("records")
    packs = load_packs([row[side] for row in rows for side in ("speech_source", "noise_source")])
    inputs, targets = [], []
    for start in range(0, len(rows), 64):
        pairs = [render(row, packs, rate) for row in rows[start : start + 64]]
        noisy = np.abs(stft(np.stack([pair[0] for pair in pairs]), settings.stft))
        clean = np.abs(stft(np.stack([pair[1] for pair in pairs]), settings.stft))
        inputs.append(encode_input(noisy, settings).astype(settings.dtype))
        targets.append(encode_target(noisy, clean, settings).astype(settings.dtype))
    entry: dict[str, object] = {"windows": len(rows)}
    for name, arrays in (("input", inputs), ("target", targets)):
        path = folder / f"{name}-{number:05d}.npy"
        files.save_array(path, np.concatenate(arrays))
        entry[name] = path.name
        entry[f"{name}_sha256"] = files.file_digest(path)
    return entry
