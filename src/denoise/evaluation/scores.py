"""Score tables of an experiment, read, averaged over the seeds and arranged by method."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from denoise.core.tables import read_table
from denoise.metrics.registry import RANKING, SCORED


def join_scores(tables: Iterable[tuple[Mapping[str, Any], Path]]) -> pd.DataFrame:
    """Score tables as one, with all columns of `SCORED`; those that were not measured are NaN.

    Parameters
    ----------
    tables
        What identifies each: ``method``, ``seed`` and ``test_set``, which become columns; and its
        path.  Tables that agree in these are of several families of metrics.
    """
    runs: dict[tuple[Any, ...], pd.DataFrame] = {}
    for about, path in tables:
        table = read_table(path)
        run = tuple(sorted(about.items()))
        runs[run] = _both_families(runs[run], table) if run in runs else table
    whole = pd.concat([table.assign(**dict(run)) for run, table in runs.items()], ignore_index=True)
    return whole.assign(**dict.fromkeys([name for name in SCORED if name not in whole], np.nan))


def _both_families(one: pd.DataFrame, other: pd.DataFrame) -> pd.DataFrame:
    """Merge two tables of the same utterances; ``status`` contains the reasons of both."""
    added = other.set_index("id").reindex(one["id"]).reset_index()
    reasons = [
        "; ".join(reason for reason in both if reason != "ok") or "ok"
        for both in zip(one["status"], added["status"], strict=True)
    ]
    new = [name for name in added if name not in one]
    return one.assign(**{name: added[name] for name in new}, status=reasons)


def ranking_measure(scores: pd.DataFrame) -> str:
    """The metric that methods are ranked by: the first of `RANKING` that has values in a table of
    scores or a leaderboard."""
    return next((name for name in RANKING if name in scores and scores[name].notna().any()),
                RANKING[0])  # fmt: skip


def by_utterance(scores: pd.DataFrame) -> pd.DataFrame:
    """One row for each method, test set and utterance: the mean over the seeds.

    A metric that is missing with one seed is missing.
    """
    keys = ["test_set", "method", "id"]
    about = ["split", "recording", "speaker", "sex", "noise_type", "snr_target", "snr_input"]
    groups = scores.groupby(keys, sort=False)
    measured = groups[list(SCORED)]
    values = measured.mean().where(measured.count().eq(groups.size(), axis=0))
    return values.join(groups[about].first()).reset_index()


class MethodScores(NamedTuple):
    """One metric of all utterances of a test set, as `statistics.estimate` takes it."""

    ids: np.ndarray
    """IDs of the utterances, sorted."""
    speakers: np.ndarray
    """Speaker of each utterance; empty if unknown."""
    by_method: dict[str, np.ndarray]
    """Method → scores [shape=(trainings, utterances)], NaN where missing."""

    @classmethod
    def of(cls, scores: pd.DataFrame, metric: str) -> MethodScores:
        """From a table as of `join_scores`, of one test set."""
        # Unlike pivot_table it refuses an utterance that stands twice.
        keyed = scores.set_index(["method", "seed", "id"])[metric]
        wide = keyed.unstack("id").sort_index(axis=1)  # noqa: PD010
        speakers = scores.groupby("id")["speaker"].first().reindex(wide.columns).fillna("")
        values = {method: part.to_numpy(float) for method, part in wide.groupby(level="method")}
        order = dict.fromkeys(scores["method"])
        return cls(
            wide.columns.to_numpy(), speakers.to_numpy(str), {name: values[name] for name in order}
        )

    def only(self, ids: pd.Index) -> MethodScores:
        """The scores of some utterances."""
        kept = np.isin(self.ids, ids)
        return MethodScores(
            self.ids[kept],
            self.speakers[kept],
            {name: values[:, kept] for name, values in self.by_method.items()},
        )
