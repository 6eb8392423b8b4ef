"""speechocean762 (OpenSLR 101): English of 250 Mandarin speakers, half of them children, 16 kHz.

J. Zhang et al., "speechocean762: An Open-Source Non-native English Speech Corpus For Pronunciation
Assessment", Interspeech 2021.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from denoise.core.errors import UserError
from denoise.corpora.archives import Archive, openslr
from denoise.corpora.base import Corpus, index_table

# Its publishers give no checksum.
_ARCHIVE = Archive("speechocean762.tar.gz", openslr(101, "speechocean762.tar.gz"), megabytes=520)


def build(folder: Path, subset: str) -> pd.DataFrame:
    """Index what ``speechocean762/<subset>/wav.scp`` lists; speaker, sex and words come from
    ``utt2spk``, ``spk2gender`` and ``text`` beside it."""
    root = folder / "speechocean762"
    lists = root / subset
    recordings = _read(lists / "wav.scp")
    if not recordings:
        raise UserError(f"speechocean762: {folder} has no speechocean762/{subset}/wav.scp")
    speakers, sexes, spoken = (_read(lists / name) for name in ("utt2spk", "spk2gender", "text"))
    rows: list[dict[str, object]] = []
    for name, path in recordings.items():
        speaker = speakers.get(name, name[:5])
        rows.append(
            {
                "id": name,
                "path": (root / path).relative_to(folder).as_posix(),
                "speaker": speaker,
                "sex": sexes.get(speaker, "").upper(),
                "group": speaker,
                "transcript": spoken.get(name, ""),
            }
        )
    return index_table(rows)


def _read(path: Path) -> dict[str, str]:
    """Read a list of Kaldi, lines of a name and what belongs to it."""
    if not path.is_file():
        return {}
    lines = [line.split(maxsplit=1) for line in path.read_text(encoding="utf-8").splitlines()]
    return {fields[0]: fields[1].strip() for fields in lines if len(fields) == 2}


CORPUS = Corpus(
    name="speechocean762",
    licence="free for commercial and non-commercial use (its README)",
    homepage="https://www.openslr.org/101/",
    subsets={"train": (_ARCHIVE,), "test": (_ARCHIVE,)},
    build=build,
    selected_by=("speakers", "sex"),
    transcripts=True,
    wanted=lambda name: not name.endswith(".json"),
)
