"""LibriSpeech (OpenSLR 12) and Mini LibriSpeech (OpenSLR 31): read English, 16 kHz FLAC.

V. Panayotov, G. Chen, D. Povey, S. Khudanpur, "LibriSpeech: an ASR corpus based on public domain
audio books", ICASSP 2015.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from denoise.core.errors import UserError
from denoise.corpora.archives import Archive, openslr
from denoise.corpora.base import Corpus, index_table

_MD5 = {
    12: {
        "dev-clean": "42e2234ba48799c1f50f24a7926300a1",
        "dev-other": "c8d0bcc9cca99d4f8b62fcc847357931",
        "test-clean": "32fa31d27d2e1cad72775fee3f4849a9",
        "test-other": "fb5a50374b501bb3bac4815ee91d3135",
        "train-clean-100": "2a93770f6d5c6c964bc36631d331a522",
        "train-clean-360": "c0e676e450a7ff2f54aeade5171606fa",
        "train-other-500": "d1a0fd59409feb2c614ce4d30c387708",
    },
    31: {
        "train-clean-5": "5df7d4e78065366204ca6845bb08f490",
        "dev-clean-2": "6d7ab67ac6a1d2c993d050e16d61080d",
    },
}


_MEGABYTES = {
    "dev-clean": 337, "dev-other": 314, "test-clean": 346, "test-other": 328,
    "train-clean-100": 6300, "train-clean-360": 23000, "train-other-500": 30000,
    "train-clean-5": 332, "dev-clean-2": 126,
}  # fmt: skip


def _archive(resource: int, subset: str, md5: str) -> Archive:
    name = f"{subset}.tar.gz"
    urls = openslr(resource, name)
    return Archive(name, urls, f"md5:{md5}", megabytes=_MEGABYTES[subset])


def build(folder: Path, subset: str) -> pd.DataFrame:
    """Index ``LibriSpeech/<subset>/<speaker>/<chapter>/*.flac``; sex comes from SPEAKERS.TXT, what
    is spoken from ``*.trans.txt``."""
    root = folder / "LibriSpeech"
    if not (root / subset).is_dir():
        raise UserError(f"librispeech: {folder} has no LibriSpeech/{subset} after extraction")
    sexes = read_speakers(root / "SPEAKERS.TXT")
    spoken = read_transcripts(root / subset)
    rows: list[dict[str, object]] = []
    for path in sorted((root / subset).glob("*/*/*.flac")):
        speaker = path.parts[-3]
        rows.append(
            {
                "id": path.stem,
                "path": path.relative_to(folder).as_posix(),
                "speaker": speaker,
                "sex": sexes.get(speaker, ""),
                "group": speaker,
                "transcript": spoken.get(path.stem, ""),
            }
        )
    return index_table(rows)


def read_speakers(path: Path) -> dict[str, str]:
    """Read ``SPEAKERS.TXT`` (``ID | SEX | SUBSET | MINUTES | NAME``) into id → F or M."""
    if not path.exists():
        return {}
    sexes = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        fields = [field.strip() for field in line.split("|")]
        if not line.startswith(";") and len(fields) >= 2:
            sexes[fields[0]] = fields[1]
    return sexes


def read_transcripts(folder: Path) -> dict[str, str]:
    """Read ``<speaker>/<chapter>/*.trans.txt`` (``ID WORDS``) into id → words."""
    lines = [
        line.split(maxsplit=1)
        for path in sorted(folder.glob("*/*/*.trans.txt"))
        for line in path.read_text(encoding="utf-8").splitlines()
    ]
    return {fields[0]: fields[1] for fields in lines if len(fields) == 2}


CORPUS = Corpus(
    name="librispeech",
    licence="CC BY 4.0",
    homepage="https://www.openslr.org/12",
    subsets={
        subset: (_archive(resource, subset, md5),)
        for resource, subsets in _MD5.items()
        for subset, md5 in subsets.items()
    },
    build=build,
    selected_by=("speakers", "sex"),
    transcripts=True,
    part_of={"train-clean-5": "train-clean-100", "dev-clean-2": "dev-clean"},
    wanted=lambda name: name.endswith((".flac", ".trans.txt", "SPEAKERS.TXT", "LICENSE.TXT")),
)
