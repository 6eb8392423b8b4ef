"""What several verbs need: finding models, checking targets, and telling results."""

from __future__ import annotations

import argparse
import contextlib
import glob
import json
import math
import os
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from denoise.core.bundled import bundled, presets_of
from denoise.core.errors import UserError, did_you_mean
from denoise.core.tables import read_table
from denoise.core.terminal import say, show, show_json, warn
from denoise.metrics.registry import METRICS
from denoise.networks.card import ModelFolder, read_card
from denoise.study import paths

_MENTIONS = re.compile(r"\bextensions\b|\.py:")
READY = ("best", "stream")
"""The models that come with the program: for recordings, and for streams."""


class Parser(argparse.ArgumentParser):
    """A parser whose messages, which repeat what was given, are safe to look at."""

    def _print_message(self, message: str, file: Any = None) -> None:
        if message:
            told = show if file is sys.stdout else say
            told(*message.removesuffix("\n").split("\n"))


def add_json(verb: argparse.ArgumentParser) -> None:
    """Give a verb the option ``--json``."""
    verb.add_argument("--json", action="store_true", help="print the result as JSON, for scripts")


def places(metric: str) -> int:
    """Decimals that a measure is shown with."""
    return 6 if metric.startswith("mse") else 3


def add_configfile(verb: argparse.ArgumentParser) -> None:
    """Give a verb the option ``--configfile``."""
    verb.add_argument(
        "--configfile",
        nargs="+",
        default=[],
        type=Path,
        metavar="FILE",
        help="as given to `denoise run --configfile`, instead of config.yaml",
    )


def print_json(value: Any) -> None:
    """Print a value as JSON; what is no number is null."""
    text = json.dumps(_for_json(value), indent=1, ensure_ascii=False, allow_nan=False)
    show_json(text)


def _for_json(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _for_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_for_json(item) for item in value]
    if isinstance(value, pd.DataFrame):
        return _for_json(value.to_dict("records"))
    if isinstance(value, np.generic):
        return _for_json(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, Path) else value


def load_own_extensions() -> None:
    """Register what the study in this folder, if there is one, brings along.

    Raises
    ------
    UserError
        If its configuration or an extension cannot be read.
    """
    from denoise.study.config import load, own_config, read_yaml

    own = own_config()
    if own is None or not _MENTIONS.search(own.read_text(encoding="utf-8", errors="replace")):
        return
    from denoise.study.plan import load_extensions

    presets = presets_of(Path.cwd())
    load_extensions(*load(read_yaml(own), presets, own.name), presets)


def expanded(paths: Iterable[Path]) -> list[Path]:
    """The paths, with patterns as in ``*.wav`` replaced by what they match in order of name.

    Most shells do this before; a pattern that matches nothing stays, to be named in an error.
    """
    found: list[Path] = []
    for path in paths:
        # Not `Path.glob`, which takes no absolute patterns.
        matches = [] if path.exists() else sorted(glob.glob(str(path), recursive=True))  # noqa: PTH207
        found += map(Path, matches) if matches else [path]
    return found


def must_be_new(path: Path, suffix: str, *, force: bool) -> None:
    """Refuse a target that exists already, unless overwriting it is wanted.

    Raises
    ------
    UserError
        If `path` is a folder, exists and `force` is not given, or does not end in `suffix`, as a
        recording does not.
    """
    if path.is_dir():
        raise UserError(f"-o {path} is a folder: give the name of a file")
    if path.suffix.lower() != suffix:
        raise UserError(f"-o {path} must end in {suffix}")
    if path.exists() and not force:
        raise UserError(f"{path} exists already: give --force to overwrite, or another -o")


def trained_models() -> pd.DataFrame:
    """A row for each model of this folder, label and test set with its mean scores, newest first.

    Columns ``experiment``, ``variant``, ``seed``, ``rate``, ``parameters``, ``folder``, ``trained``
    (seconds since 1970), and, where it was scored, ``test_set``, its ``split`` and the metrics.  A
    file that cannot be read is named on standard error and left out.
    """
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
        scored = {name: path for name, path in scores.items() if path.is_file()}
        rows += [about | _mean_scores(name, path) for name, path in scored.items()] or [about]
    table = pd.DataFrame(rows)
    if rows:
        table = table.sort_values(["trained", "folder"], ascending=[False, True], kind="stable")
    return table.reset_index(drop=True)


def _mean_scores(test_set: str, path: Path) -> dict[str, Any]:
    """What a table of scores says of its test set; nothing if it cannot be read."""
    try:
        table = read_table(path)
        found = table.reindex(columns=list(METRICS)).mean()
        means = {name: round(value, places(name)) for name, value in found.items()}
        return {"test_set": test_set, "split": table["split"].iloc[0], **means}
    except (ValueError, KeyError, IndexError, TypeError) as error:
        warn(f"{path} is no table of scores ({error!r})")
        return {}


def ready_models() -> dict[str, Path]:
    """The folders of the models that come with the program, by name."""
    folders = {name: bundled("pretrained") / name for name in READY}
    return {name: path for name, path in folders.items() if ModelFolder(path).complete()}


def find_model(name: str) -> Path:
    """The folder of a model by path, by its label or ``experiment/label``, or of one that is ready.

    Models trained here go before those that come with the program.

    Raises
    ------
    UserError
        If there is none, with the names that there are.
    """
    from denoise.study.results import find_labelled, labelled_models

    # A folder of seeds, as `denoise models --unused` lists, stands for its first.
    for folder in (Path(name), *sorted(Path(name).glob("seed*"))):
        if ModelFolder(folder).model.is_file():
            return folder
    found = find_labelled(name)
    if found is not None:
        return found.path
    ready = ready_models()
    if name in ready:
        return ready[name]
    if Path(name).is_dir():
        raise UserError(
            f"{name} is not a model: it has no model.keras (see `denoise models` for those "
            "that are trained here)"
        )
    trained = [one.label for one in labelled_models()]
    known = list(dict.fromkeys([*ready, *trained]))
    raise UserError(
        f"no model '{name}'{did_you_mean(name, known)}: there are {', '.join(known)}"
        + ("" if trained else f" (none is trained in {paths.MODELS.absolute()})")
    )


@contextlib.contextmanager
def quiet_native_libraries() -> Iterator[None]:
    """Hide what compiled libraries write to the terminal while a network is loaded."""
    sys.stderr.flush()
    saved, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    try:
        yield
    finally:
        sys.stderr.flush()
        os.dup2(saved, 2)
        os.close(saved)
        os.close(null)
