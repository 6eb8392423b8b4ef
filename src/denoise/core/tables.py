"""Tables as CSV files, and their rows."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from denoise.core.errors import Damaged
from denoise.core.files import replacing


def write_table(path: str | Path, table: pd.DataFrame, float_format: str | None = None) -> None:
    """Write a table as CSV without its index, atomically."""
    with replacing(path) as temporary:
        table.to_csv(temporary, index=False, float_format=float_format)


_TEXT_COLUMNS = frozenset(
    [
        "id",
        "path",
        "noisy_path",
        "speaker",
        "sex",
        "noise_type",
        "group",
        "recording",
        "noise_id",
        "status",
        "split",
        "corpus",
        "content",
        "source",
        "speech_source",
        "noise_source",
        "variant",
        "test_set",
        "method",
        "transcript",
        "recognised",
        "room",
        "room_source",
        "room_target",
        "speech_response",
        "noise_response",
        "degradations",
    ]
)


def read_table(path: str | Path) -> pd.DataFrame:
    """Read a CSV table; columns of names stay text even if they look like numbers.

    Raises
    ------
    Damaged
        If it is empty, cut off, or no table.
    """
    try:
        _check_whole(Path(path))
        return _read(path)
    except ValueError as error:  # those of pandas and of decoding, too
        raise Damaged(path, error) from None


def _check_whole(path: Path) -> None:
    """Raise `ValueError` if a table does not end with a line."""
    with path.open("rb") as file:
        end = file.seek(0, os.SEEK_END)
        file.seek(max(0, end - 1))
        if file.read(1) != b"\n":
            raise ValueError("it is empty" if end == 0 else "its last line is cut off")


def _read(path: str | Path) -> pd.DataFrame:
    header = pd.read_csv(path, nrows=0).columns
    text = [name for name in header if name in _TEXT_COLUMNS]
    # A recording may be called "nan" or "NA": only numbers can be missing.
    missing = {name: ["", "nan", "NaN"] for name in header if name not in text}
    return pd.read_csv(
        path, dtype=dict.fromkeys(text, str), keep_default_na=False, na_values=missing
    )


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """A dictionary for each row: ``table.to_dict("records")`` in a fraction of the time."""
    columns = [table[name].tolist() for name in table]
    return [dict(zip(table.columns, row, strict=True)) for row in zip(*columns, strict=True)]


class Rows:
    """The rows of a table as dictionaries, each made on demand; a list of them would take ten times
    the memory.

    ``rows[number]`` maps the names of the columns to str, float, int or bool, as
    ``table.to_dict("records")[number]`` does.

    Parameters
    ----------
    table : pd.DataFrame [shape=(rows, columns)]

    Raises
    ------
    IndexError
        For a number that no row has.
    """

    def __init__(self, table: pd.DataFrame) -> None:
        self._count = len(table)
        self._columns: dict[str, tuple[np.ndarray, list[Any] | None]] = {}
        for name in table:
            values, distinct = table[name].to_numpy(), None
            if values.dtype.kind not in "biuf":
                codes, found = pd.factorize(table[name], use_na_sentinel=False)
                values, distinct = codes.astype(np.int32), found.tolist()
            self._columns[name] = values, distinct

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, number: int | np.integer) -> dict[str, Any]:
        return {
            name: values[number].item() if distinct is None else distinct[values[number]]
            for name, (values, distinct) in self._columns.items()
        }


def read_parquet(path: str | Path) -> pd.DataFrame:
    """A table as `write_parquet` wrote it, with all digits and types."""
    with Path(path).open("rb") as file:
        return pd.read_parquet(file)


def write_parquet(path: str | Path, table: pd.DataFrame) -> None:
    """Write `table` with all digits and types, without its index, atomically."""
    with replacing(path) as temporary:
        table.to_parquet(temporary, index=False)
