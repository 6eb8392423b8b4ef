"""Print the means of some methods, and draw them by input SNR, from the scores of an experiment.

    python benchmarks/by_snr.py common best=ready-best stream=ready-stream rnnoise noisy \\
        --configfile benchmarks/pretrained.yaml own.yaml --write docs/images/ready-by-snr.svg

Each method is given by its name in the experiment, or as FIGURE_NAME=NAME if it has another
name in the figure. Means with 95 % intervals over seeds and speakers.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from snakemake.utils import update_config

from denoise.core import files
from denoise.evaluation.conditions import by_condition, snr_condition
from denoise.evaluation.experiment import ExperimentRecord
from denoise.evaluation.leaderboard import leaderboard
from denoise.evaluation.scores import join_scores
from denoise.metrics.registry import SCORED
from denoise.report import figures
from denoise.study.config import read_yaml
from denoise.study.plan import make_plan
from denoise.study.record import record_of

_METRICS = ("pesq_wb", "stoi", "si_sdr")


def scores_of(record: ExperimentRecord, test_set: str, methods: dict[str, str]) -> pd.DataFrame:
    """All scores on a test set; `methods` is the name in the result → that in the experiment."""
    tables = [
        ({"method": label, "seed": seed, "test_set": test_set}, path)
        for label, seed, run in record.runs(test_set)
        if label in methods.values()
        for path in run.scores
    ]
    missing = [str(path) for _, path in tables if not path.exists()]
    if missing:
        sys.exit(f"error: {', '.join(missing)} not there yet: let snakemake make it")
    names = {label: name for name, label in methods.items()}
    scores = join_scores(tables)
    return scores.assign(method=scores["method"].map(names))


def asked(given: list[str], configfiles: list[Path]) -> tuple[dict[str, str], ExperimentRecord]:
    """Methods by their names in the figure, given as ``[NAME=]METHOD``, and the experiment."""
    methods = {}
    for one in given:
        name, _, label = one.rpartition("=")
        methods[name or label] = label
    config: dict[str, Any] = {}
    for path in configfiles:
        update_config(config, read_yaml(path))
    return methods, record_of(make_plan(config, Path(__file__).parents[1] / "presets"))


def means(scores: pd.DataFrame) -> str:
    """The mean of every measure with its 95 % interval, a column for each method."""
    board = leaderboard(scores, []).set_index("variant")
    rows = {}
    for metric, about in SCORED.items():
        known = board[board[metric].notna()]
        if len(known):
            rows[about.title] = {
                name: f"{row[metric]:.3f} [{row[f'{metric}_ci_low']:.3f}, "
                f"{row[f'{metric}_ci_high']:.3f}]"
                for name, row in known.iterrows()
            }
    order = list(dict.fromkeys(scores["method"]))
    return pd.DataFrame(rows).T.reindex(columns=order).fillna("–").to_string()


def drawing(scores: pd.DataFrame, methods: list[str]) -> Figure:
    """The figure."""
    snrs = snr_condition(scores)
    drawn = figures.styles(methods)
    figure = Figure(figsize=(9.0, 2.9), layout="constrained")
    for axis, metric in zip(figure.subplots(1, len(_METRICS)), _METRICS, strict=True):
        figures.draw_by_snr(axis, by_condition(scores, metric, snrs), metric, drawn)
    figures.add_legend(figure)
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("test_set")
    parser.add_argument("methods", nargs="+", metavar="[NAME=]METHOD")
    parser.add_argument("--configfile", nargs="+", type=Path, default=[Path("config.yaml")])
    parser.add_argument("--write", type=Path, metavar="SVG", help="default: the means alone")
    options = parser.parse_args()
    methods, record = asked(options.methods, options.configfile)
    scores = scores_of(record, options.test_set, methods)
    print(means(scores))
    if options.write is None:
        return
    figure = drawing(scores, list(methods))
    with files.replacing(options.write) as temporary:
        figure.savefig(temporary, format=options.write.suffix[1:], metadata={"Date": None})


if __name__ == "__main__":
    main()
