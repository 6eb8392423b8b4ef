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
from denoise.study.command import run_command

HOST, PORT = "127.0.0.1", 5000
"""Address of the MLflow UI, reachable from this machine only."""


def add(verbs: Any) -> None:
    """Add the verb to the parser."""
    verb = verbs.add_parser(
        "where",
        examples=[
            "denoise where",
            "denoise where --json",
        ],
        description="Print the path of the report and the address of the MLflow UI.",
    )
    add_json(verb)
    verb.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Carry out ``denoise where``: the report of ``config.yaml``, or else the newest."""
    report = newest_report()
    if report is None:
        raise UserError(f"there is no report in this folder yet: type `{run_command()}`")
    page = page_in_ui(report.parent.name)
    if options.json:
        board = report.with_name("leaderboard.csv")
        print_json({"report": report, "leaderboard": board, "ui": page})
        return
    show(f"Report:      {report}")
    show(f"Leaderboard: {report.with_name('leaderboard.csv')}")
    show(f"MLflow UI:   denoise ui, then open {page}")
    show("Your files:  denoise enhance noisy.wav")


def newest_report() -> Path | None:
    """The report of ``config.yaml``, or else the newest of this folder."""
    reports = sorted(paths.REPORTS.glob("*/report.html"), key=lambda path: path.stat().st_mtime)
    own = paths.own_config()
    if own is not None and len(reports) > 1:
        from denoise.study.config import read_yaml

        config = read_yaml(own)
        name = config.get("experiment") or Path(str(config.get("preset", ""))).stem
        reports += [path for path in reports if path.parent.name == name]
    return reports[-1].resolve() if reports else None


def page_in_ui(experiment: str, port: int = PORT) -> str:
    """The runs of an experiment in the MLflow UI; its first page where they are not recorded."""
    from denoise.tracking.server import START

    path = paths.tracking(experiment, "experiment") if experiment else None
    page = files.read_json(path).get("page", "") if path is not None and path.is_file() else ""
    return f"http://{HOST}:{port}/{START}{page}"
