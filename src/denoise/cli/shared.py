"""Shared code of the verbs: options, checks of targets, and output of results.

Every start of the command imports this module, so it imports little.
"""

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
from typing import TYPE_CHECKING, Any

from denoise.core.bundled import presets_of
from denoise.core.errors import UserError
from denoise.core.terminal import say, show, show_json

if TYPE_CHECKING:
    from denoise.enhancement.settings import EnhancementSettings

_MENTIONS = re.compile(r"\bextensions\b|\.py:")


class Parser(argparse.ArgumentParser):
    """A parser whose messages, which repeat what was given, are safe to look at."""

    def _print_message(self, message: str, file: Any = None) -> None:
        if message:
            told = show if file is sys.stdout else say
            told(*message.removesuffix("\n").split("\n"))


def add_json(verb: argparse.ArgumentParser) -> None:
    """Give a verb the option ``--json``."""
    verb.add_argument("--json", action="store_true", help="print the result as JSON, for scripts")


def add_application(verb: argparse.ArgumentParser) -> None:
    """Give a verb the options that say how a model is applied."""
    verb.add_argument(
        "--max-attenuation",
        type=float,
        metavar="DB",
        help="attenuation limit: attenuate no bin by more than this many dB (default none; 12 "
        "keeps much of the background, 30 little)",
    )
    verb.add_argument(
        "--strength",
        type=float,
        default=1.0,
        metavar="SHARE",
        help="share of the enhanced signal in the output, 0 to 1 (default 1); the rest is the "
        "input",
    )
    verb.add_argument(
        "--bandwidth",
        choices=["full", "model"],
        default="full",
        help="frequencies above the model's band: keep them, with the mean gain of 75 to "
        "90 %% of the band (full, the default), or remove them (model)",
    )
    verb.add_argument(
        "--separate-channels",
        action="store_true",
        help="enhance every channel by itself; by default all get the same gain, which keeps the "
        "stereo image",
    )
    verb.add_argument(
        "--runtime",
        choices=["onnx", "keras"],
        help="inference runtime (default onnx if the model has a model.onnx)",
    )


def application(options: argparse.Namespace, **more: Any) -> EnhancementSettings:
    """The settings from the options of `add_application` and `more`.

    Raises
    ------
    UserError
        If one is out of its range.
    """
    from denoise.enhancement.settings import EnhancementSettings

    limit = options.max_attenuation
    if limit is not None and not 0 <= limit <= 200:
        raise UserError(f"--max-attenuation {limit:g} must be between 0 and 200 dB")
    if not 0 <= options.strength <= 1:
        raise UserError(f"--strength {options.strength:g} must be between 0 and 1")
    return EnhancementSettings(
        strength=options.strength,
        max_attenuation_db=limit,
        bandwidth=options.bandwidth,
        link_channels=not options.separate_channels,
        **more,
    )


def places(metric: str) -> int:
    """Decimals that a metric is shown with."""
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
    if hasattr(value, "to_dict"):  # a table of pandas
        return _for_json(value.to_dict("records"))
    if hasattr(value, "item"):  # a number of NumPy
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
    from denoise.study.paths import own_config

    own = own_config()
    if own is None or not _MENTIONS.search(own.read_text(encoding="utf-8", errors="replace")):
        return
    from denoise.study.config import load, read_yaml
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
