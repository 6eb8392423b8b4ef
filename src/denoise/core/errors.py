"""The exception for users.

Every problem that a user can cause (a wrong setting, an unreadable file, a bad archive) is raised
as :class:`UserError`, whose message says what is affected, what is wrong and how to correct it.
Commands and scripts print that one line instead of a traceback.
"""

from __future__ import annotations

import difflib
import errno
import os
import traceback
from collections.abc import Iterable


class UserError(ValueError):
    """A problem that the user can solve; its message is one line that says how.

    It is a ``ValueError``, so that settings classes add the key at which it was found.

    Example
    -------
    >>> try:
    ...     denoise.load("bist")
    ... except denoise.UserError as error:
    ...     print(str(error)[:38])
    no model 'bist' (did you mean 'best'?)
    """


class Damaged(UserError):
    """A file that this program made was changed by something else."""

    def __init__(self, path: object, reason: object) -> None:
        said = " ".join(str(reason).split())
        super().__init__(f"{path} is damaged ({said}): delete it, and `snakemake` makes it again")


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return `` (did you mean 'x'?)`` for the nearest of `known`, or an empty string."""
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f" (did you mean '{near[0]}'?)" if near else ""


def unknown(what: str, word: str, known: Iterable[str]) -> UserError:
    """The error for an unknown name: it suggests the nearest known one and lists them all."""
    names = sorted(known)
    return UserError(
        f"unknown {what} '{word}'{did_you_mean(word, names)}: there are {', '.join(names)}"
    )


EXTENSIONS: dict[str, str] = {}
"""File of the user's own code -> its name in the configuration."""


def in_extension(error: BaseException) -> str | None:
    """An error that occurred in an extension, in one line with file and line number; None for
    others."""
    if isinstance(error, SyntaxError) and error.filename in EXTENSIONS:
        return f"{EXTENSIONS[error.filename]} line {error.lineno}: {error.msg}"
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename in EXTENSIONS]
    if not frames:
        return None
    said = " ".join(str(error).split())[:500]
    if not isinstance(error, UserError):
        said = f"{type(error).__name__}: {said}"
    return f"{EXTENSIONS[frames[-1].filename]} line {frames[-1].lineno}: {said}"


_FULL = {errno.ENOSPC, errno.EDQUOT}
# NumPy, HDF5 and SQLite do not pass the number on.
_FULL_TEXTS = ("No space left on device", "requested and", "database or disk is full")


def is_full_disk(error: Exception) -> bool:
    """Whether an error says that the disk is full."""
    number = error.errno if isinstance(error, OSError) else None
    return number in _FULL or any(text in str(error) for text in _FULL_TEXTS)


def explained(error: BaseException) -> str | None:
    """An error the user can fix, in one line; None for an internal error.

    The user can fix wrong inputs, and a lack of disk space, memory or permissions.
    """
    if isinstance(error, UserError):
        return str(error)
    if not isinstance(error, Exception):
        return None
    own = in_extension(error)
    if own is not None:
        return own
    place = getattr(error, "filename", None)
    if is_full_disk(error):
        return (
            f"the disk is full{f' ({place})' if place else ''}: make room and run the same command "
            "again; what was complete is kept"
        )
    if isinstance(error, OSError) and place is not None:
        where = place if isinstance(place, str) else os.fsdecode(place)
        return f"{where}: {error.strerror}"
    if isinstance(error, MemoryError):
        return "out of memory: close other programs, or process less data at once"
    return None
