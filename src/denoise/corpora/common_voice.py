"""Common Voice: sentences read by volunteers in over a hundred languages, 32 or 48 kHz MP3.

R. Ardila et al., "Common Voice: A Massively-Multilingual Speech Corpus", LREC 2020.  Its publishers
ask for an agreement before a download, so it is taken from the folder of a language that was
extracted by hand, such as ``cv-corpus-21.0-2025-03-14/de``.
"""

from __future__ import annotations

import csv
from pathlib import Path

import pandas as pd

from denoise.core.errors import UserError
from denoise.corpora.base import Corpus, index_table

_SUBSETS = ("validated", "train", "dev", "test", "other")
_SEXES = {"male": "M", "female": "F", "male_masculine": "M", "female_feminine": "F"}


def build(folder: Path, subset: str) -> pd.DataFrame:
    """Index what ``<subset>.tsv`` lists of ``clips/``, by client, with sex and sentence."""
    table = folder / f"{subset}.tsv"
    if not table.is_file():
        raise UserError(
            f"common_voice: {folder} has no {subset}.tsv: give the folder of a language, in which "
            "clips lies"
        )
    rows: list[dict[str, object]] = []
    with table.open(encoding="utf-8", newline="") as stream:
        # Quotation marks belong to the sentences.
        listed = csv.DictReader(stream, delimiter="\t", quoting=csv.QUOTE_NONE)
        if not {"client_id", "path"} <= set(listed.fieldnames or ()):
            raise UserError(f"common_voice: {table} has no columns client_id and path")
        for row in listed:
            path = folder / "clips" / f"{row['path'].removesuffix('.mp3')}.mp3"
            speaker = row["client_id"][:16]
            rows.append(
                {
                    "id": path.stem,
                    "path": path.relative_to(folder).as_posix(),
                    "speaker": speaker,
                    "sex": _SEXES.get(row.get("gender") or "", ""),
                    "group": speaker,
                    "transcript": row.get("sentence") or "",
                }
            )
    return index_table(rows)


CORPUS = Corpus(
    name="common_voice",
    licence="CC0",
    homepage="https://commonvoice.mozilla.org/datasets",
    subsets={subset: () for subset in _SUBSETS},
    build=build,
    selected_by=("speakers", "sex"),
    transcripts=True,
    part_of=dict.fromkeys(("train", "dev", "test"), "validated"),
    in_folder=True,
)
