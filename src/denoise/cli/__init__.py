"""The ``denoise`` command: apply, train, compare and listen to speech denoisers.

Each verb is a module that adds itself to the parser and runs; only the one that is given is
imported.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from typing import Any, cast

import shtab

import denoise
from denoise.cli.shared import Parser, load_own_extensions
from denoise.core import terminal
from denoise.core.boundary import report_errors
from denoise.core.errors import UserError

VERBS = {
    "enhance": "denoise recordings",
    "stream": "denoise live audio",
    "score": "score recordings, with or without clean references",
    "models": "list the ready models, and those trained here with their scores",
    "demo": "open a page to record, denoise and listen",
    "export": "write a model for other programs (ONNX, LiteRT, SavedModel)",
    "new": "create a study folder",
    "plan": "show what would run, for how long and with how much disk space",
    "run": "run the study of this folder",
    "why": "name what changed since a variant's results were made",
    "where": "print the path of the report and the address of the MLflow UI",
    "compare": "compare two experiments",
    "listen": "make a blind listening test, or evaluate its ratings",
    "ui": "open the runs of this folder in MLflow",
}
"""The verbs, each a module of this name, and what they do."""
_NEEDS = {"score": "score", "demo": "demo"}
"""Verb → the extra that installs what it needs; others that need more than the small install need
the workflow."""
_SHELLS = """exit status: 0 on success, 1 after an error, which is described in one line, 2 for
wrong usage, 70 after an internal error, 130 if interrupted and 143 if terminated.  To complete
verbs, options, files and names with the Tab key, add to the start-up file of your shell:
eval "$(denoise --completion bash)"  (or zsh)"""


_WITHOUT_EXTENSIONS = ("new", "plan", "run", "ui", "where", "why")
"""Verbs that need none, or plan the study and load them so."""
_EXAMPLES = "examples:"
_GRACE_S = 5.0
"""Longest time for tidying up after SIGTERM."""


class _Help(argparse.HelpFormatter):
    """Help whose examples have a line each."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return text if text.startswith(_EXAMPLES) else super()._fill_text(text, width, indent)


class _Verbs:
    """Adds verbs to the parser, with the one-line summaries of `VERBS`."""

    def __init__(self, action: Any) -> None:
        self._action = action

    def add_parser(
        self, name: str, examples: Sequence[str] = (), **options: Any
    ) -> argparse.ArgumentParser:
        """Add the parser of a verb, with `examples` at the end of its help."""
        if examples:
            options["epilog"] = "\n  ".join([_EXAMPLES, *examples])
        made = self._action.add_parser(name, help=VERBS[name], formatter_class=_Help, **options)
        return cast(argparse.ArgumentParser, made)


def parser(only: str | None = None) -> Parser:
    """The parser of all verbs, or of one of them and the names of the others: each imports what it
    needs."""
    top = Parser(
        prog="denoise",
        description="Denoise speech recordings and streams; train, compare and use speech "
        "denoisers.",
        epilog=_SHELLS,
    )
    top.add_argument("--version", action="version", version=f"denoise {denoise.__version__}")
    shtab.add_argument_to(
        top, "--completion", help="print a shell completion script for this command"
    )
    verbs = _Verbs(top.add_subparsers(dest="verb", required=True, metavar="VERB"))
    for verb in VERBS:
        if only is None or verb == only:
            importlib.import_module(f"denoise.cli.{verb}").add(verbs)
        else:
            verbs.add_parser(verb, add_help=False)
    if only is None:
        from denoise.cli.completion import complete_values

        complete_values(top)
    return top


@contextlib.contextmanager
def _explained_if_missing(verb: str) -> Iterator[None]:
    """If a verb needs a package that is missing, say what to install."""
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").split(".")[0]
        if not package or package == "denoise":
            raise
        extra = _NEEDS.get(verb, "workflow")
        raise UserError(
            f"denoise {verb} needs {package}, which is not installed: pip install "
            f"'denoise[{extra}]'"
        ) from None


def main(arguments: list[str] | None = None) -> None:
    """Run the command; bad input ends it with one line and status 1."""
    given = sys.argv[1:] if arguments is None else arguments
    terminal.prepare()
    try:
        with report_errors(), _ended_by_sigterm(), _exit_on_broken_pipe():
            _check_no_empty(given)
            verb = next((word for word in given if not word.startswith("-")), "")
            with _explained_if_missing(verb):
                wants_all = any(word.startswith("--completion") for word in given[:1])
                options = parser(None if wants_all else verb).parse_args(given)
                if options.verb not in _WITHOUT_EXTENSIONS:
                    load_own_extensions()
                options.run(options)
            if sys.stdout is not None:
                sys.stdout.flush()
    except KeyboardInterrupt:
        terminal.say("interrupted: complete results are kept")
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
    """Make SIGTERM end the program like an error, so that no partial output remains."""
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
