"""``denoise stream``: denoise audio as it comes."""

from __future__ import annotations

import argparse
import json
import os
import sys
from typing import Any

import numpy as np

from denoise.api import READY, find_model
from denoise.cli.shared import add_application, application, quiet_native_libraries
from denoise.core.errors import UserError
from denoise.core.terminal import say

PCM = {"s16le": "<i2", "f32le": "<f4"}
"""Formats of a stream's samples, and their NumPy types."""


_RATES = (8000, 192_000)
_MOST_CHANNELS = 32


def add(verbs: Any) -> None:
    """Add the verb to the parser."""
    verb = verbs.add_parser(
        "stream",
        examples=[
            "denoise stream --microphone | aplay -t raw -f S16_LE -r 16000",
            "arecord -t raw -f S16_LE -r 48000 | denoise stream --rate 48000 > clean.pcm",
        ],
        description="Denoise raw PCM from standard input, or a microphone, to standard output, "
        "block by block. Rates that are multiples of the model's have the latency of one frame.",
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
        "--rate", type=int, metavar="HZ", help="samples per second (default the model's)"
    )
    verb.add_argument("--channels", type=int, default=1, help="interleaved (default %(default)s)")
    add_application(verb)
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
    settings = application(options)
    if options.rate is not None and not _RATES[0] <= options.rate <= _RATES[1]:
        raise UserError(f"--rate {options.rate} must be between {_RATES[0]} and {_RATES[1]} Hz")
    if not 1 <= options.channels <= _MOST_CHANNELS:
        raise UserError(f"--channels {options.channels} must be between 1 and {_MOST_CHANNELS}")
    folder = find_model(options.model)
    if options.microphone is None and (sys.stdin is None or sys.stdin.isatty()):
        raise UserError(
            "standard input is a terminal or closed: pipe raw PCM into `denoise stream`, or give "
            "--microphone"
        )
    if sys.stdout is None:
        raise UserError("standard output is closed: it is where the audio goes")
    from denoise.enhancement.live import Times, blocks_of, blocks_of_microphone, follow, load_stream

    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with quiet_native_libraries():
        stream = load_stream(folder, settings, options.rate, options.channels, options.runtime)
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
            f"model {folder}: {stream.rate} Hz, {options.channels} channel"
            f"{'s' if options.channels > 1 else ''} {options.format}, blocks of {stream.hop} "
            f"samples, latency {about['latency_ms']:.4g} ms"
        )
    if options.microphone is None:
        blocks = blocks_of(sys.stdin.buffer, stream.hop, kind, options.channels)
    else:
        blocks = blocks_of_microphone(options.microphone, stream.rate, stream.hop, options.channels)
    times = Times()
    try:
        follow(stream, blocks, sys.stdout.buffer, kind, times)
    finally:
        if options.json:
            told = times.as_dict(stream.hop / stream.rate) if times.count else {}
            say(json.dumps(about | told))
        elif times.count:
            say(times.summary(stream.hop / stream.rate))
