"""The user's own recordings: any folder of wav, flac, ogg or mp3 files, used where it lies.

A file name without its trailing number gives the noise type (``vacuum_2.wav`` → ``vacuum``), or
the folder it lies in does where there are sub-folders.  Each file is a group of its own, unless
the speaker is a folder level; speakers of one name in two folders are the same speaker.  What is
spoken stands in ``transcripts.csv``, with the columns ``file`` and ``transcript``, if there is one.
"""

from __future__ import annotations

import csv
import re
from pathlib import Path

import pandas as pd

from denoise.audio import audio_files
from denoise.core import files
from denoise.core.errors import UserError
from denoise.core.settings import digest
from denoise.core.text import utf8
from denoise.corpora.base import Corpus, index_table

TRANSCRIPTS, SPEAKERS = "transcripts.csv", "speakers.csv"
TABLES = (TRANSCRIPTS, SPEAKERS)
"""Tables beside the recordings."""


def recordings(folder: Path) -> list[Path]:
    """The audio files of a folder, whose names must be such that tables can hold them."""
    found = audio_files(folder)
    for path in found:
        if utf8(str(path)) != str(path):
            raise UserError(f"{path}: its name is not UTF-8: rename it, as `convmv -t utf8` does")
    return found


def listing_digest(folder: Path, memory: Path | None = None) -> str:
    """Identifies a folder's recordings by names and contents, so that a touched file changes
    nothing, and another recording of the same length does.

    Parameters
    ----------
    memory
        As of `core.files.Digests`.
    """
    digests = files.Digests(memory)
    listed = recordings(folder)
    listed += [folder / name for name in TABLES if (folder / name).is_file()]
    rows = [[path.relative_to(folder).as_posix(), digests.of(path)] for path in listed]
    digests.keep()
    return digest(rows, 12)


def layout_digest(folder: Path) -> str:
    """Identifies a published corpus in a folder by the names and sizes of its recordings, since to
    read hundreds of gigabytes would take hours, and by what its tables say of them."""
    rows = [
        [path.relative_to(folder).as_posix(), path.stat().st_size] for path in recordings(folder)
    ]
    tables = [[path.name, files.file_digest(path)] for path in sorted(folder.glob("*.tsv"))]
    return digest([rows, tables], 12)


def build_folder(folder: Path, speaker_level: int | None) -> pd.DataFrame:
    """Index `folder`; with ``speaker_level=1`` its sub-folders are the speakers, with 2 theirs."""
    rows: list[dict[str, object]] = []
    spoken = read_transcripts(folder)
    # Files of one name in two folders are different recordings.
    prefix = f"{folder.name or 'root'}-{digest(str(folder), 6)}"
    for path in recordings(folder):
        relative = path.relative_to(folder)
        name = f"{prefix}/{relative.with_suffix('').as_posix()}"
        parents = relative.parts[:-1]
        if speaker_level is None:
            speaker = group = name
        elif len(parents) >= speaker_level:
            speaker = group = parents[speaker_level - 1]
        else:
            raise UserError(
                f"folder '{folder}': {relative} lies above speaker_level {speaker_level}; "
                "put it into its speaker's folder or leave speaker_level out"
            )
        noise_type = parents[0] if parents else re.sub(r"[-_ ]*\d+$", "", path.stem) or path.stem
        rows.append(
            {
                "id": f"{prefix}/{relative.as_posix()}",
                "path": str(path),
                "speaker": speaker,
                "group": group,
                "noise_type": noise_type,
                "transcript": spoken.get(relative.as_posix(), ""),
            }
        )
    return index_table(rows)


def read_transcripts(folder: Path) -> dict[str, str]:
    """What `TRANSCRIPTS` of a folder says: file, relative to the folder → words.

    Raises
    ------
    UserError
        If it has not the two columns, or names a file that is not there.
    """
    spoken = read_column(folder, TRANSCRIPTS, "transcript")
    return {name: " ".join(text.split()) for name, text in spoken.items()}


def read_column(folder: Path, table: str, column: str) -> dict[str, str]:
    """What a table beside recordings says: file, relative to the folder → value of a column.

    Raises
    ------
    UserError
        If it has not the columns ``file`` and `column`, or names a file that is not there.
    """
    path = folder / table
    if not path.is_file():
        return {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            rows = list(csv.DictReader(stream))
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path} is no CSV table in UTF-8: {error}") from None
    if rows and not {"file", column} <= rows[0].keys():
        named = ", ".join(map(str, rows[0]))
        raise UserError(f"{path} has the columns {named}: it needs file and {column}")
    found = {str(row["file"]): str(row[column] or "") for row in rows}
    for name in found:
        if not (folder / name).is_file():
            raise UserError(
                f"{path} names '{name}', which is not there: give files relative to {folder}"
            )
    return found


def build(folder: Path, subset: str) -> pd.DataFrame:
    """Index `folder` without speaker folders."""
    return build_folder(folder, None)


CORPUS = Corpus(
    name="folder",
    licence="the user's own",
    homepage="",
    subsets={},
    build=build,
    selected_by=("noise_types", "speakers"),
)
