"""Rooms made on this machine: shoe boxes with sound-absorbing walls, 48 responses in each size.

Image sources (J. B. Allen & D. A. Berkley, JASA 65, 1979), computed by pyroomacoustics (R.
Scheibler, E. Bezzam, I. Dokmanić, ICASSP 2018).  Sizes and decay times are drawn evenly.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import soundfile

from denoise.core.errors import UserError
from denoise.core.pools import progress
from denoise.core.settings import item_seed
from denoise.corpora.base import Corpus, index_table

RATE = 48000
ROOMS = 12
"""Rooms of each size."""
PLACES = 4
"""Places of a source in each room."""
# Size: the ranges of length and width, and of height, in m, and of the time in s in which sound
# decays by 60 dB.
SIZES = {
    "small": ((2.0, 5.0), (2.3, 3.0), (0.15, 0.5)),
    "medium": ((4.0, 10.0), (2.5, 4.0), (0.3, 0.8)),
    "large": ((8.0, 20.0), (3.5, 8.0), (0.5, 1.2)),
}
_FROM_WALL_M = 0.5


def build(folder: Path, subset: str) -> pd.DataFrame:
    """Make the rooms of a size in `folder` and index them."""
    try:
        import pyroomacoustics
    except ImportError:
        raise UserError(
            "simulated_rooms needs pyroomacoustics, which is not installed: run make rooms, or pip "
            "install 'denoise[rooms]'"
        ) from None
    sides, heights, decays = SIZES[subset]
    rows: list[dict[str, object]] = []
    for number in progress(range(ROOMS), "rooms"):
        rng = np.random.default_rng(item_seed("simulated rooms", subset, number))
        size = np.array([*rng.uniform(*sides, 2), rng.uniform(*heights)])
        # Walls that absorb all would still let a large room ring for longer than asked.
        shortest = 24 * np.log(10) / 343 * size.prod() / _surface(size)
        decay = max(rng.uniform(*decays), 1.15 * shortest)
        absorption, order = pyroomacoustics.inverse_sabine(decay, size)
        room = pyroomacoustics.ShoeBox(
            size, fs=RATE, materials=pyroomacoustics.Material(absorption), max_order=order
        )
        for _ in range(PLACES):
            room.add_source(_place(size, rng))
        room.add_microphone(_place(size, rng))
        room.compute_rir()
        for place, response in enumerate(room.rir[0]):
            path = folder / f"{subset}_{number:02d}" / f"{place}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            scaled = response / np.abs(response).max()
            soundfile.write(path, scaled.astype(np.float32), RATE, subtype="FLOAT")
            rows.append(
                {
                    "id": f"{path.parent.name}/{place}",
                    "path": path.relative_to(folder).as_posix(),
                    "group": path.parent.name,
                }
            )
    return index_table(rows)


def _surface(size: np.ndarray) -> float:
    length, width, height = size
    return 2 * (length * width + length * height + width * height)


def _place(size: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Somewhere in a room, not too near to a wall."""
    return rng.uniform(_FROM_WALL_M, size - _FROM_WALL_M)


CORPUS = Corpus(
    name="simulated_rooms",
    licence="generated on this machine",
    homepage="https://pyroomacoustics.readthedocs.io",
    subsets={subset: () for subset in SIZES},
    build=build,
    room_subsets=tuple(SIZES),
    selected_by=(),
)
