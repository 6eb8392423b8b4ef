"""Aachen Impulse Responses 1.4 (OpenSLR 20): measured rooms, from a booth to a church, 48 kHz.

M. Jeub, M. Schäfer, P. Vary, "A binaural room impulse response database for the evaluation of
dereverberation algorithms", International Conference on Digital Signal Processing, 2009.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd

from denoise.core.errors import UserError
from denoise.corpora.archives import Archive, openslr
from denoise.corpora.base import Corpus, index_table

_NAME = "air_database_release_1_4.zip"
ROOM = re.compile(r"air_(?:binaural|phone)_(?:BT_)?([a-z_]+?)\d*_(?:\d|hhp|hfrp)")
# Its publishers give no checksum.
_ARCHIVE = Archive(
    _NAME,
    (
        *openslr(20, _NAME),
        "https://www.iks.rwth-aachen.de/fileadmin/user_upload/downloads/forschung/"
        f"tools-downloads/{_NAME}",
    ),
    megabytes=203,
)


def build(folder: Path, subset: str) -> pd.DataFrame:
    """Write each ``AIR_1_4/air_*.mat`` as WAV beside it, and index them by their rooms."""
    rows: list[dict[str, object]] = []
    for path in sorted(folder.glob("AIR_1_4/air_*.mat")):
        named = ROOM.match(path.stem)
        wave = path.with_suffix(".wav")
        if not wave.is_file():
            _convert(path, wave)
        rows.append(
            {
                "id": path.stem,
                "path": wave.relative_to(folder).as_posix(),
                "group": named[1] if named else path.stem,
            }
        )
    return index_table(rows)


def _convert(path: Path, wave: Path) -> None:
    """Write the response of a file of MATLAB as WAV."""
    import soundfile
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    try:
        content = loadmat(path, squeeze_me=True)
        response, rate = np.atleast_1d(content["h_air"]), int(content["air_info"]["fs"].item())
    except (MatReadError, KeyError, ValueError, TypeError, NotImplementedError, OSError) as error:
        raise UserError(f"air: {path.name} cannot be read ({error})") from None
    if response.ndim > 1:
        response = response.reshape(-1, max(response.shape))[0]
    soundfile.write(wave, response.astype(np.float32), rate, subtype="FLOAT")


CORPUS = Corpus(
    name="air",
    licence="MIT",
    homepage="https://www.openslr.org/20/",
    subsets={"all": (_ARCHIVE,)},
    default_subset="all",
    build=build,
    room_subsets=("all",),
    selected_by=(),
    wanted=lambda name: name.endswith((".mat", "license.txt")),
)
