"""Shared frame of all scripts of the workflow: the log and readable errors."""

from __future__ import annotations

import base64
import contextlib
import fcntl
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from denoise.core import files
from denoise.core.boundary import report_errors
from denoise.core.errors import explained
from denoise.core.provenance import PACKAGE
from denoise.study.paths import WHOLE_FILES


class Label:
    """A text in a rule's `params` that says what a job is called, and repeats nothing.

    Snakemake runs a job again when its parameters have changed, of which it compares built-in
    values only.  As a resource, a label would keep jobs from sharing a group.
    """

    def __init__(self, text: str) -> None:
        self._text = text

    def __str__(self) -> str:
        return self._text


@contextlib.contextmanager
def job(snakemake: Any) -> Iterator[None]:
    """Send logging, standard output and errors of a Snakemake script to its log file.

    What compiled libraries write goes there too.  An error is also shown on the terminal, in
    one line; of what is no mistake of the user, the log has the traceback.

    Where Snakemake gives copies of files that lie in a storage, the block works in their folder,
    and paths are those that they have in the storage.
    """
    _end_with_the_workflow()
    path = Path(snakemake.log[0])
    path.parent.mkdir(parents=True, exist_ok=True)
    with (
        path.open("w", encoding="utf-8", buffering=1) as stream,
        _native_output_to(stream) as terminal,
    ):
        logging.basicConfig(
            stream=stream,
            level=logging.INFO,
            format="%(asctime)s %(levelname)s %(message)s",
            force=True,
        )
        logging.captureWarnings(True)
        with (
            contextlib.redirect_stdout(stream),
            contextlib.redirect_stderr(stream),
            report_errors(path.absolute(), terminal),
        ):
            try:
                _load_extensions(snakemake.config.get("extensions"))
                with _among(snakemake.config.get("copies"), snakemake.input, snakemake.output):
                    yield
            except Exception as error:
                told = explained(error)
                logging.error("%s", told or "internal error:", exc_info=told is None)
                raise


def _load_extensions(entries: list[str] | None) -> None:
    if entries:
        from denoise import extend  # which imports what most jobs do not need

        extend.load(entries)


@contextlib.contextmanager
def _among(copies: str | None, *lists: Any) -> Iterator[None]:
    """Work in the folder `copies` if there is one, with the paths of `lists` relative to it.

    The tables that a job reads and writes name files of other jobs, which must not depend on where
    a machine keeps its copies.
    """
    if copies is None:
        yield
        return
    folder = Path(copies)
    for paths in lists:
        paths[:] = [str(Path(path).relative_to(folder)) for path in paths]
        paths._take_names(list(paths._get_names()))
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.chdir(folder):
        yield


@contextlib.contextmanager
def _native_output_to(stream: TextIO) -> Iterator[TextIO]:
    """Send what is written to the descriptors 1 and 2 to `stream`; gives the former standard error.

    Only so is the output of compiled libraries reached, whose warnings look like a failed job.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    saved = [os.dup(number) for number in (1, 2)]
    for number in (1, 2):
        os.dup2(stream.fileno(), number)
    try:
        with os.fdopen(os.dup(saved[1]), "w", encoding="utf-8") as terminal:
            yield terminal
    finally:
        for number, descriptor in zip((1, 2), saved, strict=True):
            os.dup2(descriptor, number)
            os.close(descriptor)


_WORKFLOW = "DENOISE_WORKFLOW_PROCESS"
_WATCH_S = 1.0
_held: list[TextIO] = []


def begin_workflow(*, main: bool, folder: Path = Path(".snakemake")) -> None:
    """Let the jobs of this Snakemake end with it, and the `main` one start where one was killed.

    When Snakemake is killed, its lock files remain.  They are removed here if no running process
    holds our own lock, which the system releases when its process ends; otherwise Snakemake
    handles them.  A Snakemake that runs a single job, for example on a cluster node, leaves them
    alone.  Marks of incomplete outputs are removed too, see `_marks_of_whole_files`.
    """
    os.environ[_WORKFLOW] = str(os.getpid())
    if not main:
        return
    folder.mkdir(exist_ok=True)
    stream = (folder / "denoise.lock").open("a")
    _held.append(stream)
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        for path in (folder / "locks").glob("*"):
            path.unlink()
        for path in _marks_of_whole_files(folder / "incomplete"):
            path.unlink()
    except OSError:  # another one is at work, or this file system knows no locks
        pass
    with contextlib.suppress(OSError):
        fcntl.flock(stream, fcntl.LOCK_SH)


def is_running(folder: Path = Path(".snakemake")) -> bool:
    """Whether a Snakemake is at work in this study."""
    try:
        with (folder / "denoise.lock").open("a") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False


def _marks_of_whole_files(folder: Path) -> Iterator[Path]:
    """Snakemake's marks of incomplete outputs that are whole if they are there at all.

    It would make them again, and leave out what needs them as `ancient`, as if all were done.
    """
    for path in folder.glob("*"):
        with contextlib.suppress(ValueError):  # not a mark, or a part of one with a long name
            output = base64.urlsafe_b64decode(path.name).decode()
            if output.startswith(WHOLE_FILES):
                yield path


def _end_with_the_workflow() -> None:
    """End this process, as SIGTERM does, soon after the Snakemake that started it was killed:
    a second run would else meet the jobs of the first."""
    process = int(os.environ.get(_WORKFLOW, 0))
    if process:
        threading.Thread(target=_watch, args=(process,), daemon=True).start()


def _watch(process: int) -> None:
    while files.runs(process):
        time.sleep(_WATCH_S)
    os.kill(os.getpid(), signal.SIGTERM)


def make_importable() -> None:
    """Make this library importable for the scripts of the workflow in any environment, including
    Conda."""
    source = str(PACKAGE.parent)
    paths = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    if source not in paths:
        os.environ["PYTHONPATH"] = os.pathsep.join([source, *filter(None, paths)])
