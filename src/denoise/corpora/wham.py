"""WHAM! noise: restaurants, cafés, bars and parks of San Francisco, 16 kHz WAV.

G. Wichern et al., "WHAM!: Extending Speech Separation to Noisy Environments", Interspeech 2019.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from denoise.corpora.archives import Archive
from denoise.corpora.base import Corpus, index_table

# Its publishers give no checksum.
_ARCHIVE = Archive(
    "wham_noise.zip",
    (
        "https://my-bucket-a8b4b49c25c811ee9a7e8bba05fa24c7.s3.amazonaws.com/wham_noise.zip",
        "https://storage.googleapis.com/whisper-public/wham_noise.zip",
    ),
    megabytes=17800,
)
_SUBSETS = ("tr", "cv", "tt")


def build(folder: Path, subset: str) -> pd.DataFrame:
    """Index ``wham_noise/<subset>/*.wav``, the publishers' training, validation and test parts.

    Each clip is a group, though several were cut from one recording: train on ``tr``, validate on
    ``cv`` and test on ``tt``.
    """
    return index_table(
        [
            {
                "id": f"{subset}/{path.stem}",
                "path": path.relative_to(folder).as_posix(),
                "noise_type": "wham",
                "group": f"{subset}/{path.stem}",
            }
            for path in sorted((folder / "wham_noise" / subset).glob("*.wav"))
        ]
    )


CORPUS = Corpus(
    name="wham",
    licence="CC BY-NC 4.0",
    homepage="http://wham.whisper.ai/",
    subsets={subset: (_ARCHIVE,) for subset in _SUBSETS},
    build=build,
    noise_subsets=_SUBSETS,
    selected_by=("noise_types",),
    within={subset: f"wham_noise/{subset}/" for subset in _SUBSETS},
    wanted=lambda name: name.endswith(".wav"),
)
