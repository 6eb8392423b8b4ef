"""The data sets the workflow knows, and how one is obtained and indexed.

To add one, write a module with a ``CORPUS`` (see ``base.Corpus``) and name it in `CORPORA`.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Literal

import pandas as pd
import soundfile
from pydantic import Field, model_validator

from denoise import files
from denoise.corpora import esc50, folder, librispeech, synthetic, voicebank_demand
from denoise.corpora.base import INDEX_COLUMNS, Corpus
from denoise.errors import UserError, unknown
from denoise.fetch import Archive, DownloadSettings, extract, fetch
from denoise.settings import Settings, digest

log = logging.getLogger(__name__)

CORPORA: dict[str, Corpus] = {
    module.CORPUS.name: module.CORPUS
    for module in (synthetic, librispeech, esc50, voicebank_demand, folder)
}

__all__ = ["CORPORA", "INDEX_COLUMNS", "Corpus", "SourceSettings", "get", "index_subset"]


def get(name: str) -> Corpus:
    """The corpus of that name; an error that lists them all if there is none."""
    if name not in CORPORA:
        raise unknown("corpus", name, CORPORA)
    return CORPORA[name]


class SourceSettings(Settings):
    """Recordings taken from one corpus, and which of the splits they may go to."""

    corpus: str
    """`synthetic`, `librispeech`, `esc50`, `voicebank_demand` or `folder`."""
    subsets: tuple[str, ...] = ()
    """Subsets of the corpus, e.g. `[train-clean-100]`; empty takes the corpus's default."""
    path: str | None = None
    """The folder of recordings; for `folder` only."""
    speaker_level: int | None = Field(None, ge=1, le=9)
    """Which folder level below `path` names the speaker; for `folder` only."""
    use: Literal["all", "train", "test"] = "all"
    """`train` is divided into training and validation, `test` is for test only, `all` for all."""
    categories: tuple[str, ...] = ()
    """Noise kinds to take; empty takes all."""
    folds: tuple[int, ...] = ()
    """Folds to take (ESC-50); empty takes all."""
    speakers: tuple[str, ...] = ()
    """Speakers to take; empty takes all."""
    sex: Literal["F", "M"] | None = None
    """Take speakers of this sex only."""
    hours: float | None = Field(None, gt=0)
    """At most this many hours, spread over the speakers or kinds; default all."""

    @model_validator(mode="after")
    def _check(self) -> SourceSettings:
        corpus = get(self.corpus)
        if self.corpus == "folder":
            if not self.path:
                raise ValueError("corpus folder needs path: the folder of recordings")
            if self.subsets:
                raise ValueError("corpus folder has no subsets")
            return self
        if self.path or self.speaker_level:
            raise ValueError(f"path and speaker_level are for corpus folder, not {self.corpus}")
        for subset in self.resolved_subsets():
            if subset not in corpus.subsets:
                raise unknown(f"subset of {self.corpus}", subset, corpus.subsets)
        return self

    def resolved_subsets(self) -> tuple[str, ...]:
        """The subsets, or the corpus's default; for `folder` a name made from its path."""
        if self.corpus == "folder":
            assert self.path is not None
            level = f"-level{self.speaker_level}" if self.speaker_level else ""
            return (f"{Path(self.path).name or 'root'}-{digest(self.path, 6)}{level}",)
        if self.subsets:
            return self.subsets
        default = get(self.corpus).default_subset
        if default is None:
            raise ValueError(
                f"corpus {self.corpus} needs subsets: "
                f"some of {', '.join(get(self.corpus).subsets)}"
            )
        return (default,)


def index_subset(
    corpus_name: str,
    subset: str,
    archives: list[Path],
    target: Path,
    download: DownloadSettings,
) -> None:
    """Extract or make one subset in ``<target without .csv>/`` and write its index to `target`.

    The folder gets its name only when it is complete, and the table is written last.

    Parameters
    ----------
    corpus_name, subset
        As in `CORPORA`; not for ``folder``, see `index_folder`.
    archives
        The archives that are not optional, as downloaded; optional ones are fetched beside them.
    target
        The CSV to write.
    download
        For the optional archives.
    """
    corpus = get(corpus_name)
    final = target.with_suffix("")
    with files.replacing(final) as temporary:
        temporary.mkdir()
        for archive in archives:
            count = extract(archive, temporary, corpus.wanted)
            log.info("%s: %d files extracted", archive, count)
        for optional in corpus.subsets[subset]:
            if optional.optional:
                _extract_optional(corpus, optional, archives, temporary, download)
        table = _checked(corpus.build(temporary, subset), temporary, f"{corpus_name}/{subset}")
    _write_index(table, final, target)


def _extract_optional(
    corpus: Corpus, optional: Archive, archives: list[Path], folder: Path, download: DownloadSettings
) -> None:
    path = archives[0].with_name(optional.name)
    try:
        if not path.exists():
            fetch(optional, corpus.name, path, download.model_copy(update={"retries": 0}))
        extract(path, folder, corpus.wanted)
    except UserError as error:
        log.warning("%s; going on without it", error)


def index_folder(path: Path, speaker_level: int | None, target: Path) -> None:
    """Write the index of the user's own folder; its recordings stay where they are."""
    table = _checked(folder.build_folder(path, speaker_level), Path(), str(path))
    _write_index(table, Path(), target)


def _checked(table: pd.DataFrame, root: Path, what: str) -> pd.DataFrame:
    """`table` with durations, after a look for what no corpus may have."""
    if table.empty:
        raise UserError(f"{what} holds no recordings in the layout that is expected")
    duplicates = table.loc[table["id"].duplicated(), "id"]
    if len(duplicates):
        raise UserError(f"{what} holds two recordings named '{duplicates.iloc[0]}'")
    return table.assign(duration=[_duration(root / path) for path in table["path"]])


def _write_index(table: pd.DataFrame, root: Path, target: Path) -> None:
    for column in ("path", "noisy_path"):
        table[column] = [str(root / path) if path else "" for path in table[column]]
    files.write_table(target, table)


def _duration(path: Path) -> float:
    """Seconds by the file's header, NaN if it has none (preparation will say why)."""
    try:
        info = soundfile.info(str(path))
    except soundfile.LibsndfileError:
        return float("nan")
    return info.frames / info.samplerate
