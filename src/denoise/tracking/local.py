"""The MLflow store of a study as files.

The database of a study that was copied or moved still contains the artifact paths of the old
folder, and MLflow would write there.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

_PLACES = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
)
"""Tables and columns of MLflow 3 that hold places of artifacts."""


def claim(database: Path, artifacts: Path) -> None:
    """Have a store keep its artifacts in this folder, wherever it was made.

    Parameters
    ----------
    database
        The SQLite file; nothing is done if it is not there, or is no store.
    artifacts
        The folder, whose name and that of the one around it are the same wherever it lies.
    """
    own = artifacts.absolute().as_uri()
    ending = f"/{artifacts.parent.name}/{artifacts.name}"
    with _opened(database) as store:
        for (place,) in store.execute("SELECT DISTINCT artifact_location FROM experiments"):
            if place == own or not str(place).endswith(ending):
                continue
            for table, column in _PLACES:
                store.execute(
                    f"UPDATE {table} SET {column} = ? || substr({column}, ?) "
                    f"WHERE {column} = ? OR {column} LIKE ? || '/%'",
                    (own, len(place) + 1, place, place),
                )
        store.commit()


def recorded_runs(database: Path, artifacts: Path) -> set[str]:
    """The ids of the runs whose artifacts are there, too; none if the store cannot be read."""
    found: set[str] = set()
    with _opened(database) as store:
        for (run,) in store.execute("SELECT run_uuid FROM runs"):
            if (artifacts / run).is_dir():
                found.add(run)
    return found


def set_aside_if_damaged(database: Path) -> Path | None:
    """Rename a database that is none, so that another can be made; its new name."""
    if not database.is_file():
        return None
    try:
        with contextlib.closing(sqlite3.connect(database)) as store:
            (state,) = store.execute("PRAGMA quick_check(1)").fetchone()
            whole = state == "ok"
    except sqlite3.DatabaseError as error:
        whole = "locked" in str(error)
    if whole:
        return None
    aside = database.with_name(f"{database.name}.damaged")
    database.replace(aside)
    return aside


@contextlib.contextmanager
def _opened(database: Path) -> Iterator[sqlite3.Connection]:
    """The database; the block ends early where that is none of MLflow's."""
    if not database.is_file():
        store = sqlite3.connect(":memory:")
    else:
        store = sqlite3.connect(database, timeout=30)
    with contextlib.closing(store), contextlib.suppress(sqlite3.DatabaseError):
        yield store
