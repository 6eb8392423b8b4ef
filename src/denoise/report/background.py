"""How results came about: trained models, data, mixtures, software and the times of jobs."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from denoise.core import files
from denoise.core.provenance import installed
from denoise.core.tables import read_table
from denoise.mixing.render import load_packs, render
from denoise.report import listening
from denoise.training import losses


def histories(card_paths: list[Path], cards: list[dict[str, Any]]) -> pd.DataFrame:
    """Every ``history.csv`` beside the cards, with ``variant``, ``seed`` and ``loss_name``."""
    tables = [
        read_table(path.parent / "history.csv").assign(
            variant=card["variant"],
            seed=card["seed"],
            loss_name=losses.label(card["training"]["loss"]),
        )
        for path, card in zip(card_paths, cards, strict=True)
    ]
    return pd.concat(tables, ignore_index=True)


def models(cards: list[dict[str, Any]], histories: pd.DataFrame) -> list[dict[str, Any]]:
    """Of every trained model what the page tells: size, windows, best epoch, losses, minutes."""
    return [
        {
            "variant": card["variant"],
            "seed": card["seed"],
            "parameters": card["parameters"],
            "windows": card["training_windows"],
            "best_epoch": int(card["best_epoch"]),
            "loss": losses.label(card["training"]["loss"]),
            "val_loss": card["best_val_loss"],
            "val_pure": _without_penalty(card, histories),
            "minutes": card["wall_time_s"] / 60,
            "processor": card["hardware"]["processor"],
        }
        for card in cards
    ]


def _without_penalty(card: dict[str, Any], histories: pd.DataFrame) -> float | None:
    """The validation loss of the best epoch without penalties on the weights, if they are in it."""
    column = f"val_{card['training']['loss']}"
    if column not in histories or not card["network"].get("l2"):
        return None
    same = (histories[name] == card[name] for name in ("variant", "seed"))
    best = histories[np.logical_and(*same) & (histories["epoch"] == card["best_epoch"])]
    return None if best[column].isna().all() else float(best[column].iloc[0])


def data_card(manifests: dict[str, list[Path]]) -> dict[str, Any]:
    """What was trained and tested on; `manifests` as of `report.build`."""
    sources = [{"name": path.parent.name, **files.read_json(path)} for path in manifests["audio"]]
    splits = []
    for path in manifests["splits"]:
        table = read_table(path)
        for split, part in table.groupby("split"):
            splits.append(
                {
                    "name": path.stem,
                    "split": split,
                    "recordings": len(part),
                    "speakers": part.loc[part["speaker"] != "", "speaker"].nunique(),
                    "kinds": ", ".join(sorted(set(part["kind"]) - {""})),
                }
            )
    windows = [
        {"name": f"{path.parent.parent.name}/{path.parent.name}", **files.read_json(path)}
        for path in manifests["spectrograms"]
    ]
    tests = [{"name": path.parent.name, **files.read_json(path)} for path in manifests["test_sets"]]
    return {"sources": sources, "splits": splits, "windows": windows, "tests": tests}


def mixture_examples(params: dict[str, Any]) -> list[dict[str, Any]]:
    """Three training mixtures of each mixture stage, to hear."""
    found = []
    stages = {
        variant["mixtures"]: variant["recipe"]["audio"]["sample_rate"]
        for variant in params["variants"].values()
    }
    for stage, rate in stages.items():
        table = read_table(Path("results/mixtures") / stage / "train.csv")
        for row in table.iloc[np.linspace(0, len(table) - 1, 3).astype(int)].to_dict("records"):
            packs = load_packs([row["speech_source"], row["noise_source"]])
            noisy, clean = render(row, packs, rate)
            found.append(
                {
                    "stage": stage,
                    "about": f"{row['recording']} with {row['kind']} at {row['snr']:.1f} dB SNR",
                    "players": {
                        name: listening.data_uri("audio/mpeg", listening.mp3(wave, rate))
                        for name, wave in (("mixture", noisy), ("speech", clean))
                    },
                }
            )
    return found


def trained_with(cards: list[dict[str, Any]]) -> dict[str, str]:
    """The code that the models were trained with, which need not be that of the report."""
    return {"Trained with": ", ".join(sorted({card["code_version"] for card in cards}))}


def software() -> dict[str, str]:
    """The versions of Python and of the libraries that shape results."""
    names = ("tensorflow", "keras", "numpy", "librosa", "pesq", "pystoi", "snakemake", "mlflow")
    versions = ", ".join(installed(name).replace("==", " ") for name in names)
    return {"Python": platform.python_version(), "Libraries": versions}


def wall_times(jobs: list[str]) -> list[dict[str, Any]]:
    """Seconds and memory that each job took when it last ran, from Snakemake's benchmark files."""
    rows = []
    for job in jobs:
        path = Path("results/benchmarks") / f"{job}.tsv"
        if not path.exists():
            continue
        table = pd.read_csv(path, sep="\t")
        rule, _, name = job.partition("/")
        rows.append(
            {
                "rule": rule,
                "job": name,
                "seconds": float(table["s"].iloc[0]),
                "memory_mb": float(pd.to_numeric(table["max_rss"], errors="coerce").iloc[0]),
            }
        )
    return rows
