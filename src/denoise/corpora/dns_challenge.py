"""The data of the Deep Noise Suppression Challenges: clean speech, noise and impulse responses.

C. K. A. Reddy et al., "ICASSP 2021 Deep Noise Suppression Challenge", ICASSP 2021.  Its 800 GB are
taken from a folder, as the publishers' script downloads them: ``datasets_fullband`` (48 kHz) or
``datasets`` (16 kHz).
"""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd

from denoise import audio
from denoise.core.errors import UserError
from denoise.corpora.air import ROOM as AACHEN
from denoise.corpora.base import Corpus, index_table

_FOLDERS = {
    "clean": ("clean_fullband", "clean"),
    "noise": ("noise_fullband", "noise"),
    "rooms": ("impulse_responses",),
}
_PLACE = re.compile(r"(?:_(?:near|far))?(?:_angl?[a-z])?(?:_imp)?[-_\d]*$")
_READER = re.compile(r"(?:reader_(\d+)|([ps]\d+)_\d+)")


def build(folder: Path, subset: str) -> pd.DataFrame:
    """Index the audio below ``clean_fullband``, ``noise_fullband`` or ``impulse_responses``.

    Readers of audio books and speakers of VCTK are known by file names; elsewhere each recording is
    a speaker of its own, and of a response the sub-folder that it lies in is the room.
    """
    found = [folder / name for name in _FOLDERS[subset] if (folder / name).is_dir()]
    if not found:
        raise UserError(
            f"dns_challenge: {folder} has none of {', '.join(_FOLDERS[subset])}: give the folder "
            "datasets_fullband or datasets"
        )
    rows: list[dict[str, object]] = []
    for path in audio.audio_files(found[0]):
        if subset == "rooms" and "_noise_" in path.stem:
            continue  # OpenSLR 28 has noises beside its measured responses
        inner = path.relative_to(found[0])
        name = inner.with_suffix("").as_posix()
        reader = _READER.search(path.stem)
        speaker = f"{inner.parts[0]}/{reader[1] or reader[2]}" if reader else name
        about = {
            "clean": {"speaker": speaker, "group": speaker},
            "noise": {"noise_type": "noise", "group": name},
            "rooms": {"group": _room(inner)},
        }[subset]
        rows.append({"id": name, "path": path.relative_to(folder).as_posix(), **about})
    return index_table(rows)


def _room(response: Path) -> str:
    """The room of a response: its folder, or for the measured ones of OpenSLR 28, which are in one
    folder, what their names begin with."""
    if "real_rirs_isotropic_noises" not in response.parts:
        return response.parent.as_posix() if len(response.parts) > 1 else response.stem
    aachen = AACHEN.search(response.stem)
    return aachen[1] if aachen else _PLACE.sub("", response.stem)


CORPUS = Corpus(
    name="dns_challenge",
    licence="each part its own, mostly CC BY 4.0 and CC0; see its README",
    homepage="https://github.com/microsoft/DNS-Challenge",
    subsets={subset: () for subset in _FOLDERS},
    build=build,
    noise_subsets=("noise",),
    room_subsets=("rooms",),
    selected_by=("speakers",),
    in_folder=True,
)
