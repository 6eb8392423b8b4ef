"""Dividing speakers and noise recordings among training, validation and test.

Splits are decided before anything is mixed, by group (a speaker, an ESC-50 fold, a noise
recording), so that nothing heard in training is heard again in the test.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from pydantic import Field, model_validator

from denoise.core.errors import UserError, unknown
from denoise.core.settings import Settings, item_seed
from denoise.core.tables import read_table, write_table

log = logging.getLogger(__name__)

SPLITS = ("train", "validation", "test")


class SplitSettings(Settings):
    """Shares of the groups that go to each split. Changing these mixes and trains again."""

    validation: float = Field(0.1, gt=0, lt=1)
    """Share of the groups of each sex or noise type for validation."""
    test: float = Field(0.2, gt=0, lt=1)
    """Share for test, taken from sources with `split: all`."""
    validation_speakers: tuple[str, ...] = ()
    """These speakers form the validation split of the speech, instead of a random share."""
    by_window: bool = False
    """Take the validation windows at random from the training recordings, as some published recipes
    did. The validation loss is then biased; use this only to reproduce a published one."""

    @model_validator(mode="after")
    def _check(self) -> SplitSettings:
        if self.validation + self.test >= 1:
            raise ValueError(
                f"validation {self.validation:g} and test {self.test:g} leave nothing to train "
                "on: together they must be less than 1"
            )
        return self


def assign(
    table: pd.DataFrame, allowed: str, settings: SplitSettings, seed: int, *, held: bool = False
) -> pd.Series:
    """The split of each row of a prepared index.

    Groups are ranked by a seeded digest and assigned within each stratum (sex for speech, noise
    type for noise), so that every stratum with enough groups stands in every split.  A stratum of
    one group goes to training, of two to training and test (or validation if `allowed` is
    ``train``).

    Parameters
    ----------
    table
        With the columns ``group``, ``sex`` and ``noise_type``.
    allowed
        ``all``, ``train`` (training and validation), ``validation`` or ``test``.
    seed
        The data seed.
    held
        Whether the validation split has a source of its own and takes nothing from others.
    """
    if allowed in {"validation", "test"}:
        return pd.Series(allowed, index=table.index)
    if settings.by_window:
        settings = settings.model_copy(update={"validation_speakers": ()})
    has_speakers = (table["speaker"] != "").any()
    named = has_speakers and bool(settings.validation_speakers)
    chosen = table["speaker"].isin(settings.validation_speakers)
    split_of: dict[str, str] = dict.fromkeys(table.loc[chosen, "group"], "validation")
    strata = table["sex"] if has_speakers else table["noise_type"]
    for _, groups in table[~chosen].groupby(strata[~chosen], sort=True)["group"]:
        names = sorted(groups.unique(), key=lambda name: item_seed(seed, "split", name))
        counts = _counts(len(names), allowed, settings)
        if named or held:
            counts["validation"] = 0
        taken = {split: sum(split_of.get(n) == split for n in names) for split in SPLITS}
        for name in names:
            if name not in split_of:
                split = next((s for s in ("test", "validation") if taken[s] < counts[s]), "train")
                split_of[name] = split
                taken[split] += 1
    return table["group"].map(split_of)


def _counts(groups: int, allowed: str, settings: SplitSettings) -> dict[str, int]:
    test = 0
    if allowed == "all" and groups >= 2:
        test = min(max(1, round(settings.test * groups)), groups - 1)
    validation = 0
    if groups - test >= 2 and not settings.by_window:
        validation = max(1, min(round(settings.validation * groups), groups - test - 1))
    return {"test": test, "validation": validation}


@dataclass(frozen=True)
class PreparedSource:
    """A source to be divided into splits."""

    index: Path
    """The index of `preparation.prepare`."""
    audio: Path
    """The pack that the index refers to."""
    split: str
    """The splits that its recordings may be assigned to."""
    share: float | None = None
    """Share of the mixtures with its recordings; None if it has no share of its own."""


def split(
    prepared: list[PreparedSource], settings: SplitSettings, seed: int, out_path: Path
) -> None:
    """Write one table of all `prepared` recordings with their split.

    Parameters
    ----------
    out_path
        The CSV to write: the prepared indexes with columns ``source`` (the pack), ``split``,
        ``validation_windows``, the share of the training windows that serve for validation, and
        ``share`` if a source has one.

    Raises
    ------
    UserError
        If a group or a recording stands in two splits, or a validation speaker is not there.
    """
    tables: list[pd.DataFrame] = []
    held = any(source.split == "validation" for source in prepared)
    for source in prepared:
        table = read_table(source.index)
        table["group"] = _groups_with_duplicates(table)
        table["split"] = assign(table, source.split, settings, seed, held=held)
        table.insert(0, "source", str(source.audio))
        if any(one.share is not None for one in prepared):
            table["share"] = np.nan if source.share is None else source.share
        tables.append(table)
    merged = pd.concat(tables, ignore_index=True)
    speakers = set(merged["speaker"]) - {""}
    for name in settings.validation_speakers:
        if speakers and name not in speakers:
            raise unknown("speaker in splits.validation_speakers", name, speakers)
    merged["validation_windows"] = settings.validation if settings.by_window else 0.0
    check_disjoint(merged)
    _check_duplicates(merged)
    write_table(out_path, merged)


def check_disjoint(table: pd.DataFrame) -> None:
    """Raise `UserError` if a group of a corpus stands in two splits.

    Noise is looked at by type: a fold of ESC-50 keeps clips of one recording together, and these
    are of one type.
    """
    noise = table["noise_type"].where(table["speaker"] == "", "")
    counts = table.groupby(["corpus", noise, "group"])["split"].nunique()
    shared = counts[counts > 1]
    if len(shared):
        corpus, _, group = shared.index[0]
        raise UserError(
            f"{len(shared)} groups of {corpus} (first '{group}') are in two splits: give the "
            "sources different speakers, folds or recordings"
        )


def _why_empty(table: pd.DataFrame, split: str, what: str) -> str:
    """What would put recordings into a split, where `assign` gave it none."""
    if what == "rooms":
        return (
            f"they are {table['group'].nunique()} rooms, and each stands in one split: add rooms, "
            f"in a folder for each, or give a source split: {split}"
        )
    kind = "sex" if (table["speaker"] != "").any() else "noise_type"
    most = int(table.groupby(kind)["group"].nunique().max())
    if kind == "noise_type" and most < len(SPLITS):
        return (
            f"its noise types have at most {most} recording{'s' * (most > 1)} each, of which the "
            "first serves for training, the second for the test and the third for validation: name "
            "recordings of one type alike (rain_1.wav, rain_2.wav, …), or give a source "
            f"split: {split}"
        )
    return f"add recordings, or a source with split: {'test' if split == 'test' else 'all'}"


def _groups_with_duplicates(table: pd.DataFrame) -> pd.Series:
    """The group of each recording; groups that share a duplicate recording are merged (union-find),
    so that no duplicate is heard in another split."""
    parent = {name: name for name in table["group"]}

    def root(name: str) -> str:
        while parent[name] != name:
            name = parent[name]
        return name

    duplicates = table[table["content"].duplicated(keep=False)]
    for _, groups in duplicates.groupby("content", sort=True)["group"]:
        first, *others = sorted({root(name) for name in groups})
        parent.update(dict.fromkeys(others, first))
    if len(duplicates):
        log.warning(
            "%d duplicate recordings, kept in one split: %s",
            len(duplicates),
            ", ".join(duplicates["id"].head(5)) + (", …" if len(duplicates) > 5 else ""),
        )
    return table["group"].map(root)


def _check_duplicates(table: pd.DataFrame) -> None:
    """Raise `UserError` if the same recording is in two splits, by way of two sources."""
    counts = table.groupby("content")["split"].nunique()
    shared = counts[counts > 1]
    if len(shared):
        twice = table[table["content"] == shared.index[0]].drop_duplicates("split")
        places = " and ".join(f"{row.id} ({row.split})" for row in twice.itertuples())
        raise UserError(
            f"{len(shared)} recordings are in two splits, such as {places}: give the sources "
            "different recordings"
        )


def members(table: pd.DataFrame, split: str, what: str) -> pd.DataFrame:
    """The recordings that serve for a split: its own, or the training's if it goes by window.

    Parameters
    ----------
    table
        As `split` wrote it.
    what
        ``speech``, ``noise`` or ``rooms``, for the error.

    Raises
    ------
    UserError
        If there are none.
    """
    if split == "validation" and table["validation_windows"].max() > 0:
        split = "train"
    found = table[table["split"] == split]
    if found.empty:
        raise UserError(
            f"the {split} split of the {what} is empty: {_why_empty(table, split, what)}"
        )
    return found
