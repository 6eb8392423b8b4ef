"""``denoise where``: say where the results are."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from denoise.cli.shared import add_json, print_json
from denoise.errors import UserError


def add(verbs: Any) -> None:
    """Add the verb to the parser."""
    verb = verbs.add_parser(
        "where", help="say where the newest report is", description="Say where the results are."
    )
    add_json(verb)
    verb.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Carry out ``denoise where``: the report of ``config.yaml``, or else the newest."""
    reports = sorted(Path("reports").glob("*/report.html"), key=lambda path: path.stat().st_mtime)
    if Path("config.yaml").is_file():
        from denoise.config import read_yaml

        config = read_yaml(Path("config.yaml"))
        name = config.get("experiment") or Path(str(config.get("preset", ""))).stem
        reports += [path for path in reports if path.parent.name == name]
    if not reports:
        raise UserError("there is no report in this folder yet: run `snakemake --cores all all`")
    report = reports[-1].resolve()
    if options.json:
        print_json({"report": report, "leaderboard": report.with_name("leaderboard.csv")})
        return
    print(f"Report:      {report}")
    print(f"Leaderboard: {report.with_name('leaderboard.csv')}")
    print("MLflow UI:   make ui, then open http://127.0.0.1:5000")
    print("Your files:  denoise enhance noisy.wav")
