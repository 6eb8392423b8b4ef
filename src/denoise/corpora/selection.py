"""Choosing recordings of an index table, before any audio is decoded."""

from __future__ import annotations

from collections import Counter
from pathlib import PurePosixPath
from typing import Literal

import pandas as pd
from pydantic import Field, model_validator

from denoise.core.errors import UserError, unknown
from denoise.core.settings import Settings, item_seed


class SelectionSettings(Settings):
    """Which recordings of a corpus are taken. Changing these prepares audio again."""

    noise_types: tuple[str, ...] = ()
    """Noise types to take; default all."""
    folds: tuple[int, ...] = ()
    """Folds to take (ESC-50); default all."""
    speakers: tuple[str, ...] = ()
    """Speakers to take; default all."""
    exclude_speakers: tuple[str, ...] = ()
    """Speakers to leave out, such as those of a test set."""
    recordings: tuple[str, ...] = ()
    """Files to take, by name without folder and suffix; default all."""
    sex: Literal["F", "M"] | None = None
    """Take speakers of this sex only."""
    hours: float | None = Field(None, gt=0)
    """Largest number of hours, spread over the speakers or noise types; default all."""


class AudioSettings(Settings):
    """How recordings are decoded and which are kept. Changing these prepares audio again."""

    sample_rate: int = Field(8000, ge=4000, le=192_000)
    """Working sample rate in Hz."""
    min_duration_s: float = Field(1.0, ge=0)
    """Shorter speech recordings are left out."""
    max_duration_s: float | None = Field(None, gt=0)
    """Longer speech recordings are left out; default no limit."""
    trim_top_db: float | None = Field(None, gt=0, le=120)
    """Cut leading and trailing parts of unpaired speech this many dB below the peak; default no
    trimming."""
    max_dropped: float = Field(0.05, ge=0, le=1)
    """Fail if more than this share of the files cannot be decoded, is silent or contains NaN."""

    @model_validator(mode="after")
    def _check(self) -> AudioSettings:
        if self.max_duration_s is not None and self.max_duration_s <= self.min_duration_s:
            raise ValueError(
                f"max_duration_s {self.max_duration_s:g} must be greater than "
                f"min_duration_s {self.min_duration_s:g}"
            )
        return self


def select(
    table: pd.DataFrame,
    what: str,
    selection: SelectionSettings,
    settings: AudioSettings,
    seed: int,
) -> tuple[pd.DataFrame, Counter[str]]:
    """The rows of an index table that `selection` and `settings` ask for, and why others went.

    Raises
    ------
    UserError
        If a category, fold or speaker does not exist, or nothing is left.
    """
    skipped: Counter[str] = Counter()
    table = _of_names(table, what, selection, skipped)
    if selection.sex:
        table = _keep(table, table["sex"] == selection.sex, "sex", skipped)
    if (table["speaker"] != "").all():
        # An unreadable header has no duration; such a file is kept here to be reported later.
        short = table["duration"] < settings.min_duration_s
        table = _keep(table, ~short, f"shorter than {settings.min_duration_s:g} s", skipped)
        if settings.max_duration_s is not None:
            long = table["duration"] > settings.max_duration_s
            table = _keep(table, ~long, f"longer than {settings.max_duration_s:g} s", skipped)
    if selection.hours is not None:
        table = _keep(table, _within_hours(table, selection.hours, seed), "beyond hours", skipped)
    if table.empty:
        reasons = ", ".join(f"{count} for {reason}" for reason, count in skipped.items())
        raise UserError(
            f"no recording of {what} is left (left out: {reasons}): widen the selection"
        )
    return table.reset_index(drop=True), skipped


def _of_names(
    table: pd.DataFrame, what: str, selection: SelectionSettings, skipped: Counter[str]
) -> pd.DataFrame:
    """The rows that `selection` names, without those of excluded speakers."""
    chosen: tuple[tuple[str, str, tuple[str, ...], bool], ...] = (
        ("noise type", "noise_type", selection.noise_types, True),
        ("fold", "group", tuple(f"fold{fold}" for fold in selection.folds), True),
        ("speaker", "speaker", selection.speakers, True),
        ("speaker", "speaker", selection.exclude_speakers, False),
        ("recording", "id", selection.recordings, True),
    )
    for called, column, names, wanted in chosen:
        if not names:
            continue
        values = table[column].map(_file_name) if called == "recording" else table[column]
        known = set(values)
        for name in names:
            if name not in known:
                raise unknown(f"{called} of {what}", name, known)
        reason = called if wanted else "excluded"
        table = _keep(table, values.isin(names) == wanted, reason, skipped)
    return table


def _file_name(recording: str) -> str:
    return PurePosixPath(recording).stem


def _keep(table: pd.DataFrame, mask: pd.Series, reason: str, skipped: Counter[str]) -> pd.DataFrame:
    if not mask.all():
        skipped[reason] += int((~mask).sum())
    return table[mask]


def _within_hours(table: pd.DataFrame, hours: float, seed: int) -> pd.Series:
    """Take recordings round-robin from the speakers or noise types, in random order, up to
    `hours`."""
    owner = table["speaker"].where(table["speaker"] != "", table["noise_type"])
    order = [item_seed(seed, "hours", name) for name in table["id"]]
    ranked = pd.DataFrame({"owner": owner, "order": order, "duration": table["duration"]})
    ranked["round"] = ranked.groupby("owner")["order"].rank()
    ranked = ranked.sort_values(["round", "order"])
    kept = ranked["duration"].cumsum() <= hours * 3600
    kept.iloc[0] = True
    return kept.reindex(table.index)
