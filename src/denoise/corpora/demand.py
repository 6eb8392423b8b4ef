"""DEMAND: noise of 18 places, 5 minutes each, 16 or 48 kHz WAV.

J. Thiemann, N. Ito, E. Vincent, "The Diverse Environments Multi-channel Acoustic Noise Database",
Meetings on Acoustics, 2013; Zenodo 1227121.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from denoise.core.errors import UserError
from denoise.corpora.archives import Archive
from denoise.corpora.base import Corpus, index_table

_KINDS = {
    "DKITCHEN": "kitchen", "DLIVING": "living_room", "DWASHING": "washroom",
    "NFIELD": "field", "NPARK": "park", "NRIVER": "river",
    "OHALLWAY": "hallway", "OMEETING": "meeting", "OOFFICE": "office",
    "PCAFETER": "cafeteria", "PRESTO": "restaurant", "PSTATION": "station",
    "SCAFE": "cafe", "SPSQUARE": "square", "STRAFFIC": "traffic",
    "TBUS": "bus", "TCAR": "car", "TMETRO": "metro",
}  # fmt: skip
# One place was published at 48 kHz alone.
_LACKING = {"16k": {"SCAFE"}}
_MEGABYTES = {"16k": 110, "48k": 330}


def _archive(place: str, rate: str) -> Archive:
    name = f"{place}_{rate}.zip"
    # Zenodo's page gives checksums, which could not be looked up where this was written.
    url = f"https://zenodo.org/records/1227121/files/{name}?download=1"
    return Archive(name, (url,), megabytes=_MEGABYTES[rate])


def build(folder: Path, subset: str) -> pd.DataFrame:
    """Index ``<PLACE>/ch01.wav``; the other 15 channels heard the same."""
    rows: list[dict[str, object]] = []
    for place, kind in _KINDS.items():
        if place in _LACKING.get(subset, ()):
            continue
        path = folder / place / "ch01.wav"
        if not path.is_file():
            raise UserError(f"demand: {folder} has no {place}/ch01.wav after extraction")
        name = path.relative_to(folder).as_posix()
        rows.append({"id": place, "path": name, "noise_type": kind, "group": place})
    return index_table(rows)


CORPUS = Corpus(
    name="demand",
    licence="CC BY 4.0 (its documentation says CC BY-SA 3.0)",
    homepage="https://zenodo.org/records/1227121",
    subsets={
        rate: tuple(
            _archive(place, rate) for place in _KINDS if place not in _LACKING.get(rate, ())
        )
        for rate in _MEGABYTES
    },
    build=build,
    noise_types=tuple(_KINDS.values()),
    noise_subsets=tuple(_MEGABYTES),
    selected_by=("noise_types",),
    wanted=lambda name: name.endswith("/ch01.wav"),
)
