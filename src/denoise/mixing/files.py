"""The input files of mixtures, and the files of a test set."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Recordings:
    """The recordings that mixtures are drawn from, as tables of `splits.split`.

    `noise` is empty if all speech is paired; `rooms` are needed only if rooms are used.
    """

    speech: pd.DataFrame
    noise: pd.DataFrame
    rooms: pd.DataFrame | None = None


@dataclass(frozen=True)
class SplitTables:
    """Tables that `splits.split` wrote; no noise for paired corpora."""

    speech: Path
    noise: Path | None = None
    rooms: Path | None = None

    def read(self) -> Recordings:
        """Read the tables."""
        from denoise.core.tables import read_table

        speech = read_table(self.speech)
        noise = read_table(self.noise) if self.noise else speech.iloc[:0]
        return Recordings(speech, noise, read_table(self.rooms) if self.rooms else None)


class Utterances(BaseModel):
    """The utterances of a test set, and their places in the packed audio."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    manifest: Path
    """Rates, counts and a digest; ``clean`` says whether there are references."""
    mixtures: Path
    """A row for each utterance; ``offset`` and ``samples`` give its place in every pack."""


class References(Utterances):
    """The reference files of a test set."""

    clean: Path
    """Empty if the recordings have no clean version."""


class TestSetFiles(References):
    """The files of a test set."""

    __test__ = False  # not a test class, whatever pytest thinks of its name

    noisy: Path
