"""Descriptions of runs and experiments for the MLflow UI."""

from __future__ import annotations

import json
import urllib.parse
from typing import Any

import pandas as pd

from denoise.core.settings import Settings
from denoise.tracking.params import in_words
from denoise.tracking.store import Store

NOTE = "mlflow.note.content"


VIEW = "mlflow.sharedViewState.measures"
_IN_COLUMNS = ("pesq_wb", "pesq_nb", "stoi", "si_sdr", "si_sdr_80", "dnsmos_ovrl", "wer", "dwer")
"""The metrics in the list of runs; it is sorted by the first."""
WITH_INTERVAL = ("si_sdr", "pesq_nb", "pesq_wb", "stoi", "dnsmos_ovrl", "wer", "dwer")


class RunAbout(Settings):
    """Information about a run besides its training."""

    experiment: str
    variant: str
    """Its label in the experiment."""
    name: str
    preset: str
    data: str
    """In words."""
    differs: dict[str, Any] = {}
    """Config path → value of what makes this variant."""
    settings: dict[str, Any] = {}
    """Config path → value of all that differ among the variants."""


def note_of_run(about: RunAbout, final: dict[str, float], last_line: str) -> str:
    """The description of a run, in Markdown."""
    differs = [f"`{path}`: {in_words(value)}" for path, value in about.differs.items()]
    lines = [
        f"Preset **{about.preset}**" + (f" with {', '.join(differs)}." if differs else "."),
        f"Data: {about.data}.",
        "",
        "| metric | mean | 95 % interval |",
        "|---|---|---|",
    ]
    for name, value in final.items():
        test_set, _, metric = name.partition("/")
        low = final.get(f"{test_set}/interval/{metric}_low")
        if low is not None:
            high = final[f"{test_set}/interval/{metric}_high"]
            lines.append(f"| {name} | {value:.3f} | {low:.3f} … {high:.3f} |")
    return "\n".join([*lines, "", last_line])


def report_link(store: Store, experiment: str) -> str:
    """URL of the report, an artifact of the parent run."""
    parent = store.parent_run(experiment)
    return f"#/experiments/{store.experiment(experiment)}/runs/{parent}/artifacts/report.html"


def page_of(experiment_id: str) -> str:
    """Where the UI lists the runs of an experiment in the view of `view_of`.

    With the kind of view named: left to itself, the UI opens that for language models.
    """
    query = {"workflowType": "machine_learning", "viewStateShareKey": VIEW.rpartition(".")[-1]}
    return f"#/experiments/{experiment_id}/runs?{urllib.parse.urlencode(query)}"


def view_of(leaderboard: pd.DataFrame) -> str:
    """A view of the runs as MLflow shares views: their metrics as columns, the best PESQ first.

    JSON for the tag `VIEW` of the experiment.
    """
    # As the report does: what is known by comparison goes before what is predicted.
    compared = leaderboard[leaderboard["si_sdr"].notna()]
    test_set = (compared if len(compared) else leaderboard)["test_set"].iloc[0]
    rows = leaderboard[leaderboard["test_set"] == test_set]
    shown = [name for name in _IN_COLUMNS if rows[name].notna().any()]
    columns = [f"metrics.`{test_set}/{name}`" for name in shown]
    return json.dumps({"orderByKey": columns[0], "orderByAsc": False, "selectedColumns": columns})


def note_of_experiment(table: pd.DataFrame, first_line: str) -> str:
    """The description of an experiment, in Markdown: the first rows of its leaderboard."""
    lines = [first_line]
    for test_set, rows in table.groupby("test_set", sort=False):
        shown = [name for name in WITH_INTERVAL if rows[name].notna().any()]
        lines += ["", f"| {test_set} | {' | '.join(shown)} |", "|---" * (len(shown) + 1) + "|"]
        for row in rows.head(12).to_dict("records"):
            values = " | ".join(f"{row[name]:.3f}" for name in shown)
            lines.append(f"| {row['variant']} | {values} |")
        if len(rows) > 12:
            lines.append(f"\n… and {len(rows) - 12} more")
    return "\n".join(lines)
