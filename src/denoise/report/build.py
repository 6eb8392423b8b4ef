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
from typing import Any

import pandas as pd

from denoise.core import files
from denoise.core.labels import brief_value
from denoise.core.tables import read_parquet, read_table
from denoise.evaluation.baselines import BASELINES
from denoise.evaluation.conditions import main_effects
from denoise.evaluation.experiment import ExperimentRecord
from denoise.evaluation.leaderboard import components
from denoise.evaluation.scores import by_utterance
from denoise.report import background, blind, figures, paper, sections
from denoise.report.answer import summary, with_costs
from denoise.report.exports import Exports
from denoise.report.pages import asset, render
from denoise.report.paper import bibliography
from denoise.report.tables import MAIN, Results, all_metrics

USES = ("template.html", "blind_section.html", "style.css", "page.js", "player.js")


@dataclass(frozen=True)
class ReportInputs:
    """Inputs of a report, in addition to the files in the record of the experiment."""

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
    """The output files."""

    report: Path
    study: Path
    """The record of the experiment, beside the report that it belongs to."""
    figures: Path
    """A folder, as the next two."""
    tables: Path
    paper: Path
    """The paragraph on the methods, its references, and a LaTeX page."""


def write_report(
    record: ExperimentRecord, given: ReportInputs, provenance: dict[str, str], out: ReportFiles
) -> None:
    """Write the page, its figures and the record of the experiment.

    Parameters
    ----------
    provenance
        Lines for the provenance section.
    """
    scores = read_parquet(given.scores)
    utterances = by_utterance(scores)
    board, pairs = read_table(given.leaderboard), read_table(given.pairwise)
    trained = background.trained_models(record)
    histories = background.histories(trained)
    board = with_costs(board, trained, record)
    styles = figures.styles(
        dict.fromkeys(board["variant"]),
        {name: paper.title_of(name) for name in BASELINES}
        | {name: variant.short for name, variant in record.variants.items()},
    )
    for folder in (out.figures, out.tables, out.paper):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    measured = [metric for metric in MAIN if scores[metric].notna().any()]
    results = Results(
        record,
        scores,
        utterances,
        board,
        pairs,
        components(scores, measured),
        _effects(scores, record, measured),
        styles,
    )
    exports = Exports(out.report.parent)
    test_sets = [sections.test_set(name, results, exports) for name in record.test_sets]
    data = background.data_card(given.prepared, given.splits, given.spectrograms, record)
    distributions = figures.distributions(background.mixture_tables(record))
    models = background.models(trained, histories)
    # What is known by comparison goes before what is predicted.
    first = next(
        (one["name"] for one in test_sets if one["has_clean"]), next(iter(record.test_sets))
    )
    methods = _write_paper(record, data, trained, measured, exports, first)
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
        "answer": summary(board, pairs, styles, first),
        "speakers": speakers,
        "test_sets": test_sets,
        "titles": {name: figures.title(name) for name in all_metrics()},
        "styles": styles,
        "curves": [
            exports.figure(
                f"learning-{name}", figure, f"{name} by epoch for every variant", histories
            )
            for name, figure in curves.items()
        ],
        "models": models,
        "model_files": exports.table(
            "trainings",
            pd.DataFrame(models),
            "The trainings.",
            pd.DataFrame(
                {
                    "Variant": [styles[one["variant"]].label for one in models],
                    "Seed": [one["seed"] for one in models],
                    "Parameters": [f"{one['parameters']:,}" for one in models],
                    "Windows": [f"{one['windows']:,}" for one in models],
                    "Best epoch": [one["best_epoch"] for one in models],
                    "Loss": [one["loss"] for one in models],
                    "Validation loss": [f"{one['val_loss']:.5f}" for one in models],
                    "Minutes": [f"{one['minutes']:.1f}" for one in models],
                }
            ),
        ),
        "blind": blind.section(record.experiment, given.blind),
        "data": data,
        "data_files": {
            name: exports.table(f"data-{name}", pd.DataFrame(data[name], columns=columns), caption)
            for name, columns, caption in _DATA_TABLES
        },
        "distributions": [
            exports.figure(f"mixtures-{name}", figure, f"Distribution of {name}, mixtures", shares)
            for name, (figure, shares) in distributions.items()
        ],
        "methods": methods,
        "bibliography": bibliography(methods),
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
    context["files"] = exports.packed()
    record.write(out.study)
    files.write_text(out.report, render("template.html", **context))


_DATA_TABLES = (
    ("sources", ["name", "stage", "used", "corpus", "recordings", "hours"], "Prepared recordings."),
    ("splits", ["name", "used", "split", "recordings", "speakers"], "Splits of the recordings."),
)
"""Tables of `background.data_card`: key, columns, caption."""


def _write_paper(
    record: ExperimentRecord,
    data: dict[str, Any],
    trained: list[background.TrainedModel],
    measured: list[str],
    exports: Exports,
    test_set: str,
) -> str:
    """Write the files for a paper, with a table and a figure of a test set; returns the paragraph
    on the methods."""
    text = paper.methods(record, data, trained, measured)
    metric = next(name for name in ("pesq_wb", "pesq_nb", *measured) if name in measured)
    caption = f"{figures.title(metric)} by input SNR, with 95 % intervals."
    exports.text("methods.md", text)
    exports.text("methods.tex", paper.as_latex(text))
    exports.text("references.bib", bibliography(text))
    exports.text(
        "example.tex",
        paper.example([f"{test_set}-leaderboard"], [f"{test_set}-by-snr-{metric}: {caption}"]),
    )
    return text


def _effects(scores: pd.DataFrame, record: ExperimentRecord, measured: list[str]) -> pd.DataFrame:
    """The main effects of the swept settings; empty without a sweep."""
    if not record.sweep:
        return pd.DataFrame()
    settings = {
        label: {path: brief_value(variant.differs[path]) for path in record.sweep}
        for label, variant in record.variants.items()
    }
    return main_effects(scores, settings, measured)
