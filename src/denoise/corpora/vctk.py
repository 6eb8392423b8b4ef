"""VCTK 0.92: 110 speakers of English with their accents, 48 kHz FLAC of two microphones.

J. Yamagishi, C. Veaux, K. MacDonald, "CSTR VCTK Corpus: English Multi-speaker Corpus for CSTR Voice
Cloning Toolkit (version 0.92)", Edinburgh DataShare 10283/3443, doi:10.7488/ds/2645.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from denoise.core.errors import UserError
from denoise.corpora.archives import Archive
from denoise.corpora.base import Corpus, index_table

_NAME = "VCTK-Corpus-0.92.zip"
# As torchaudio checks it; its publishers give none.
_ARCHIVE = Archive(
    _NAME,
    (
        f"https://datashare.ed.ac.uk/bitstream/handle/10283/3443/{_NAME}",
        f"https://datashare.is.ed.ac.uk/bitstream/handle/10283/3443/{_NAME}",
    ),
    "sha256:f96258be9fdc2cbff6559541aae7ea4f59df3fcaf5cf963aae5ca647357e359c",
    megabytes=11747,
)
_WAVES = "wav48_silence_trimmed"


def build(folder: Path, subset: str) -> pd.DataFrame:
    """Index ``wav48_silence_trimmed/<speaker>/*_<subset>.flac``; sex comes from speaker-info.txt,
    what is spoken from ``txt/``."""
    found = sorted(path for path in folder.rglob(_WAVES) if path.is_dir())
    if not found:
        raise UserError(f"vctk: {folder} has no {_WAVES} after extraction")
    root = found[0].parent
    sexes = _read_sexes(root / "speaker-info.txt")
    rows: list[dict[str, object]] = []
    for path in sorted(found[0].glob(f"*/*_{subset}.flac")):
        speaker, name = path.parent.name, path.stem.removesuffix(f"_{subset}")
        text = root / "txt" / speaker / f"{name}.txt"
        rows.append(
            {
                "id": name,
                "path": path.relative_to(folder).as_posix(),
                "speaker": speaker,
                "sex": sexes.get(speaker, ""),
                "group": speaker,
                "transcript": text.read_text(encoding="utf-8").strip() if text.is_file() else "",
            }
        )
    return index_table(rows)


def _read_sexes(path: Path) -> dict[str, str]:
    """Read lines ``<speaker> <age> <M or F> …`` into speaker → M or F."""
    if not path.is_file():
        return {}
    fields = [line.split() for line in path.read_text(encoding="utf-8").splitlines()]
    return {row[0]: row[2] for row in fields if len(row) > 2 and row[2] in {"M", "F"}}


CORPUS = Corpus(
    name="vctk",
    licence="CC BY 4.0",
    homepage="https://doi.org/10.7488/ds/2645",
    subsets={"mic1": (_ARCHIVE,), "mic2": (_ARCHIVE,)},
    default_subset="mic1",
    build=build,
    selected_by=("speakers", "sex"),
    transcripts=True,
    alike=("mic1", "mic2"),
    wanted=lambda name: name.endswith((".flac", ".txt", "license_text")),
)
