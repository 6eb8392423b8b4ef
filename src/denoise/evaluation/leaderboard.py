"""The leaderboard and the pairwise comparisons of an experiment."""

from __future__ import annotations

import itertools
from collections.abc import Collection
from pathlib import Path

import numpy as np
import pandas as pd

from denoise.core.tables import write_parquet, write_table
from denoise.evaluation.baselines import CEILINGS
from denoise.evaluation.scores import MethodScores, by_utterance, ranking_measure
from denoise.evaluation.statistics import Estimate, claim, estimate, holm, needed
from denoise.metrics.registry import SCORED

COMPARED = (
    "si_sdr", "si_sdr_80", "pesq_nb", "pesq_wb", "stoi",
    "dnsmos_sig", "dnsmos_bak", "dnsmos_ovrl", "wer", "dwer",
)  # fmt: skip
"""The metrics in which every two methods are compared."""


def leaderboard(scores: pd.DataFrame, variants: Collection[str]) -> pd.DataFrame:
    """A row for each test set and method: means over utterances with 95 % intervals.

    Its ``kind`` is variant for each of `variants`, oracle for `CEILINGS`, or baseline for all else.
    The best of each kind comes first, by `scores.ranking_measure`.

    The intervals are of `statistics.estimate`, over seeds and speakers; ``<metric>_seed_std`` is
    the standard deviation of the seeds' means.  ``n_failed`` counts utterances for which a metric
    is missing for a reason; missing values are left out of the means, never replaced.
    """
    merged = by_utterance(scores)
    kinds = dict.fromkeys(CEILINGS, "oracle") | dict.fromkeys(variants, "variant")
    boards = []
    for test_set, whole in scores.groupby("test_set", sort=False):
        measured = {metric: MethodScores.of(whole, metric) for metric in SCORED}
        rows = []
        for method, own in whole.groupby("method", sort=False):
            table = merged[(merged["method"] == method) & (merged["test_set"] == test_set)]
            row: dict[str, object] = {
                "variant": method,
                "kind": kinds.get(method, "baseline"),
                "test_set": test_set,
                "split": table["split"].iloc[0],
                "n": len(table),
                "n_failed": own.loc[own["status"] != "ok", "id"].nunique(),
                "seeds": own["seed"].nunique(),
            }
            for metric, found in measured.items():
                values = found.by_method[method]
                mean = estimate([values], [1], found.speakers)
                row[metric] = mean.mean
                row[f"{metric}_ci_low"], row[f"{metric}_ci_high"] = mean.low, mean.high
                seed_means = own.groupby("seed")[metric].mean()
                row[f"{metric}_seed_std"] = seed_means.std() if len(seed_means) > 1 else np.nan
            rows.append(row)
        board = pd.DataFrame(rows)
        ranked = board.sort_values(ranking_measure(board), ascending=False)
        order = ranked["kind"].map({"oracle": 0, "variant": 1, "baseline": 2})
        boards.append(ranked.loc[order.sort_values(kind="stable").index])
    boards.sort(key=lambda board: board["test_set"].iloc[0])
    return pd.concat(boards, ignore_index=True)


def components(scores: pd.DataFrame, metrics: Collection[str]) -> pd.DataFrame:
    """The components of variance of every method's scores.

    Returns
    -------
    pd.DataFrame
        Columns ``test_set``, ``method``, ``metric``, and the standard deviations ``sd_seed``
        (between trainings), ``sd_speaker`` and ``sd_utterance`` (of one speaker); NaN where there
        is but one.
    """
    rows = []
    for test_set, table in scores.groupby("test_set", sort=False):
        measured = {
            metric: MethodScores.of(table, metric)
            for metric in metrics
            if table[metric].notna().any()
        }
        for method in dict.fromkeys(table["method"]):
            for metric, found in measured.items():
                one = estimate([found.by_method[method]], [1], found.speakers)
                rows.append(
                    (test_set, method, metric, one.sd_seed, one.sd_speaker, one.sd_utterance)
                )
    names = ["test_set", "method", "metric", "sd_seed", "sd_speaker", "sd_utterance"]
    return pd.DataFrame(rows, columns=names)


def pairwise(scores: pd.DataFrame, metrics: Collection[str]) -> pd.DataFrame:
    """Every pair of methods: mean difference, interval, test and what may be claimed.

    Where a method or a test set has no values of a metric, it is left out for that.

    Returns
    -------
    pd.DataFrame
        Columns ``test_set``, ``metric``, ``first``, ``second``; ``difference`` with ``ci_low`` and
        ``ci_high``; ``p`` and ``p_holm``, corrected by Holm's method within each test set and
        metric; ``claim`` (`statistics.claim`); ``n``, ``speakers``, ``seeds`` and how many are
        ``agreeing`` in the sign;
        the components of variance ``sd_seed``, ``sd_speaker`` and ``sd_utterance``; and
        ``seeds_needed``, ``speakers_needed`` and ``utterances_needed`` (`statistics.needed`).
    """
    rows: list[dict[str, object]] = []
    for test_set, table in scores.groupby("test_set", sort=False):
        for metric in metrics:
            if table[metric].isna().all():
                continue
            found = MethodScores.of(table, metric)
            measured = [name for name, own in found.by_method.items() if np.isfinite(own).any()]
            pairs = list(itertools.combinations(sorted(measured), 2))
            differences = [
                estimate([found.by_method[name] for name in pair], [1, -1], found.speakers)
                for pair in pairs
            ]
            corrected = holm([one.p for one in differences])
            for (first, second), one, p_holm in zip(pairs, differences, corrected, strict=True):
                rows.append(
                    {
                        "test_set": test_set,
                        "metric": metric,
                        "first": first,
                        "second": second,
                        "difference": one.mean,
                        "ci_low": one.low,
                        "ci_high": one.high,
                        "p": one.p,
                        "p_holm": p_holm,
                        "claim": claim(one, p_holm),
                        **basis(one, len(pairs)),
                    }
                )
    return pd.DataFrame(rows)


def basis(found: Estimate, tests: int) -> dict[str, float]:
    """The basis of a difference, and the data that it would need: the last columns of `pairwise`.

    Parameters
    ----------
    tests
        How many p-values are corrected together.
    """
    need = needed(found, tests)
    return {
        "n": found.n,
        "speakers": found.speakers,
        "seeds": found.seeds,
        "agreeing": found.agreeing,
        "sd_seed": found.sd_seed,
        "sd_speaker": found.sd_speaker,
        "sd_utterance": found.sd_utterance,
        "seeds_needed": need.seeds,
        "speakers_needed": need.speakers,
        "utterances_needed": need.utterances,
    }


def write_leaderboard(
    scores: pd.DataFrame,
    variants: Collection[str],
    leaderboard_path: Path,
    pairwise_path: Path,
    scores_path: Path,
) -> None:
    """Write ``leaderboard.csv`` and ``pairwise.csv`` from the scores of `variants` and others.

    The scores themselves go into ``scores.parquet``, so that a folder of a report can be compared
    with others wherever it is taken.

    Parameters
    ----------
    scores
        As of `scores.join_scores`.
    """
    write_parquet(scores_path, scores)
    write_table(leaderboard_path, leaderboard(scores, variants), "%.9g")
    compared = tuple(metric for metric in COMPARED if scores[metric].notna().any())
    write_table(pairwise_path, pairwise(scores, compared), "%.9g")
