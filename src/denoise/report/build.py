"""The report of an experiment: one self-contained HTML file, and its figures beside it.

The page answers first which variant wins, by how much, how certainly and at what cost.  Its tables
and SVG figures are made here; ``page.js`` sorts, filters and compares what is there already, and
``player.js`` plays utterances.
"""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from denoise.core import files
from denoise.core.labels import brief_value
from denoise.core.tables import read_table
from denoise.evaluation.baselines import BASELINES
from denoise.evaluation.conditions import main_effects
from denoise.evaluation.experiment import ExperimentRecord
from denoise.evaluation.scores import by_utterance
from denoise.report import background, blind, figures, sections
from denoise.report.answer import summary, with_costs
from denoise.report.pages import Pictures, asset, render
from denoise.report.sections import MAIN, shown

USES = ("template.html", "blind_section.html", "style.css", "page.js", "player.js")


@dataclass(frozen=True)
class ReportInputs:
    """What a report is made from, beside the files that the record of the experiment names."""

    scores: Path
    """All score tables as one, with ``method``, ``seed`` and ``test_set``."""
    leaderboard: Path
    pairwise: Path
    prepared: list[Path]
    """Manifests of prepared audio."""
    splits: list[Path]
    spectrograms: list[Path]
    """Manifests of cached windows."""
    blind: Path | None
    """Scores of a blind listening test."""
    benchmarks: list[tuple[str, str, Path]]
    """Rule, what it was for, and Snakemake's benchmark file of every job."""


@dataclass(frozen=True)
class ReportFiles:
    """What is written."""

    report: Path
    study: Path
    """The record of the experiment, beside the report that it belongs to."""
    figures: Path
    """A folder."""


def write_report(
    record: ExperimentRecord, given: ReportInputs, provenance: dict[str, str], out: ReportFiles
) -> None:
    """Write the page, its figures and the record of the experiment.

    Parameters
    ----------
    provenance
        Lines for the provenance section.
    """
    scores = read_table(given.scores)
    utterances = by_utterance(scores)
    board, pairs = read_table(given.leaderboard), read_table(given.pairwise)
    trained = background.trained_models(record)
    histories = background.histories(trained)
    board = with_costs(board, trained, record)
    styles = figures.styles(
        dict.fromkeys(board["variant"]),
        {name: variant.short for name, variant in record.variants.items()},
    )
    shutil.rmtree(out.figures, ignore_errors=True)
    out.figures.mkdir(parents=True)
    results = sections.Results(
        record, scores, utterances, board, pairs, _effects(scores, record), styles
    )
    draw = Pictures(out.figures)
    test_sets = [sections.test_set(name, results, draw) for name in record.test_sets]
    curves = figures.learning_curves(histories, styles)
    speakers = {
        name: int(utterances.loc[utterances["test_set"] == name, "speaker"].nunique())
        for name in record.test_sets
    }
    context = {
        "title": record.experiment,
        "made": time.strftime("%Y-%m-%d %H:%M"),
        "record": record,
        "baselines": {name: baseline.about for name, baseline in BASELINES.items()}
        | {
            label: f"the ready model in {method.models[0]}"
            for label, method in record.methods.items()
            if method.kind == "model"
        },
        "answer": summary(board, pairs, styles, next(iter(record.test_sets))),
        "speakers": speakers,
        "test_sets": test_sets,
        "metrics": [name for name in shown() if board[name].notna().any()],
        "main": [name for name in MAIN if board[name].notna().any()],
        "titles": {name: figures.title(name) for name in shown()},
        "styles": styles,
        "curves": [
            draw.svg(f"learning-{name}", figure, f"{name} by epoch for every variant")
            for name, figure in curves.items()
        ],
        "models": background.models(trained, histories),
        "blind": blind.section(record.experiment, given.blind),
        "data": background.data_card(given.prepared, given.splits, given.spectrograms, record),
        "mixtures": background.mixture_examples(record),
        "provenance": {
            **provenance,
            **background.trained_with(trained),
            **background.software(),
        },
        "wall_times": background.wall_times(given.benchmarks),
        "recipes": {
            name: json.dumps(variant.recipe, indent=1, ensure_ascii=False)
            for name, variant in record.variants.items()
        },
        "page_data": sections.page_data(results),
        "style": asset("style.css"),
        "scripts": [asset("player.js"), asset("page.js")],
    }
    record.write(out.study)
    files.write_text(out.report, render("template.html", **context))


def _effects(scores: pd.DataFrame, record: ExperimentRecord) -> pd.DataFrame:
    """The main effects of the swept settings; empty without a sweep."""
    if not record.sweep:
        return pd.DataFrame()
    settings = {
        label: {path: brief_value(variant.differs[path]) for path in record.sweep}
        for label, variant in record.variants.items()
    }
    measured = [metric for metric in MAIN if scores[metric].notna().any()]
    return main_effects(scores, settings, measured)
