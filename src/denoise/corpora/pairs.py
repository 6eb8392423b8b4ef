"""The user's own pairs: clean recordings and their noisy versions, used where they lie.

They are two folders in which both versions have the same name, or one folder in which they are told
apart by patterns.  Speakers are a folder level, or stand in ``speakers.csv`` beside the clean
recordings, with the columns ``file`` and ``speaker``; else each pair is a speaker of its own.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from denoise.core.errors import UserError
from denoise.core.settings import digest
from denoise.corpora.base import Corpus, index_table
from denoise.corpora.folder import (
    SPEAKERS,
    listing_digest,
    read_column,
    read_transcripts,
    recordings,
)


def build_pairs(
    clean: Path, noisy: Path, patterns: tuple[str, str] | None, speaker_level: int | None
) -> pd.DataFrame:
    """Index the pairs of a folder of clean and one of noisy recordings, which may be the same.

    Parameters
    ----------
    patterns
        How the files of each side are called, without suffix, such as ``("*_clean", "*_noisy")``:
        what ``*`` stands for is the same in both.  None if both have the same name.
    speaker_level
        Which folder level below `clean` names the speaker; 1 is the uppermost.

    Raises
    ------
    UserError
        That names a file without its other version.
    """
    sides = patterns or ("*", "*")
    found = [_named(folder, side) for folder, side in zip((clean, noisy), sides, strict=True)]
    for here, there, folder, what in (
        (found[0], found[1], noisy, "noisy"),
        (found[1], found[0], clean, "clean"),
    ):
        alone = sorted(here.keys() - there.keys())
        if alone:
            more = f" (and {len(alone) - 1} more)" if len(alone) > 1 else ""
            raise UserError(
                f"{here[alone[0]]} has no {what} version in {folder}{more}: both must have the "
                "same name" + (", but for the patterns" if patterns else "")
            )
    prefix = f"{clean.name or 'root'}-{digest([str(clean), str(noisy)], 6)}"
    spoken, speakers = read_transcripts(clean), read_column(clean, SPEAKERS, "speaker")
    rows: list[dict[str, object]] = []
    for name, path in found[0].items():
        relative = path.relative_to(clean)
        parents = relative.parts[:-1]
        speaker = speakers.get(relative.as_posix(), f"{prefix}/{name}")
        if speaker_level is not None:
            if len(parents) < speaker_level:
                raise UserError(
                    f"folder '{clean}': {relative} lies above speaker_level {speaker_level}; put "
                    "it into its speaker's folder or leave speaker_level out"
                )
            speaker = parents[speaker_level - 1]
        rows.append(
            {
                "id": f"{prefix}/{name}",
                "path": str(path),
                "noisy_path": str(found[1][name]),
                "speaker": speaker,
                "group": speaker,
                "transcript": spoken.get(relative.as_posix(), ""),
            }
        )
    return index_table(rows)


def _named(folder: Path, pattern: str) -> dict[str, Path]:
    """What a pattern's ``*`` stands for, with the folders above → file."""
    before, _, after = pattern.partition("*")
    found: dict[str, Path] = {}
    for path in recordings(folder):
        stem = path.stem
        if len(stem) < len(before + after) or not (
            stem.startswith(before) and stem.endswith(after)
        ):
            continue
        own = stem[len(before) : len(stem) - len(after)]
        name = (path.relative_to(folder).parent / own).as_posix()
        if name in found:
            raise UserError(f"{found[name]} and {path} have the same name: rename one of them")
        found[name] = path
    if not found:
        raise UserError(f"{folder} holds no recordings" + (f" called {pattern}" if after else ""))
    return found


def pairs_digest(clean: Path, noisy: Path, memory: Path | None = None) -> str:
    """Identifies the pairs by names and contents, as `folder.listing_digest` does."""
    return digest([listing_digest(folder, memory) for folder in dict.fromkeys((clean, noisy))], 12)


def build(folder: Path, subset: str) -> pd.DataFrame:
    """Index pairs of one folder, ``*_clean`` and ``*_noisy``."""
    return build_pairs(folder, folder, ("*_clean", "*_noisy"), None)


CORPUS = Corpus(
    name="pairs",
    licence="the user's own",
    homepage="",
    subsets={},
    build=build,
    selected_by=("speakers",),
)
