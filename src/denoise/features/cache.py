"""The spectrograms of training and validation windows on disk.

A cache is a folder of ``.npy`` shards and a manifest. Training reads the shards window by window,
so that memory does not grow with the number of windows. With ``cache: false``, only the manifest is
written.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.fft import rfft

from denoise.core import files
from denoise.core.arrays import ArrayWriter
from denoise.core.pools import ordered_map
from denoise.core.tables import read_table, records
from denoise.features.codec import Features
from denoise.features.scaling import Statistics, measured_scales
from denoise.features.settings import FeatureSettings
from denoise.features.stft import stft
from denoise.mixing.render import packs_of, render, render_recording

_SHARD = 1024
_SIDES = ("input", "target")
_BATCH = 8  # of which all arrays fit into the processor's cache
Spectra = tuple[np.ndarray, np.ndarray, np.ndarray]


def measure(
    mixtures: Path, rate: int, settings: FeatureSettings, out_path: Path, *, processes: int = 1
) -> None:
    """Write the scalings that depend on the windows of a mixture table, as JSON.

    See `features.scaling.measured_scales` for its form.
    """
    work = functools.partial(_measure_part, rate=rate, settings=settings)
    merged: dict[str, Statistics] = {}
    parts = _parts(read_table(mixtures))
    for found in ordered_map(work, parts, processes=processes, label="scaling"):
        for side, statistics in found.items():
            merged.setdefault(side, Statistics()).merge(statistics)
    files.write_json(out_path, measured_scales(settings, merged))


@dataclass(frozen=True)
class CacheFiles:
    """Spectrograms of the windows of one split."""

    manifest: Path
    """Counts, features, scales, and the relative paths of the shards."""
    shards: Path
    """A folder below that of the manifest."""


def write(
    mixtures: Path, rate: int, features: Features, out: CacheFiles, *, processes: int = 1
) -> None:
    """Write inputs and targets of the windows of a mixture table.

    Shard ``k`` is ``input-k.npy`` and ``target-k.npy`` [shape=(windows, f, t, channels)]; there is
    none with ``cache: false``.  The folder of shards gets its name only when it is complete.
    """
    table = read_table(mixtures)
    place = out.shards.relative_to(out.manifest.parent)
    with files.replacing(out.shards, "input-0.npy") as temporary:
        temporary.mkdir(parents=True)
        work = functools.partial(_write_shard, rate=rate, features=features, folder=temporary)
        jobs = list(enumerate(_parts(table))) if features.settings.cache else []
        # Not threads: they would wait for each other whenever memory is taken or given back.
        shards = list(ordered_map(work, jobs, processes=processes, label="spectrograms"))
    for shard in shards:
        shard |= {side: f"{place}/{shard[side]}" for side in _SIDES}
    files.write_json(
        out.manifest,
        {
            "windows": len(table),
            "hours": round(table["samples"].sum() / rate / 3600, 4),
            "shards": shards,
            "features": features.settings.model_dump(mode="json"),
            "scales": features.scales,
            "mixtures": str(mixtures),
            "rate": rate,
            "samples": int(table["samples"].iloc[0]),
        },
    )


def _parts(table: pd.DataFrame) -> list[pd.DataFrame]:
    return [table[start : start + _SHARD] for start in range(0, len(table), _SHARD)]


def _spectra(part: pd.DataFrame, rate: int, features: Features) -> Iterator[Spectra]:
    """Noisy and clean spectra and references of the windows of `part`, in batches."""
    rows = records(part)
    packs = packs_of(part)
    for start in range(0, len(rows), _BATCH):
        batch = rows[start : start + _BATCH]
        pairs = [render(row, packs, rate) for row in batch]
        noisy, clean = (
            stft(np.stack([pair[side] for pair in pairs]), features.settings.stft, rfft)
            for side in (0, 1)
        )
        if features.settings.reference == "utterance":
            whole = (render_recording(row, packs, rate)[0] for row in batch)
            references = np.concatenate([features.utterance_reference([wave]) for wave in whole])
        else:
            references = features.references(noisy)
        yield noisy, clean, references


def _measure_part(
    part: pd.DataFrame, rate: int, settings: FeatureSettings
) -> dict[str, Statistics]:
    features = Features(settings)
    found: dict[str, Statistics] = {}
    for spectra in _spectra(part, rate, features):
        for side, levels in features.levels(*spectra).items():
            found.setdefault(side, Statistics()).add(levels)
    return found


def _write_shard(
    job: tuple[int, pd.DataFrame], rate: int, features: Features, folder: Path
) -> dict[str, object]:
    number, part = job
    entry: dict[str, object] = {"windows": len(part)}
    writers: dict[str, ArrayWriter] = {}
    for noisy, clean, references in _spectra(part, rate, features):
        encoded = features.encode(noisy, clean, references)
        for name, rows in zip(_SIDES, encoded, strict=True):
            if name not in writers:
                entry[name] = f"{name}-{number:05d}.npy"
                shape = (len(part), *rows.shape[1:])
                path = folder / str(entry[name])
                writers[name] = ArrayWriter(path, shape, features.settings.dtype)
            writers[name].append(rows)
    for name, writer in writers.items():
        entry[f"{name}_sha256"] = writer.close()
    return entry
