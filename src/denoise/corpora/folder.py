"""The user's own recordings: any folder of wav, flac, ogg or mp3 files, used where it lies.

A file name without its trailing number gives the noise type (``vacuum_2.wav`` → ``vacuum``), or
the folder it lies in does where there are sub-folders.  Each file is a group of its own, unless
the speaker is a folder level; speakers of one name in two folders are the same speaker.
"""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd

from denoise.audio import audio_files
from denoise.core import files
from denoise.core.errors import UserError
from denoise.core.settings import digest
from denoise.core.text import utf8
from denoise.corpora.base import Corpus, index_table


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
    rows = [[path.relative_to(folder).as_posix(), digests.of(path)] for path in recordings(folder)]
    digests.keep()
    return digest(rows, 12)


def build_folder(folder: Path, speaker_level: int | None) -> pd.DataFrame:
    """Index `folder`; with ``speaker_level=1`` its sub-folders are the speakers, with 2 theirs."""
    rows: list[dict[str, object]] = []
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
            }
        )
    return index_table(rows)


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
