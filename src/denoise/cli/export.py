"""``denoise export``: write a model for other run-times."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

from denoise.api import READY, find_model
from denoise.cli.shared import add_json, print_json, quiet_native_libraries
from denoise.core.errors import UserError
from denoise.core.terminal import say

_MOST_FRAMES = 100_000
"""Largest number of frames per call; half an hour at the usual hop."""


def add(verbs: Any) -> None:
    """Add the verb to the parser."""
    verb = verbs.add_parser(
        "export",
        examples=[
            "denoise export best --format onnx",
            "denoise export my-study/small --format litert -o small.tflite",
        ],
        description="Write a model's network, with its transforms in the metadata; "
        "examples/exported.py runs the result without this package.",
    )
    verb.add_argument(
        "model", nargs="?", default=READY[0], help="a model or its folder (default %(default)s)"
    )
    verb.add_argument("--format", required=True, choices=["litert", "onnx", "savedmodel"])
    verb.add_argument(
        "-o",
        "--output",
        type=Path,
        help="default NAME.tflite, NAME.onnx or the folder NAME.savedmodel",
    )
    verb.add_argument(
        "--frames", type=int, help="number of frames per call, if the network takes any number"
    )
    verb.add_argument("--force", action="store_true", help="overwrite an existing output")
    add_json(verb)
    verb.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Carry out ``denoise export``."""
    from denoise.networks.export import FORMATS, export

    folder = find_model(options.model)
    if options.frames is not None and not 1 <= options.frames <= _MOST_FRAMES:
        raise UserError(f"--frames {options.frames} must be between 1 and {_MOST_FRAMES:,}")
    suffix = FORMATS[options.format]
    from denoise.networks.card import ModelFolder, read_card

    target = options.output or Path(read_card(ModelFolder(folder).card).name + suffix)
    if options.format != "savedmodel" and target.suffix != suffix:
        raise UserError(f"-o {target}: {options.format} files end in {suffix}")
    if target.exists() and not options.force:
        raise UserError(f"{target} exists already: give --force to overwrite, or another -o")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with quiet_native_libraries():
        about = export(folder, options.format, target, options.frames)
    shapes = ", ".join("x".join(str(n or "any") for n in shape) for shape in about["inputs"][:1])
    states = f" and {about['states']} states" if about["states"] else ""
    say(f"{folder} -> {target}: input {shapes}{states}")
    if options.json:
        print_json({"model": folder, "output": target, **about})
