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

_PLACES = {
    "domestic": ("DKITCHEN", "DLIVING", "DWASHING"),
    "nature": ("NFIELD", "NPARK", "NRIVER"),
    "office": ("OHALLWAY", "OMEETING", "OOFFICE"),
    "public": ("PCAFETER", "PRESTO", "PSTATION"),
    "street": ("SCAFE", "SPSQUARE", "STRAFFIC"),
    "transport": ("TBUS", "TCAR", "TMETRO"),
}
"""The publishers' six kinds of noise, three places each: one can train, one validate, one test."""
# One place was published at 48 kHz alone.
_LACKING = {"16k": {"SCAFE"}}
_MEGABYTES = {"16k": 110, "48k": 330}


def _archive(place: str, rate: str) -> Archive:
    name = f"{place}_{rate}.zip"
    # Zenodo's page gives checksums, which could not be looked up where this was written.
    url = f"https://zenodo.org/records/1227121/files/{name}?download=1"
    return Archive(name, (url,), megabytes=_MEGABYTES[rate])


def _places(rate: str) -> list[tuple[str, str]]:
    """Kind and name of each place that was published at a rate."""
    return [
        (kind, place)
        for kind, places in _PLACES.items()
        for place in places
        if place not in _LACKING.get(rate, ())
    ]


def build(folder: Path, subset: str) -> pd.DataFrame:
    """Index ``<PLACE>/ch01.wav``; the other 15 channels heard the same."""
    rows: list[dict[str, object]] = []
    for kind, place in _places(subset):
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
        rate: tuple(_archive(place, rate) for _, place in _places(rate)) for rate in _MEGABYTES
    },
    build=build,
    noise_types=tuple(_PLACES),
    noise_subsets=tuple(_MEGABYTES),
    selected_by=("noise_types",),
    wanted=lambda name: name.endswith("/ch01.wav"),
)
