"""All output to the terminal. File names, cards and settings may come from others, so everything
that could move the cursor, change colours or reverse the direction of writing is removed from them
here."""

from __future__ import annotations

import io
import logging
import os
import sys
import unicodedata
from collections.abc import Iterable
from typing import IO

_CONTROLS = frozenset({"Cc", "Cs", "Zl", "Zp"})
"""Unicode's controls, halves of pairs, and separators of lines."""
_BIDI = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Characters that change the direction of writing (Boucher & Anderson, Trojan Source, USENIX
Security 2023)."""


def printable(text: object) -> str:
    r"""A text as one line that shows what is in it and does nothing else.

    Example
    -------
    >>> printable("take\n1\x1b[31m.wav")
    'take\\n1\\x1b[31m.wav'
    """
    text = str(text)
    return text if text.isprintable() else "".join(map(_shown, text))


def _shown(char: str) -> str:
    if not _is_control(char):
        return char
    # The bytes of a file name that is not UTF-8 come as these.
    byte = 0xDC80 <= ord(char) <= 0xDCFF
    return f"\\x{ord(char) - 0xDC00:02x}" if byte else char.encode("unicode_escape").decode()


def _is_control(char: str) -> bool:
    return unicodedata.category(char) in _CONTROLS or char in _BIDI


def _json_shown(char: str) -> str:
    return f"\\u{ord(char):04x}" if char != "\n" and _is_control(char) else char


def show_json(text: str) -> None:
    """Print JSON to standard output, with such characters in its strings as ``\\u001b``."""
    if sys.stdout is not None:
        sys.stdout.write(f"{''.join(map(_json_shown, text))}\n")


def show(*lines: object) -> None:
    """Print lines of a result to standard output."""
    _write(sys.stdout, lines)


def say(*lines: object, to: IO[str] | None = None) -> None:
    """Print messages to standard error, or to another terminal."""
    _write(to or sys.stderr, lines)


def fail(reason: object, to: IO[str] | None = None) -> None:
    """Print an error in one line: ``error: …``, in red on a terminal."""
    _marked("error:", 31, reason, to or sys.stderr)


def warn(reason: object) -> None:
    """Print a warning in one line: ``warning: …``, in yellow on a terminal."""
    _marked("warning:", 33, reason, sys.stderr)


def _marked(word: str, colour: int, text: object, stream: IO[str] | None) -> None:
    # https://no-color.org
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    coloured = stream is not None and stream.isatty() and not plain
    _write(stream, [text], f"\033[1;{colour}m{word}\033[0m " if coloured else f"{word} ")


def _write(stream: IO[str] | None, lines: Iterable[object], start: str = "") -> None:
    if stream is None:  # it was closed before the program began
        return
    stream.write("".join(f"{start}{printable(line)}\n" for line in lines))
    stream.flush()


def prepare() -> None:
    """Allow names that the terminal's encoding lacks, and print log messages as warnings."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:  # closed, and the next file to be opened would take its place
            os.open(os.devnull, os.O_RDWR)
    if sys.stderr is None:  # libraries do not expect that
        sys.stderr = open(os.devnull, "w")  # noqa: PTH123, SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    handler = _ToTerminal(logging.WARNING)
    logging.basicConfig(handlers=[handler])


class _ToTerminal(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        warn(record.getMessage())
