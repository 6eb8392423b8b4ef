"""Where every error ends: of a command, of a job of the workflow, and of its plan.

What a user can mend is told in one line.  Anything else is a flaw of the program: it is told in one
line too, and a report of it is kept for those who mend it.
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
FLAW = 70
"""``EX_SOFTWARE`` of sysexits.h."""


@contextlib.contextmanager
def ending(log: Path | None = None, to: IO[str] | None = None) -> Iterator[None]:
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
        With `USER_ERROR`, or `FLAW`.
    """
    try:
        yield
    except Exception as error:
        told = explained(error)
        if told is None:
            place = log or _report(error)
            said = " ".join(str(error).split())[:300]
            fail(
                f"unexpected {type(error).__name__}{f': {said}' if said else ''}: this is a flaw "
                f"of the program; what it was doing stands in {place}: please report it with that",
                to,
            )
            raise SystemExit(FLAW) from None
        fail(told, to)
        raise SystemExit(USER_ERROR) from None


def _report(error: Exception) -> Path | str:
    """Write what is needed to mend a flaw; where it is."""
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
