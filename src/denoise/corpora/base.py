"""The definition of a corpus: archives, licence, and a function from a folder to a table of
recordings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from denoise.corpora.archives import Archive

INDEX_COLUMNS = {
    "id": "unique name of the recording",
    "path": "audio file, relative to the corpus folder",
    "speaker": "speaker, empty for noise",
    "sex": "F, M or empty where unknown",
    "noise_type": "what the noise is, empty for speech",
    "group": "recordings of one group are never divided among the splits",
    "noisy_path": "the published noisy version of a paired recording, else empty",
    "snr": "published SNR in dB of a paired recording, else NaN",
    "transcript": "the words that are spoken, empty where unknown",
}
"""The columns of every index table; ``duration`` in seconds is added when it is written."""


@dataclass(frozen=True)
class Corpus:
    """A data set the workflow knows how to obtain and index."""

    name: str
    licence: str
    homepage: str
    subsets: Mapping[str, tuple[Archive, ...]]
    """Archives of each subset; a corpus made or found on this machine has none."""
    build: Callable[[Path, str], pd.DataFrame]
    """From its folder and the subset's name to a table of `INDEX_COLUMNS`; raises `UserError` where
    the folder is not as its publishers lay it out."""
    default_subset: str | None = None
    """Taken when a source names no subset."""
    wanted: Callable[[str], bool] = field(default=lambda name: True)
    """The archive members to extract."""
    within: Mapping[str, str] = field(default_factory=dict)
    """Subset → prefix of its member names, if an archive contains several subsets."""
    in_folder: bool = False
    """Whether it is read from a local folder in the publisher's layout."""
    noise_types: tuple[str, ...] = ()
    """Its noise types, if they are known before it is downloaded."""
    folds: tuple[int, ...] = ()
    """Its folds, if it has any."""
    noise_subsets: tuple[str, ...] = ()
    """Subsets without speech."""
    room_subsets: tuple[str, ...] = ()
    """Subsets with impulse responses; ``group`` is the room."""
    selected_by: tuple[str, ...] = ("noise_types", "folds", "speakers", "sex")
    """The selection settings that apply to its recordings."""
    transcripts: bool = False
    """Whether it has transcripts."""
    part_of: Mapping[str, str] = field(default_factory=dict)
    """Subset → the larger subset that it was taken from."""
    alike: tuple[str, ...] = ()
    """Subsets that hold the same utterances, of which a source takes one."""


def index_table(rows: list[dict[str, object]]) -> pd.DataFrame:
    """A table of `INDEX_COLUMNS` from rows that may leave columns out, sorted by ``id``."""
    table = pd.DataFrame(rows, columns=list(INDEX_COLUMNS))
    table["snr"] = table["snr"].astype(float)
    text = [column for column in INDEX_COLUMNS if column != "snr"]
    table[text] = table[text].fillna("").astype(str)
    return table.sort_values("id", ignore_index=True)
