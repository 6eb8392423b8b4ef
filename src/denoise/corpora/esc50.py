"""ESC-50: 2000 environmental recordings of 5 s of 50 kinds in 5 folds.

K. J. Piczak, "ESC: Dataset for Environmental Sound Classification", ACM Multimedia 2015.
Clips cut from one recording share a fold, so the fold is the group that splits respect.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from denoise.core.errors import UserError
from denoise.corpora.archives import Archive
from denoise.corpora.base import Corpus, index_table

# The host packs this zip on demand, so its bytes change: contents are verified instead.
_ARCHIVE = Archive(
    "ESC-50-master.zip",
    (
        "https://github.com/karolpiczak/ESC-50/archive/refs/heads/master.zip",
        "https://codeload.github.com/karolpiczak/ESC-50/zip/refs/heads/master",
    ),
    megabytes=600,
)

_CATEGORIES = """
    dog rooster pig cow frog cat hen insects sheep crow
    rain sea_waves crackling_fire crickets chirping_birds
    water_drops wind pouring_water toilet_flush thunderstorm
    crying_baby sneezing clapping breathing coughing
    footsteps laughing brushing_teeth snoring drinking_sipping
    door_wood_knock mouse_click keyboard_typing door_wood_creaks can_opening
    washing_machine vacuum_cleaner clock_alarm clock_tick glass_breaking
    helicopter chainsaw siren car_horn engine train church_bells airplane fireworks hand_saw
"""


def build(folder: Path, subset: str) -> pd.DataFrame:
    """Index the clips that ``meta/esc50.csv`` lists, all of which must be there."""
    found = sorted(folder.glob("*/meta/esc50.csv"))
    if not found:
        raise UserError(f"esc50: {folder} has no */meta/esc50.csv: the archive is not ESC-50")
    meta = pd.read_csv(found[0], dtype={"src_file": str, "fold": str})
    audio = found[0].parent.parent / "audio"
    missing = [name for name in meta["filename"] if not (audio / name).is_file()]
    if missing:
        raise UserError(
            f"esc50: {len(missing)} of {len(meta)} clips that meta/esc50.csv lists are missing, "
            f"first {missing[0]}: delete the archive so that it is downloaded again"
        )
    return index_table(
        [
            {
                "id": Path(row.filename).stem,
                "path": (audio / row.filename).relative_to(folder).as_posix(),
                "noise_type": row.category,
                "group": f"fold{row.fold}",
            }
            for row in meta.itertuples()
        ]
    )


CORPUS = Corpus(
    name="esc50",
    licence="CC BY-NC 3.0 (the ESC-10 categories CC BY 3.0)",
    homepage="https://github.com/karolpiczak/ESC-50",
    subsets={"all": (_ARCHIVE,)},
    default_subset="all",
    noise_types=tuple(_CATEGORIES.split()),
    folds=(1, 2, 3, 4, 5),
    selected_by=("noise_types", "folds"),
    noise_subsets=("all",),
    build=build,
    wanted=lambda name: name.endswith((".wav", "/meta/esc50.csv", "LICENSE")),
)
