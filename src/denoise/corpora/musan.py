"""MUSAN (OpenSLR 17): noise, music and speech of 109 hours, 16 kHz WAV.

D. Snyder, G. Chen, D. Povey, "MUSAN: A Music, Speech, and Noise Corpus", arXiv:1510.08484, 2015.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from denoise.corpora.archives import Archive, openslr
from denoise.corpora.base import Corpus, index_table

# The publisher's checksum.md5 says so.
_ARCHIVE = Archive(
    "musan.tar.gz",
    openslr(17, "musan.tar.gz"),
    "md5:0c472d4fc0c5141eca47ad1ffeb2a7df",
    megabytes=11086,
)
_SUBSETS = ("noise", "music", "speech")


def build(folder: Path, subset: str) -> pd.DataFrame:
    """Index ``musan/<subset>/<source>/*.wav``; the sex of speakers comes from ANNOTATIONS.

    Each recording is a group, and each of speech a speaker, as its publishers name none.
    """
    rows: list[dict[str, object]] = []
    root = folder / "musan" / subset
    for source in sorted(path for path in root.glob("*") if path.is_dir()):
        sexes = _read_sexes(source / "ANNOTATIONS") if subset == "speech" else {}
        for path in sorted(source.glob("*.wav")):
            rows.append(
                {
                    "id": path.stem,
                    "path": path.relative_to(folder).as_posix(),
                    "speaker": path.stem if subset == "speech" else "",
                    "sex": sexes.get(path.stem, ""),
                    "noise_type": "" if subset == "speech" else subset,
                    "group": path.stem,
                }
            )
    return index_table(rows)


def _read_sexes(path: Path) -> dict[str, str]:
    """Read lines ``<recording> <m or f> <language>`` into recording → M or F."""
    if not path.exists():
        return {}
    fields = [line.split() for line in path.read_text(encoding="utf-8").splitlines()]
    return {row[0]: row[1].upper() for row in fields if len(row) > 1 and row[1] in {"m", "f"}}


CORPUS = Corpus(
    name="musan",
    licence="CC BY 4.0 (the parts in the public domain or under other CC BY)",
    homepage="https://www.openslr.org/17/",
    subsets={subset: (_ARCHIVE,) for subset in _SUBSETS},
    build=build,
    noise_subsets=("noise", "music"),
    selected_by=("noise_types", "speakers", "sex"),
    within={subset: f"musan/{subset}/" for subset in _SUBSETS},
    wanted=lambda name: name.endswith((".wav", "ANNOTATIONS", "LICENSE")),
)
