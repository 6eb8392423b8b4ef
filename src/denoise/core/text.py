"""Values in words, and as tables of text."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any


def duration(seconds: float) -> str:
    """A duration in words."""
    whole = round(seconds)
    if whole < 90:
        return f"{whole} s"
    if whole < 90 * 60:
        return f"{round(whole / 60)} min"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def utf8(name: str) -> str:
    r"""A file name as text that can be written; bytes that are not UTF-8 become ``\xe9``."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def table_lines(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Rows of the same fields as aligned columns under their names; – for what is missing."""
    cells = [list(rows[0]), *([_cell(value) for value in row.values()] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return [
        " ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True))
        for line in cells
    ]


def _cell(value: Any) -> str:
    return "–" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
