"""Error handling at the outermost level of commands, workflow jobs and planning.

An error that the user can fix is reported in one line.  Anything else is an internal error: also
one line, with the traceback written to a file for a bug report.
"""

from __future__ import annotations

import contextlib
import platform
import sys
import tempfile
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import denoise
from denoise.core.errors import explained
from denoise.core.terminal import fail

USER_ERROR = 1
INTERNAL_ERROR = 70
"""``EX_SOFTWARE`` of sysexits.h."""


@contextlib.contextmanager
def report_errors(log: Path | None = None, to: IO[str] | None = None) -> Iterator[None]:
    """End the process with one line if an exception comes up in the block.

    Parameters
    ----------
    log
        Where the exception is recorded already; default a report in the folder for temporary files.
    to
        The terminal; default standard error.

    Raises
    ------
    SystemExit
        With `USER_ERROR`, or `INTERNAL_ERROR`.
    """
    try:
        yield
    except Exception as error:
        told = explained(error)
        if told is None:
            place = log or _report(error)
            said = " ".join(str(error).split())[:300]
            what = f"{type(error).__name__}{f': {said}' if said else ''}"
            fail(f"internal error ({what}): please report it; the traceback is in {place}", to)
            raise SystemExit(INTERNAL_ERROR) from None
        fail(told, to)
        raise SystemExit(USER_ERROR) from None


def _report(error: Exception) -> Path | str:
    """Write the traceback and the versions to a file; its path."""
    about = [
        f"denoise {denoise.__version__}, Python {platform.python_version()}, {platform.platform()}",
        f"arguments: {sys.argv[1:]!r}",
        "",
        *traceback.format_exception(error),
    ]
    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="denoise-error-", suffix=".txt", delete=False,
            encoding="utf-8", errors="backslashreplace",
        ) as file:  # fmt: skip
            file.write("\n".join(about))
    except OSError:
        return "no file, as none could be written"
    return Path(file.name)
