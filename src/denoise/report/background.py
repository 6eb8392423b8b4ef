"""The background of the results: trained models, data, mixtures, software and computing times."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from denoise.core import files
from denoise.core.provenance import installed
from denoise.core.tables import read_table, records
from denoise.evaluation.experiment import ExperimentRecord
from denoise.mixing.degradations import IN_WORDS, describe, from_text
from denoise.mixing.render import packs_of, render
from denoise.networks.card import ModelCard, ModelFolder, read_card
from denoise.report import listening
from denoise.training import losses


@dataclass(frozen=True)
class TrainedModel:
    """A model of a variant."""

    label: str
    folder: ModelFolder
    card: ModelCard

    @property
    def loss(self) -> str:
        """The loss that it was trained with, as it is shown."""
        return losses.label(self.card.training["loss"])


def trained_models(record: ExperimentRecord) -> list[TrainedModel]:
    """The models of all variants and seeds."""
    folders = [
        (label, ModelFolder(path))
        for label in record.variants
        for path in record.methods[label].models.values()
    ]
    return [TrainedModel(label, folder, read_card(folder.card)) for label, folder in folders]


def histories(trained: list[TrainedModel]) -> pd.DataFrame:
    """The history of every model, with ``variant``, ``seed`` and ``loss_name``."""
    tables = [
        read_table(one.folder.history).assign(
            variant=one.label, seed=one.card.seed, loss_name=one.loss
        )
        for one in trained
    ]
    return pd.concat(tables, ignore_index=True)


def models(trained: list[TrainedModel], histories: pd.DataFrame) -> list[dict[str, Any]]:
    """The table of trained models: size, windows, best epoch, losses, minutes."""
    return [
        {
            "variant": one.label,
            "seed": one.card.seed,
            "parameters": one.card.parameters,
            "windows": one.card.training_windows,
            "best_epoch": one.card.best_epoch,
            "loss": one.loss,
            "val_loss": one.card.best_val_loss,
            "val_pure": _without_penalty(one, histories),
            "minutes": one.card.wall_time_s / 60,
            "processor": one.card.hardware.get("processor", ""),
        }
        for one in trained
    ]


def _without_penalty(one: TrainedModel, histories: pd.DataFrame) -> float | None:
    """The validation loss of the best epoch without penalties on the weights, if they are in it."""
    column = f"val_{one.card.training['loss']}"
    if column not in histories or not getattr(one.card.network, "l2", 0):
        return None
    same = (histories["variant"] == one.label) & (histories["seed"] == one.card.seed)
    best = histories[same & (histories["epoch"] == one.card.best_epoch)]
    return None if best[column].isna().all() else float(best[column].iloc[0])


def data_card(
    prepared: list[Path], splits: list[Path], spectrograms: list[Path], record: ExperimentRecord
) -> dict[str, Any]:
    """Training and test data; paths as of `build.ReportInputs`.

    Each entry has a readable ``name``, its ``stage``, and in ``used`` the variants that are trained
    on it, as of `used_by`.
    """
    sources = [{**_stage(path.parent.name, record), **files.read_made(path)} for path in prepared]
    parts = []
    for path in splits:
        table = read_table(path)
        for split, part in table.groupby("split"):
            parts.append(
                {
                    **_stage(path.stem, record),
                    "split": split,
                    "recordings": len(part),
                    "speakers": part.loc[part["speaker"] != "", "speaker"].nunique(),
                    "noise_types": ", ".join(sorted(set(part["noise_type"]) - {""})),
                }
            )
    mixed = {stage: one.mixtures for one in record.variants.values() for stage in one.stages}
    windows = [
        {
            **_stage(path.parent.parent.name, record),
            "part": part,
            **files.read_made(path),
            # Validation windows are drawn with the same shares.
            "conditions": conditions(read_table(mixed[path.parent.parent.name]))
            if part == "train"
            else "",
        }
        for path in spectrograms
        for part in [path.parent.name]
    ]
    tests = [
        {
            "name": label,
            **files.read_made(one.manifest),
            "snrs": sorted(set(table["snr_target"].dropna())),
            "conditions": conditions(table),
        }
        for label, one in record.test_sets.items()
        for table in [read_table(one.mixtures)]
    ]
    return {"sources": sources, "splits": parts, "windows": windows, "tests": tests}


def conditions(table: pd.DataFrame) -> str:
    """Reverberation and degradations of mixtures, in words; empty if there are none."""
    said = []
    if "room" in table and (inside := table["room"] != "").any():
        rooms = table.loc[inside, "room"].nunique()
        kept = ", ".join(_CLEAN_SIDES[name] for name in table.loc[inside, "room_target"].unique())
        said.append(
            f"{_share(inside)} in {rooms} room{'s' * (rooms > 1)}, the clean side being {kept}"
        )
    if "degradations" in table:
        drawn = [from_text(text) for text in table["degradations"]]
        for kind, words in IN_WORDS.items():
            done = pd.Series([kind in one for one in drawn])
            if done.any():
                said.append(f"{_share(done)} {words}")
    return "; ".join(said)


_CLEAN_SIDES = {
    "early": "the direct sound with early reflections",
    "anechoic": "the direct sound",
    "reverberant": "the reverberant speech",
}


def _share(rows: pd.Series) -> str:
    return "all" if rows.all() else f"{100 * rows.mean():.0f} %"


def _stage(name: str, record: ExperimentRecord) -> dict[str, str]:
    """Name of a stage and the variants that use it."""
    return {
        "name": name.rpartition("-")[0],
        "stage": name,
        "used": used_by([label for label, one in record.variants.items() if name in one.stages],
                        record),
    }  # fmt: skip


def used_by(variants: list[str], record: ExperimentRecord) -> str:
    """Variants in words; empty if all of them are meant."""
    if not variants:
        return "only for test sets"
    if len(variants) == len(record.variants):
        return ""
    return "; ".join(record.variants[label].short or label for label in variants)


def mixture_tables(record: ExperimentRecord) -> dict[str, pd.DataFrame]:
    """Name → SNR in dB (``snr``), ``noise_type`` and ``seconds`` of each training and test mixture.

    Variants that are trained on the same mixtures are named together.
    """
    training: dict[Path, list[str]] = {}
    for label, variant in record.variants.items():
        training.setdefault(variant.mixtures, []).append(label)
    found = {}
    for path, labels in training.items():
        used, rate = used_by(labels, record), record.variants[labels[0]].recipe["audio"]
        name = f"training: {used}" if used else "training"
        found[name] = _distributed(path, rate["sample_rate"])
    for label, test_set in record.test_sets.items():
        rate = files.read_made(test_set.manifest)["rate"]
        found[label] = _distributed(test_set.mixtures, rate)
    return found


def _distributed(path: Path, rate: int) -> pd.DataFrame:
    table = read_table(path)
    return table[["snr", "noise_type"]].assign(seconds=table["samples"] / rate)


def mixture_examples(record: ExperimentRecord) -> list[dict[str, Any]]:
    """Three training mixtures of each table of them, to hear."""
    found = []
    tables = {
        variant.mixtures: variant.recipe["audio"]["sample_rate"]
        for variant in record.variants.values()
    }
    for path, rate in tables.items():
        table = read_table(path)
        table = table.iloc[np.linspace(0, len(table) - 1, 3).astype(int)]
        packs = packs_of(table)
        for row in records(table):
            noisy, clean = render(row, packs, rate)
            found.append(
                {
                    "used": used_by(
                        [name for name, one in record.variants.items() if one.mixtures == path],
                        record,
                    ),
                    "about": _about(row),
                    "players": {
                        name: listening.data_uri("audio/mpeg", listening.mp3(wave, rate))
                        for name, wave in (("mixture", noisy), ("speech", clean))
                    },
                }
            )
    return found


def _about(row: dict[str, Any]) -> str:
    """A training mixture in words."""
    told = [f"{row['recording']} with {row['noise_type']} at {row['snr']:.1f} dB SNR"]
    if row.get("room"):
        told.append(f"in {row['room']}")
    if row.get("degradations"):
        told.append(describe(from_text(row["degradations"])))
    return ", ".join(told)


def trained_with(trained: list[TrainedModel]) -> dict[str, str]:
    """The code that the models were trained with; it can differ from that of the report."""
    return {"Trained with": ", ".join(sorted({one.card.code_version for one in trained}))}


def software() -> dict[str, str]:
    """The versions of Python and of the libraries that shape results."""
    names = ("tensorflow", "keras", "numpy", "librosa", "pesq", "pystoi", "snakemake", "mlflow")
    versions = ", ".join(installed(name).replace("==", " ") for name in names)
    return {"Python": platform.python_version(), "Libraries": versions}


def wall_times(benchmarks: list[tuple[str, str, Path]]) -> list[dict[str, Any]]:
    """Seconds and memory that each job took when it last ran, from Snakemake's benchmark files.

    Parameters
    ----------
    benchmarks
        As of `build.ReportInputs`.
    """
    rows = []
    for rule, about, path in benchmarks:
        if path.exists():
            table = pd.read_csv(path, sep="\t")
            memory = pd.to_numeric(table["max_rss"], errors="coerce")
            rows.append(
                {
                    "rule": rule,
                    "job": about,
                    "seconds": float(table["s"].iloc[0]),
                    "memory_mb": float(memory.iloc[0]),
                }
            )
    return rows
