"""``denoise where``: say where the results are."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from denoise.cli.shared import add_json, print_json
from denoise.core import files
from denoise.core.errors import UserError
from denoise.core.terminal import show
from denoise.study import paths
from denoise.study.config import own_config, read_yaml


def add(verbs: Any) -> None:
    """Add the verb to the parser."""
    verb = verbs.add_parser(
        "where", help="say where the newest report is", description="Say where the results are."
    )
    add_json(verb)
    verb.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Carry out ``denoise where``: the report of ``config.yaml``, or else the newest."""
    reports = sorted(paths.REPORTS.glob("*/report.html"), key=lambda path: path.stat().st_mtime)
    own = own_config()
    if own is not None:
        config = read_yaml(own)
        name = config.get("experiment") or Path(str(config.get("preset", ""))).stem
        reports += [path for path in reports if path.parent.name == name]
    if not reports:
        raise UserError("there is no report in this folder yet: run `snakemake --cores all all`")
    report = reports[-1].resolve()
    page = _page(report.parent.name)
    if options.json:
        board = report.with_name("leaderboard.csv")
        print_json({"report": report, "leaderboard": board, "ui": f"{_SERVER}/{page}"})
        return
    show(f"Report:      {report}")
    show(f"Leaderboard: {report.with_name('leaderboard.csv')}")
    show(f"MLflow UI:   make ui, then open {_SERVER}/{page}")
    show("Your files:  denoise enhance noisy.wav")


_SERVER = "http://127.0.0.1:5000"


def _page(experiment: str) -> str:
    """The runs of an experiment in the MLflow UI; its first page where they are not recorded."""
    path = paths.tracking(experiment, "experiment")
    return str(files.read_json(path).get("page", "")) if path.is_file() else ""
