"""``denoise models``: list the models with their scores."""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

from denoise.cli.shared import add_json, print_json, ready_models, trained_models
from denoise.core.errors import UserError
from denoise.core.terminal import say, show, warn
from denoise.networks.card import ModelFolder, read_card
from denoise.study import paths
from denoise.study.command import run_command


def add(verbs: Any) -> None:
    """Add the verb to the parser."""
    verb = verbs.add_parser(
        "models",
        help="list the trained models with their scores",
        description="List the models that come with the program, and those trained in this folder "
        "with their scores, newest first. Experiments share models, which lie in folders named by "
        "their settings; the names listed are those of the experiments.",
    )
    verb.add_argument(
        "--unused",
        action="store_true",
        help="list the models that neither config.yaml nor a report names any more",
    )
    verb.add_argument(
        "--delete",
        action="store_true",
        help="with --unused: delete them, with the audio and scores that were made with them",
    )
    add_json(verb)
    verb.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Carry out ``denoise models``."""
    if options.delete and not options.unused:
        raise UserError("--delete deletes what --unused lists: give both")
    if options.unused:
        _unused(options)
    else:
        _list(options)


def _list(options: argparse.Namespace) -> None:
    ready = {}
    for name, path in ready_models().items():
        try:
            ready[name] = read_card(ModelFolder(path).card)
        except UserError as error:
            warn(error)
    table = trained_models()
    if options.json:
        about = [
            {"name": name, "rate": card.rate, "parameters": card.parameters}
            for name, card in ready.items()
        ]
        print_json({"ready": about, "trained": table})
        return
    for name, card in ready.items():
        show(f"{name}: ready to use, {card.rate} Hz, {card.parameters:,} parameters")
    if table.empty:
        show(
            "the models that are trained here have no label any more: see `denoise models --unused`"
            if any(paths.MODELS.glob("*/seed*/card.json"))
            else f"no model is trained in this folder yet: type `{run_command()}`"
        )
        return
    shown = ["variant", "seed", "rate", "parameters", "test_set", "split", "si_sdr",
             "pesq_nb", "pesq_wb", "stoi", "folder"]  # fmt: skip
    if table["experiment"].nunique() > 1:
        shown.insert(0, "experiment")
    columns = [name for name in shown if name in table and table[name].notna().any()]
    show(*table[columns].replace({np.nan: "–"}).to_string(index=False).split("\n"))


def _unused(options: argparse.Namespace) -> None:
    from denoise.study.results import check_not_running, delete_model, unused_models

    if options.delete:
        check_not_running()
    folders = unused_models()
    sizes = {
        folder: sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        for folder in folders
    }
    if options.json:
        print_json({"unused": folders, "deleted": options.delete})
    for folder in folders:
        if options.delete:
            delete_model(folder)
        if not options.json:
            did = "deleted" if options.delete else "unused"
            show(f"{did}: {folder} ({sizes[folder] / 1e6:.1f} MB)")
    if not folders:
        say("every model is named by config.yaml or a report")
    elif not options.delete:
        say("to delete them: denoise models --unused --delete")
