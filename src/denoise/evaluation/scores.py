"""Score tables of an experiment, read and averaged over the seeds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from denoise.core.tables import read_table
from denoise.metrics.registry import SCORED


def join_scores(tables: Iterable[tuple[Mapping[str, Any], Path]]) -> pd.DataFrame:
    """Score tables as one.

    Parameters
    ----------
    tables
        What identifies each: ``method``, ``seed`` and ``test_set``, which become columns; and its
        path.
    """
    return pd.concat(
        [read_table(path).assign(**about) for about, path in tables], ignore_index=True
    )


def by_utterance(scores: pd.DataFrame) -> pd.DataFrame:
    """One row for each method, test set and utterance: the mean over the seeds."""
    keys = ["test_set", "method", "id"]
    about = ["split", "recording", "speaker", "sex", "noise_type", "snr_target", "snr_input"]
    values = scores.groupby(keys, sort=False)[list(SCORED)].mean()
    return values.join(scores.groupby(keys, sort=False)[about].first()).reset_index()
