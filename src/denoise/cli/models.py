"""``denoise models``: list the models with their scores."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from denoise.api import has_study, ready_models
from denoise.cli.shared import add_json, places, print_json
from denoise.core.errors import UserError
from denoise.core.terminal import say, show, warn
from denoise.core.text import table_lines
from denoise.networks.card import ModelFolder, read_card
from denoise.study import paths


def add(verbs: Any) -> None:
    """Add the verb to the parser."""
    verb = verbs.add_parser(
        "models",
        examples=[
            "denoise models",
            "denoise models --unused --delete",
        ],
        description="List the models that come with the program, and those trained in this folder "
        "with their scores, newest first. A model has the name of its variant; its folder is named "
        "after its settings, because several experiments may use it.",
    )
    verb.add_argument(
        "--unused",
        action="store_true",
        help="list the models that neither config.yaml nor any report uses",
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
    trained = trained_models()
    if options.json:
        about = [
            {"name": name, "rate": card.rate, "parameters": card.parameters}
            for name, card in ready.items()
        ]
        print_json({"ready": about, "trained": trained})
        return
    for name, card in ready.items():
        show(f"{name}: ready to use, {card.rate} Hz, {card.parameters:,} parameters")
    if not trained:
        from denoise.study.command import run_command

        show(
            "the models that are trained here have no label any more: see `denoise models --unused`"
            if any(paths.MODELS.glob("*/seed*/card.json"))
            else f"no model is trained in this folder yet: type `{run_command()}`"
        )
        return
    shown = ["variant", "seed", "rate", "parameters", "test_set", "split", "si_sdr",
             "pesq_nb", "pesq_wb", "stoi", "dnsmos_ovrl", "wer", "folder"]  # fmt: skip
    if len({row["experiment"] for row in trained}) > 1:
        shown.insert(0, "experiment")
    columns = [name for name in shown if any(row.get(name) is not None for row in trained)]
    show(*table_lines([{name: row.get(name) for name in columns} for row in trained]))


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


def trained_models() -> list[dict[str, Any]]:
    """A row for each model of this folder, label and test set with its mean scores, newest first.

    Fields ``experiment``, ``variant``, ``seed``, ``rate``, ``parameters``, ``folder``, ``trained``
    (seconds since 1970), and, where it was scored, ``test_set``, its ``split`` and the metrics.  A
    file that cannot be read is named on standard error and left out.
    """
    if not has_study():
        return []
    from denoise.study.results import labelled_models

    rows: list[dict[str, Any]] = []
    for one in labelled_models():
        try:
            card = read_card(one.folder.card)
        except UserError as error:
            warn(error)
            continue
        about = {
            "experiment": one.experiment,
            "variant": one.label,
            "seed": one.seed,
            "rate": card.rate,
            "parameters": card.parameters,
            "folder": str(one.folder.path),
            "trained": one.folder.card.stat().st_mtime,
        }
        runs = one.record.methods[one.label].runs
        scores = {name: found[one.seed].scores for name, found in runs.items()}
        found = [
            {"test_set": name, **means}
            for name, tables in scores.items()
            if (means := _mean_scores(tables))
        ]
        rows += [about | one for one in found] or [about]
    return sorted(rows, key=lambda row: (-row["trained"], row["folder"]))


def _mean_scores(paths: Iterable[Path]) -> dict[str, Any]:
    """The means of the metrics in tables of one test set; nothing where none is there or can be
    read."""
    from denoise.core.tables import read_table
    from denoise.metrics.registry import METRICS, SCORED

    means: dict[str, Any] = {}
    for path in filter(Path.is_file, paths):
        try:
            table = read_table(path)
            found = table[[name for name in SCORED if name in table]].mean()
            split = table["split"].iloc[0]
        except (ValueError, KeyError, IndexError, TypeError) as error:
            warn(f"{path} is no table of scores ({error!r})")
            continue
        means |= {"split": split} | {
            name: None if value != value else round(value, places(name))
            for name, value in found.items()
        }
    return dict.fromkeys(METRICS) | means if means else {}
