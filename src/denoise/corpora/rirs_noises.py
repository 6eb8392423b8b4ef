"""Room impulse responses and noises of OpenSLR 28: measured and simulated rooms, 16 kHz WAV.

T. Ko, V. Peddinti, D. Povey, M. L. Seltzer, S. Khudanpur, "A study on data augmentation of
reverberant speech for robust speech recognition", ICASSP 2017.
"""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd

from denoise.core.errors import UserError
from denoise.corpora.archives import Archive, openslr
from denoise.corpora.base import Corpus, index_table

# The publisher's checksum.md5 says so.
_ARCHIVE = Archive(
    "rirs_noises.zip",
    openslr(28, "rirs_noises.zip"),
    "md5:e6f48e257286e05de56413b4779d8ffb",
    megabytes=1311,
)
_ROOMS = {
    "real": "RIRS_NOISES/real_rirs_isotropic_noises/",
    "small": "RIRS_NOISES/simulated_rirs/smallroom/",
    "medium": "RIRS_NOISES/simulated_rirs/mediumroom/",
    "large": "RIRS_NOISES/simulated_rirs/largeroom/",
}
_NOISES = {"pointsource": "RIRS_NOISES/pointsource_noises/"}


def build(folder: Path, subset: str) -> pd.DataFrame:
    """Index the responses that a ``rir_list`` names with their rooms, or the noises of a folder."""
    if subset in _NOISES:
        names = sorted((folder / _NOISES[subset]).glob("*.wav"))
        return index_table(
            [
                {
                    "id": path.stem,
                    "path": path.relative_to(folder).as_posix(),
                    "noise_type": "pointsource",
                    "group": path.stem,
                }
                for path in names
            ]
        )
    listed = folder / _ROOMS[subset] / "rir_list"
    if not listed.is_file():
        raise UserError(f"rirs_noises: {folder} has no {_ROOMS[subset]}rir_list after extraction")
    rows: list[dict[str, object]] = []
    for line in listed.read_text(encoding="utf-8").splitlines():
        room, name = re.search(r"--room-id\s+(\S+)", line), line.split()[-1:]
        if room is None or not name:
            continue
        path = _found(folder, _ROOMS[subset], name[0])
        rows.append(
            {"id": path.stem, "path": path.relative_to(folder).as_posix(), "group": room[1]}
        )
    return index_table(rows)


def _found(folder: Path, within: str, name: str) -> Path:
    """A file that a list names from the root of the archive, or from the list's own folder."""
    for path in (folder / name, folder / within / name, folder / within / Path(name).name):
        if path.is_file():
            return path
    raise UserError(f"rirs_noises: {within}rir_list names {name}, which is not in the archive")


CORPUS = Corpus(
    name="rirs_noises",
    licence="Apache 2.0",
    homepage="https://www.openslr.org/28/",
    subsets={subset: (_ARCHIVE,) for subset in (*_ROOMS, *_NOISES)},
    build=build,
    noise_subsets=tuple(_NOISES),
    room_subsets=tuple(_ROOMS),
    selected_by=("noise_types",),
    within={**_ROOMS, **_NOISES},
    wanted=lambda name: name.endswith((".wav", "rir_list")),
)
