"""The settings of sources of recordings."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from denoise.core.errors import unknown
from denoise.core.settings import digest
from denoise.corpora.base import Corpus
from denoise.corpora.folder import TRANSCRIPTS, layout_digest, listing_digest
from denoise.corpora.pairs import pairs_digest
from denoise.corpora.registry import find_corpus
from denoise.corpora.selection import SelectionSettings

OWN = ("folder", "pairs")
"""Corpora that lie in folders of the user's own."""


def has_transcripts(source: SourceSettings) -> bool:
    """Whether the recordings of a source have transcripts."""
    if source.corpus in OWN:
        return (Path(str(source.path)) / TRANSCRIPTS).is_file()
    return find_corpus(source.corpus).transcripts


def is_here(source: SourceSettings) -> bool:
    """Whether the recordings of a source are in a local folder."""
    return source.corpus in OWN or find_corpus(source.corpus).in_folder


def listing_of(
    source: SourceSettings, number: int = 0, memory: Path | None = None
) -> dict[str, Any]:
    """Where a source in a folder of this machine lies, and what it holds.

    Parameters
    ----------
    number
        Of several subsets which one.
    memory
        As of `core.files.Digests`.
    """
    if source.corpus not in OWN:
        path = Path(str(source.path))
        return {
            "path": source.path,
            "part": source.parts()[number],
            "listing": layout_digest(path),
        }
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
    """The name of a corpus in docs/corpora.md or in `extensions`."""
    subsets: tuple[str, ...] = ()
    """Subsets of the corpus, e.g. `[train-clean-100]`; default that of the corpus."""
    path: str | None = None
    """The folder of the recordings, for `folder`; of the clean recordings, for `pairs`; of the
    corpus, if it must be downloaded by hand, such as `common_voice`."""
    noisy: str | None = None
    """For `pairs`: the folder of the noisy recordings; default `path`."""
    patterns: tuple[str, str] | None = None
    """For `pairs`: the names of clean and noisy files without suffix, e.g. `["*_clean",
    "*_noisy"]`; default equal names in two folders."""
    speaker_level: int | None = Field(None, ge=1, le=9)
    """For `folder` and `pairs`: the folder level below `path` that names the speaker."""
    split: Literal["all", "train", "validation", "test"] = "all"
    """`train` is divided into training and validation, `all` into training, validation and test;
    a source with `validation` or `test` is used for that split only. If speech (or noise) has a
    source with `validation`, the others contribute nothing to validation."""

    share: float | None = Field(None, gt=0, le=1)
    """For noise, the share of the noisy mixtures whose noise is from this source; for rooms, the
    share of the reverberant mixtures whose room is from it. Sources without `share` divide the rest
    equally among their noise types or rooms."""

    @model_validator(mode="after")
    def _check(self) -> SourceSettings:
        corpus = find_corpus(self.corpus)
        for name in ("noise_types", "folds", "speakers", "exclude_speakers", "sex"):
            if getattr(self, name) and name.removeprefix("exclude_") not in corpus.selected_by:
                known = ", ".join(corpus.selected_by) or "none"
                raise ValueError(
                    f"recordings of {self.corpus} cannot be selected by {name}; possible: {known}"
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
        if corpus.in_folder and not self.path:
            raise ValueError(
                f"corpus {self.corpus} needs path: the folder that it was extracted to, as it has "
                f"to be downloaded by hand ({corpus.homepage})"
            )
        if (self.path and not corpus.in_folder) or self.speaker_level:
            name = "speaker_level" if self.speaker_level else "path"
            raise ValueError(f"corpus {self.corpus} has no setting {name}: leave it out")
        for subset in self.parts():
            if subset not in corpus.subsets:
                raise unknown(f"subset of {self.corpus}", subset, corpus.subsets)
        alike = [part for part in self.parts() if part in corpus.alike]
        if len(alike) > 1:
            raise ValueError(
                f"subsets {' and '.join(alike)} of {self.corpus} are the same utterances: name one"
            )
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
        """The subsets, or the corpus's default; in a folder of this machine names made from its
        path too."""
        if self.corpus in OWN:
            assert self.path is not None
            level = f"-level{self.speaker_level}" if self.speaker_level else ""
            pair = [self.path, self.noisy, self.patterns]
            where = digest(self.path if self.corpus == "folder" else pair, 6)
            return (f"{Path(self.path).name or 'root'}-{where}{level}",)
        if find_corpus(self.corpus).in_folder:
            assert self.path is not None
            where = f"{Path(self.path).name or 'root'}-{digest(self.path, 6)}"
            return tuple(f"{part}-{where}" for part in self.parts())
        return self.parts()

    def parts(self) -> tuple[str, ...]:
        """The subsets as the corpus calls them, or its default; a folder of the user's own has
        none."""
        if self.subsets or self.corpus in OWN:
            return self.subsets
        default = find_corpus(self.corpus).default_subset
        if default is None:
            raise ValueError(
                f"corpus {self.corpus} needs subsets: "
                f"some of {', '.join(find_corpus(self.corpus).subsets)}"
            )
        return (default,)
