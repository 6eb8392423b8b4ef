"""The settings that name where recordings come from."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from denoise.core.errors import unknown
from denoise.core.settings import digest
from denoise.corpora.base import Corpus
from denoise.corpora.folder import TRANSCRIPTS, listing_digest
from denoise.corpora.pairs import pairs_digest
from denoise.corpora.registry import find_corpus
from denoise.corpora.selection import SelectionSettings

OWN = ("folder", "pairs")
"""Corpora that lie in folders of the user's own."""


def has_transcripts(source: SourceSettings) -> bool:
    """Whether it is known what is spoken in the recordings of a source."""
    if source.path is not None:
        return (Path(source.path) / TRANSCRIPTS).is_file()
    return find_corpus(source.corpus).transcripts


def listing_of(source: SourceSettings, memory: Path | None = None) -> dict[str, Any]:
    """Where a source in folders of the user's own lies, and what it holds, as `index_own` takes it.

    Parameters
    ----------
    memory
        As of `core.files.Digests`.
    """
    clean = Path(str(source.path))
    about = {"path": source.path, "speaker_level": source.speaker_level}
    if source.corpus == "folder":
        return {**about, "listing": listing_digest(clean, memory)}
    noisy = source.noisy or source.path
    return {
        **about,
        "noisy": noisy,
        "patterns": source.patterns,
        "listing": pairs_digest(clean, Path(str(noisy)), memory),
    }


class SourceSettings(SelectionSettings):
    """Recordings taken from one corpus, and which of the splits they may go to."""

    corpus: str
    """`synthetic`, `librispeech`, `esc50`, `voicebank_demand`, `folder`, `pairs` or one of
    `extensions`."""
    subsets: tuple[str, ...] = ()
    """Subsets of the corpus, e.g. `[train-clean-100]`; empty takes the corpus's default."""
    path: str | None = None
    """The folder of recordings, for `folder`; that of the clean ones, for `pairs`."""
    noisy: str | None = None
    """The folder of the noisy versions, for `pairs`; default that of the clean ones."""
    patterns: tuple[str, str] | None = None
    """How clean and noisy files are called without suffix, for `pairs`, e.g. `["*_clean",
    "*_noisy"]`; default the same in two folders."""
    speaker_level: int | None = Field(None, ge=1, le=9)
    """Which folder level below `path` names the speaker; for `folder` and `pairs`."""
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
        if self.corpus != "pairs" and (self.noisy or self.patterns):
            raise ValueError(f"noisy and patterns are for corpus pairs, not {self.corpus}")
        if self.corpus in OWN:
            self._check_folder()
        else:
            self._check_known_corpus(corpus)
        return self

    def _check_folder(self) -> None:
        if not self.path:
            clean = "clean " if self.corpus == "pairs" else ""
            raise ValueError(f"corpus {self.corpus} needs path: the folder of {clean}recordings")
        if self.corpus == "pairs":
            self._check_pairs()
        if self.subsets:
            raise ValueError(
                f"corpus {self.corpus} has no subsets, but subsets is {list(self.subsets)}: leave "
                "it out, or replace the whole source of the preset"
            )

    def _check_pairs(self) -> None:
        for pattern in self.patterns or ():
            if pattern.count("*") != 1 or "/" in pattern:
                raise ValueError(
                    f"pattern '{pattern}' must be a file's name without suffix, with one * for "
                    "what clean and noisy have in common, such as *_clean"
                )
        same = self.noisy is None or Path(self.noisy) == Path(str(self.path))
        if same and (self.patterns is None or self.patterns[0] == self.patterns[1]):
            raise ValueError(
                "corpus pairs needs noisy: the folder of the noisy versions, or two patterns that "
                "tell both apart in one folder"
            )

    def _check_known_corpus(self, corpus: Corpus) -> None:
        if self.path or self.speaker_level:
            raise ValueError(
                f"path and speaker_level are for corpus folder or pairs, not {self.corpus}"
            )
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
        """The subsets, or the corpus's default; for `folder` and `pairs` a name made from the
        path."""
        if self.corpus in OWN:
            assert self.path is not None
            level = f"-level{self.speaker_level}" if self.speaker_level else ""
            pair = [self.path, self.noisy, self.patterns]
            where = digest(self.path if self.corpus == "folder" else pair, 6)
            return (f"{Path(self.path).name or 'root'}-{where}{level}",)
        if self.subsets:
            return self.subsets
        default = find_corpus(self.corpus).default_subset
        if default is None:
            raise ValueError(
                f"corpus {self.corpus} needs subsets: "
                f"some of {', '.join(find_corpus(self.corpus).subsets)}"
            )
        return (default,)
