"""The files that mixtures are made from, and those of a test set."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Recordings:
    """What mixtures are drawn from: tables of `splits.split`.

    `noise` is empty where all speech is paired; `rooms` are needed only where they are asked for.
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
        """What they hold."""
        from denoise.core.tables import read_table

        speech = read_table(self.speech)
        noise = read_table(self.noise) if self.noise else speech.iloc[:0]
        return Recordings(speech, noise, read_table(self.rooms) if self.rooms else None)


class Utterances(BaseModel):
    """What the utterances of a test set are, and where they lie in packed audio."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    manifest: Path
    """Rates, counts and a digest; ``clean`` says whether there are references."""
    mixtures: Path
    """A row for each utterance; ``offset`` and ``samples`` say where it lies in every pack."""


class References(Utterances):
    """The files of a test set that outputs are compared with."""

    clean: Path
    """Of no samples where the recordings have no clean version."""


class TestSetFiles(References):
    """The files of a test set."""

    __test__ = False  # not a test class, whatever pytest thinks of its name

    noisy: Path
