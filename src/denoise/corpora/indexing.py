"""Obtaining a subset of a corpus and indexing its recordings."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from denoise import audio
from denoise.core import files
from denoise.core.errors import UserError
from denoise.core.tables import write_table
from denoise.corpora import folder, pairs
from denoise.corpora.archives import extract
from denoise.corpora.base import Corpus
from denoise.corpora.registry import find_corpus

_STAMP = ".complete.json"

log = logging.getLogger(__name__)


def index_subset(
    corpus_name: str,
    subset: str,
    archives: list[Path],
    target: Path,
    code: str = "",
) -> None:
    """Extract or make one subset in ``<target without .csv>/`` and write its index to `target`.

    The folder gets its name only when it is complete, and the table is written last.  A folder
    that is complete already, made of archives of this size by this code, is left alone: another
    study that shares it may be reading.

    Parameters
    ----------
    corpus_name, subset
        As in `CORPORA`; not for those in a folder, see `index_folder`, `index_pairs` and
        `index_layout`.
    archives
        The subset's archives, as downloaded; an optional one that could not be had is empty.
    target
        The CSV to write.
    code
        What stands for the code that does this.
    """
    with files.locked(target.with_name(f".{target.name}.lock")):
        made_of = {"code": code, "archives": {path.name: path.stat().st_size for path in archives}}
        final = target.with_suffix("")
        stamp = final / _STAMP
        corpus = find_corpus(corpus_name)
        if stamp.is_file() and files.read_json(stamp) == made_of:
            table = _checked(corpus.build(final, subset), final, f"{corpus_name}/{subset}")
        else:
            table = _extract_subset(corpus, subset, archives, final, made_of)
        _write_index(table, final, target)


def _extract_subset(
    corpus: Corpus, subset: str, archives: list[Path], final: Path, made_of: dict[str, Any]
) -> pd.DataFrame:
    with files.replacing(final, _STAMP) as temporary:
        temporary.mkdir(parents=True)
        for archive in archives:
            if not archive.stat().st_size:
                log.warning(
                    "%s could not be downloaded: continuing without its information. To try "
                    "again, delete it and %s",
                    archive,
                    final.with_suffix(".csv"),
                )
                continue
            count = extract(archive, temporary, lambda name: _is_wanted(corpus, subset, name))
            log.info("%s: %d files extracted", archive, count)
        table = _checked(corpus.build(temporary, subset), temporary, f"{corpus.name}/{subset}")
        files.write_json(temporary / _STAMP, made_of)
    return table


def _is_wanted(corpus: Corpus, subset: str, name: str) -> bool:
    return corpus.wanted(name) and name.startswith(corpus.within.get(subset, ""))


def index_layout(corpus_name: str, subset: str, path: Path, target: Path) -> None:
    """Write the index of a subset of a corpus in a folder, which stays where it is."""
    table = _checked(find_corpus(corpus_name).build(path, subset), path, f"{corpus_name}/{subset}")
    _write_index(table, path, target)


def index_folder(path: Path, speaker_level: int | None, target: Path) -> None:
    """Write the index of the user's own folder; its recordings stay where they are."""
    table = _checked(folder.build_folder(path, speaker_level), Path(), str(path))
    _write_index(table, Path(), target)


def index_pairs(
    clean: Path,
    noisy: Path,
    patterns: tuple[str, str] | None,
    speaker_level: int | None,
    target: Path,
) -> None:
    """Write the index of the user's own pairs; they stay where they are."""
    table = pairs.build_pairs(clean, noisy, patterns, speaker_level)
    _write_index(_checked(table, Path(), str(clean)), Path(), target)


def _checked(table: pd.DataFrame, root: Path, what: str) -> pd.DataFrame:
    """`table` with durations, after a look for what no corpus may have."""
    if table.empty:
        raise UserError(f"{what} has no recordings in the expected layout")
    duplicates = table.loc[table["id"].duplicated(), "id"]
    if len(duplicates):
        raise UserError(f"{what} holds two recordings named '{duplicates.iloc[0]}'")
    lengths = [audio.seconds(root / path) for path in table["path"]]
    return table.assign(duration=np.array(lengths, float))


def _write_index(table: pd.DataFrame, root: Path, target: Path) -> None:
    for column in ("path", "noisy_path"):
        table[column] = [str(root / path) if path else "" for path in table[column]]
    write_table(target, table)
