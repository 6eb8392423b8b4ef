"""``denoise stream``: denoise audio as it comes."""

from __future__ import annotations

import argparse
import json
import os
import sys
from typing import Any

import numpy as np

from denoise.cli.shared import READY, find_model, quiet_native_libraries
from denoise.core.errors import UserError
from denoise.core.terminal import say

PCM = {"s16le": "<i2", "f32le": "<f4"}
"""Formats of a stream's samples, and their NumPy types."""


def add(verbs: Any) -> None:
    """Add the verb to the parser."""
    verb = verbs.add_parser(
        "stream",
        help="denoise audio as it comes",
        description="Denoise raw PCM (mono, at the model's rate) from standard input, or a "
        "microphone, to standard output, block by block. Example: arecord -t raw -f S16_LE "
        "-r 16000 | denoise stream | aplay -t raw -f S16_LE -r 16000",
    )
    verb.add_argument(
        "--model",
        default=READY[1],
        help="a causal model listed by `denoise models`, or its folder (default %(default)s)",
    )
    verb.add_argument(
        "--format", choices=sorted(PCM), default="s16le", help="samples (default %(default)s)"
    )
    verb.add_argument(
        "--microphone",
        nargs="?",
        const="",
        metavar="DEVICE",
        help="read from a microphone: the default one, or one by number or name",
    )
    verb.add_argument(
        "--json",
        action="store_true",
        help="instead of messages, print JSON at the end, to standard error: the audio is on "
        "standard output",
    )
    verb.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Carry out ``denoise stream``."""
    folder = find_model(options.model)
    if options.microphone is None and (sys.stdin is None or sys.stdin.isatty()):
        raise UserError(
            "standard input is a terminal or closed: pipe raw PCM into `denoise stream`, or give "
            "--microphone"
        )
    if sys.stdout is None:
        raise UserError("standard output is closed: it is where the audio goes")
    from denoise.enhancement.live import Times, blocks_of, blocks_of_microphone, follow, load_stream
    from denoise.networks import backend

    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with quiet_native_libraries():
        backend.start("tensorflow", threads=1, deterministic=False)
        stream = load_stream(folder)
        stream.warm_up()
    kind = np.dtype(PCM[options.format])
    about = {
        "model": str(folder),
        "rate": stream.rate,
        "block": stream.hop,
        "latency_ms": 1000 * stream.latency / stream.rate,
    }
    if not options.json:
        say(
            f"model {folder}: {stream.rate} Hz mono {options.format}, blocks of {stream.hop} "
            f"samples, latency {about['latency_ms']:g} ms"
        )
    if options.microphone is None:
        blocks = blocks_of(sys.stdin.buffer, stream.hop, kind)
    else:
        blocks = blocks_of_microphone(options.microphone, stream.rate, stream.hop)
    times = Times()
    try:
        follow(stream, blocks, sys.stdout.buffer, kind, times)
    finally:
        if options.json:
            told = times.as_dict(stream.hop / stream.rate) if times.count else {}
            say(json.dumps(about | told))
        elif times.count:
            say(times.summary(stream.hop / stream.rate))
