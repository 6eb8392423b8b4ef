"""The ``denoise`` command: use, compare and listen to the speech denoisers that were trained here.

Each verb is a module that adds itself to the parser and runs.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator

import shtab

import denoise
from denoise.cli import (
    compare,
    demo,
    enhance,
    export,
    listen,
    models,
    new,
    plan,
    run,
    score,
    stream,
    ui,
    where,
    why,
)
from denoise.cli.completion import complete_values
from denoise.cli.shared import Parser, load_own_extensions
from denoise.core import terminal
from denoise.core.boundary import report_errors
from denoise.core.errors import UserError

VERBS = (
    new, plan, run, why, where, models, compare, listen, ui, enhance, stream, score, export, demo,
)  # fmt: skip
_SHELLS = """exit status: 0 if all went well, 1 after an error that is told in one line, 2 for wrong
usage, 70 after an internal error, 130 if interrupted and 143 if told to end.  For completion of
verbs, options, files and names, add to the start-up file of your shell:
eval "$(denoise --completion bash)"  (or zsh)"""


_WITHOUT_EXTENSIONS = ("new", "plan", "run", "ui", "where", "why")
"""Verbs that need none, or plan the study and load them so."""
_GRACE_S = 5.0
"""What there is to tidy up after SIGTERM takes no longer."""


def parser() -> Parser:
    """The parser of all verbs."""
    top = Parser(
        prog="denoise",
        description="Use and compare the speech denoisers that were trained here.",
        epilog=_SHELLS,
    )
    top.add_argument("--version", action="version", version=f"denoise {denoise.__version__}")
    shtab.add_argument_to(top, "--completion", help="print what completes this command in a shell")
    verbs = top.add_subparsers(dest="verb", required=True, metavar="VERB")
    for verb in VERBS:
        verb.add(verbs)
    complete_values(top)
    return top


def main(arguments: list[str] | None = None) -> None:
    """Run the command; bad input ends it with one line and status 1."""
    given = sys.argv[1:] if arguments is None else arguments
    terminal.prepare()
    try:
        with report_errors(), _ended_by_sigterm(), _exit_on_broken_pipe():
            _check_no_empty(given)
            options = parser().parse_args(given)
            if options.verb not in _WITHOUT_EXTENSIONS:
                load_own_extensions()
            options.run(options)
            if sys.stdout is not None:
                sys.stdout.flush()
    except KeyboardInterrupt:
        terminal.say("interrupted: what was complete is kept")
        raise SystemExit(128 + signal.SIGINT) from None


@contextlib.contextmanager
def _exit_on_broken_pipe() -> Iterator[None]:
    """End quietly when whoever read the output has seen enough, as `head` does."""
    try:
        yield
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(128 + signal.SIGPIPE) from None


def _check_no_empty(arguments: list[str]) -> None:
    """Refuse empty values, as of an unset variable: they look like options left out."""
    for before, argument in zip(["", *arguments], arguments, strict=False):
        name, equals, value = argument.partition("=")
        if not argument or (name.startswith("--") and equals and not value):
            option = name or (before if before.startswith("-") else "an argument")
            raise UserError(f"{option} is empty: give a value, or leave it out")


@contextlib.contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """Have SIGTERM end the program as an error does, so that nothing half-written is left."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(*_: object) -> None:
        status = 128 + signal.SIGTERM
        # Whoever reads the output may read no more, and would be waited for.
        last = threading.Timer(_GRACE_S, os._exit, [status])
        last.daemon = True
        last.start()
        raise SystemExit(status)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
