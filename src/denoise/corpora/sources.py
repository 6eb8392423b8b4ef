"""The settings that name where recordings come from."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from denoise.core.errors import unknown
from denoise.core.settings import digest
from denoise.corpora.base import Corpus
from denoise.corpora.folder import TRANSCRIPTS
from denoise.corpora.registry import find_corpus
from denoise.corpora.selection import SelectionSettings


def has_transcripts(source: SourceSettings) -> bool:
    """Whether it is known what is spoken in the recordings of a source."""
    if source.path is not None:
        return (Path(source.path) / TRANSCRIPTS).is_file()
    return find_corpus(source.corpus).transcripts


class SourceSettings(SelectionSettings):
    """Recordings taken from one corpus, and which of the splits they may go to."""

    corpus: str
    """`synthetic`, `librispeech`, `esc50`, `voicebank_demand`, `folder` or one of `extensions`."""
    subsets: tuple[str, ...] = ()
    """Subsets of the corpus, e.g. `[train-clean-100]`; empty takes the corpus's default."""
    path: str | None = None
    """The folder of recordings; for `folder` only."""
    speaker_level: int | None = Field(None, ge=1, le=9)
    """Which folder level below `path` names the speaker; for `folder` only."""
    split: Literal["all", "train", "validation", "test"] = "all"
    """`validation` and `test` are for these only; `train` is divided into training and validation,
    `all` into all three, but where speech or noise has a source for `validation` of its own, they
    give it none."""

    @model_validator(mode="after")
    def _check(self) -> SourceSettings:
        corpus = find_corpus(self.corpus)
        for name in ("noise_types", "folds", "speakers", "sex"):
            if getattr(self, name) and name not in corpus.selected_by:
                raise ValueError(
                    f"recordings of {self.corpus} cannot be selected by {name}: it knows "
                    f"{' and '.join(corpus.selected_by)}"
                )
        if self.corpus == "folder":
            self._check_folder()
        else:
            self._check_known_corpus(corpus)
        return self

    def _check_folder(self) -> None:
        if not self.path:
            raise ValueError("corpus folder needs path: the folder of recordings")
        if self.subsets:
            raise ValueError(
                f"corpus folder has no subsets, but subsets is {list(self.subsets)}: leave it "
                "out, or replace the whole source of the preset"
            )

    def _check_known_corpus(self, corpus: Corpus) -> None:
        if self.path or self.speaker_level:
            raise ValueError(f"path and speaker_level are for corpus folder, not {self.corpus}")
        for subset in self.resolved_subsets():
            if subset not in corpus.subsets:
                raise unknown(f"subset of {self.corpus}", subset, corpus.subsets)
        # Said before anything is downloaded, where it can be known.
        for name in self.noise_types:
            if corpus.noise_types and name not in corpus.noise_types:
                raise unknown(f"noise type of {self.corpus}", name, corpus.noise_types)
        for fold in self.folds:
            if corpus.folds and fold not in corpus.folds:
                raise ValueError(
                    f"unknown fold {fold} of {self.corpus}: there are "
                    f"{', '.join(map(str, corpus.folds))}"
                )

    def resolved_subsets(self) -> tuple[str, ...]:
        """The subsets, or the corpus's default; for `folder` a name made from its path."""
        if self.corpus == "folder":
            assert self.path is not None
            level = f"-level{self.speaker_level}" if self.speaker_level else ""
            return (f"{Path(self.path).name or 'root'}-{digest(self.path, 6)}{level}",)
        if self.subsets:
            return self.subsets
        default = find_corpus(self.corpus).default_subset
        if default is None:
            raise ValueError(
                f"corpus {self.corpus} needs subsets: "
                f"some of {', '.join(find_corpus(self.corpus).subsets)}"
            )
        return (default,)
