"""The report of an experiment: one self-contained HTML file, and its figures beside it.

The page answers first which variant wins, by how much, how certainly and at what cost.  Its tables
and SVG figures are made here; ``page.js`` sorts, filters and compares what is there already, and
``player.js`` plays utterances.
"""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import soundfile

from denoise.core import files
from denoise.core.tables import read_table
from denoise.evaluation.baselines import BASELINES
from denoise.evaluation.conditions import main_effects
from denoise.evaluation.scores import by_utterance, read_scores
from denoise.report import background, blind, figures, listening, sections
from denoise.report.answer import first_screen, with_costs
from denoise.report.pages import Pictures, asset, plain, render
from denoise.report.sections import MAIN, SHOWN

USES = ("template.html", "blind_section.html", "style.css", "page.js", "player.js")


def write_report(
    params: dict[str, Any],
    score_paths: list[Path],
    card_paths: list[Path],
    manifests: dict[str, list[Path]],
    leaderboard_path: Path,
    pairwise_path: Path,
    provenance: dict[str, str],
    out_path: Path,
) -> None:
    """Write ``report.html``, ``study.json`` and the folder ``figures`` beside it.

    Parameters
    ----------
    params
        What the workflow knows of the experiment: its name, variants, test sets and baselines.
    score_paths, card_paths
        Score tables and model cards of all variants and seeds.
    manifests
        Manifests of the stages ``audio``, ``test_sets`` and ``spectrograms``, tables of ``splits``.
    provenance
        Lines for the provenance section.
    """
    scores = read_scores(score_paths)
    utterances = by_utterance(scores)
    board, pairs = read_table(leaderboard_path), read_table(pairwise_path)
    cards = [files.read_json(path) for path in card_paths]
    histories = background.histories(card_paths, cards)
    board = with_costs(board, cards, params)
    drawn = figures.styles(dict.fromkeys(board["variant"]), params["variants"])
    folder = out_path.parent / "figures"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    draw = Pictures(folder)
    effects = _effects(scores, params)
    test_sets = [
        sections.test_set(name, utterances, board, effects, params, drawn, draw)
        for name in params["test_sets"]
    ]
    curves = figures.learning_curves(histories, drawn)
    speakers = {
        name: int(utterances.loc[utterances["test_set"] == name, "speaker"].nunique())
        for name in params["test_sets"]
    }
    context = {
        "title": params["experiment"],
        "made": time.strftime("%Y-%m-%d %H:%M"),
        "params": params,
        "baselines": BASELINES
        | {name: f"the ready model in {folder}" for name, folder in params["models"].items()},
        "answer": first_screen(board, pairs, params, drawn, speakers[next(iter(speakers))]),
        "speakers": speakers,
        "test_sets": test_sets,
        "metrics": [name for name in SHOWN if board[name].notna().any()],
        "main": [name for name in MAIN if board[name].notna().any()],
        "titles": {name: figures.title(name) for name in SHOWN},
        "drawn": drawn,
        "shared_start": _shared_start(drawn),
        "curves": [
            draw.svg(f"learning-{name}", figure, f"{name} by epoch for every variant")
            for name, figure in curves.items()
        ],
        "models": background.models(cards, histories),
        "blind": blind.section(out_path.parent),
        "data": background.data_card(manifests),
        "mixtures": background.mixture_examples(params),
        "provenance": {**provenance, **background.trained_with(cards), **background.software()},
        "wall_times": background.wall_times(params["jobs"]),
        "recipes": {
            name: json.dumps(variant["recipe"], indent=1, ensure_ascii=False)
            for name, variant in params["variants"].items()
        },
        "page_data": sections.page_data(utterances, pairs, params, drawn),
        "style": asset("style.css"),
        "scripts": [asset("player.js"), asset("page.js")],
    }
    files.write_json(
        out_path.with_name("study.json"),
        {
            "experiment": params["experiment"],
            "test_sets": params["test_sets"],
            "seeds": params["seeds"],
            "variants": {
                name: {"differs": one["differs"], "recipe": one["recipe"]}
                for name, one in params["variants"].items()
            },
        },
    )
    files.write_text(out_path, render("template.html", **context))


def _shared_start(drawn: dict[str, figures.Style]) -> str:
    """What the labels leave out of names, if anything."""
    return next(
        (name.removesuffix(one.label) for name, one in drawn.items() if name != one.label), ""
    )


def _effects(scores: pd.DataFrame, params: dict[str, Any]) -> pd.DataFrame:
    """The main effects of the swept settings; empty without a sweep."""
    settings = {
        name: {path: plain(variant["differs"][path]) for path in params["sweep"]}
        for name, variant in params["variants"].items()
    }
    measured = [metric for metric in MAIN if scores[metric].notna().any()]
    return main_effects(scores, settings, measured) if params["sweep"] else pd.DataFrame()


def tracked_examples(
    test_set: str, stage: str, variant: str, seed: int, score_paths: list[Path], folder: Path
) -> list[Path]:
    """Write a picture and audio of the variant's median utterance, for the tracking server."""
    utterances = by_utterance(read_scores(score_paths))
    sound = listening.TestAudio(test_set, Path("results/test_sets") / stage, {variant: seed})
    own = utterances[utterances["method"] == variant].dropna(subset="si_sdr").sort_values("si_sdr")
    if own.empty:
        return []
    waves = sound.signals(sound.table.loc[own["id"].iloc[len(own) // 2]], [variant])
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{test_set}-median.png"]
    figures.signals(waves, sound.rate).savefig(paths[0], dpi=80)
    for name, wave in waves.items():
        shown = "enhanced" if name == variant else name
        path = folder / f"{test_set}-median-{shown}.wav"
        soundfile.write(path, np.clip(wave, -1, 1), sound.rate)
        paths.append(path)
    return paths
