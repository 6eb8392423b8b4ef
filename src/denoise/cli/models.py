"""``denoise models``: list the models with their scores."""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

from denoise.cli.shared import add_json, print_json, ready_models, trained_models
from denoise.core import files


def add(verbs: Any) -> None:
    """Add the verb to the parser."""
    verb = verbs.add_parser(
        "models",
        help="list the trained models with their scores",
        description="List the models that come with the program, and those trained in this folder "
        "with their scores, newest first.",
    )
    add_json(verb)
    verb.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Carry out ``denoise models``."""
    ready = {name: files.read_json(path / "card.json") for name, path in ready_models().items()}
    table = trained_models()
    if options.json:
        about = [
            {"name": name, "rate": card["rate"], "parameters": card["parameters"]}
            for name, card in ready.items()
        ]
        print_json({"ready": about, "trained": table})
        return
    for name, card in ready.items():
        print(f"{name}: ready to use, {card['rate']} Hz, {card['parameters']:,} parameters")
    if table.empty:
        print("no model is trained in this folder yet: run `snakemake --cores all all`")
        return
    shown = ["variant", "seed", "rate", "parameters", "test_set", "split", "si_sdr",
             "pesq_nb", "pesq_wb", "stoi", "folder"]  # fmt: skip
    columns = [name for name in shown if name in table and table[name].notna().any()]
    print(table[columns].replace({np.nan: "–"}).to_string(index=False))
