"""The leaderboard and the pairwise comparisons of an experiment."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import numpy as np
import pandas as pd

from denoise.core.tables import write_table
from denoise.evaluation.scores import by_utterance
from denoise.evaluation.statistics import cluster_bootstrap, compare, holm
from denoise.metrics.registry import SCORED


def leaderboard(scores: pd.DataFrame, variants: Collection[str]) -> pd.DataFrame:
    """A row for each test set and method: means over utterances with 95 % intervals.

    Its ``kind`` is variant for each of `variants`, oracle, or baseline for all else.

    Seeds are averaged for each utterance first; ``<metric>_seed_std`` is the standard deviation of
    the seeds' means.  ``n_failed`` counts utterances for which a metric is missing for a reason;
    missing values are left out of the means, never replaced.
    """
    merged = by_utterance(scores)
    kinds = {"oracle": "oracle", **dict.fromkeys(variants, "variant")}
    rows = []
    for (test_set, method), table in merged.groupby(["test_set", "method"], sort=False):
        own = scores[(scores["method"] == method) & (scores["test_set"] == test_set)]
        failed = own.loc[own["status"] != "ok", "id"].nunique()
        row: dict[str, object] = {
            "variant": method,
            "kind": kinds.get(method, "baseline"),
            "test_set": test_set,
            "split": table["split"].iloc[0],
            "n": len(table),
            "n_failed": failed,
            "seeds": own["seed"].nunique(),
        }
        speakers = table["speaker"].to_numpy()
        for metric in SCORED:
            estimate = cluster_bootstrap(table[metric].to_numpy(float), speakers)
            row[metric] = estimate.mean
            row[f"{metric}_ci_low"], row[f"{metric}_ci_high"] = estimate.low, estimate.high
            seed_means = own.groupby("seed")[metric].mean()
            row[f"{metric}_seed_std"] = seed_means.std() if len(seed_means) > 1 else np.nan
        rows.append(row)
    order = {"oracle": 0, "variant": 1, "baseline": 2}
    board = pd.DataFrame(rows)
    board["order"] = board["kind"].map(order)
    board = board.sort_values(
        ["test_set", "order", "si_sdr"], ascending=[True, True, False], ignore_index=True
    )
    return board.drop(columns="order")


def pairwise(scores: pd.DataFrame, metrics: tuple[str, ...]) -> pd.DataFrame:
    """Every pair of methods: mean difference, interval and corrected Wilcoxon p-value.

    P-values are corrected by Holm's method within each test set and metric.
    """
    merged = by_utterance(scores)
    rows: list[dict[str, object]] = []
    for test_set, table in merged.groupby("test_set", sort=False):
        speakers = table.groupby("id", sort=True)["speaker"].first().to_numpy()
        for metric in metrics:
            wide = table.pivot_table(index="id", columns="method", values=metric, sort=True)
            wide = wide.reindex(sorted(table["id"].unique()))
            methods = list(wide.columns)
            part: list[dict[str, object]] = []
            for number, first in enumerate(methods):
                for second in methods[number + 1 :]:
                    result = compare(wide[first].to_numpy(), wide[second].to_numpy(), speakers)
                    part.append(
                        {
                            "test_set": test_set,
                            "metric": metric,
                            "first": first,
                            "second": second,
                            "difference": result.difference.mean,
                            "ci_low": result.difference.low,
                            "ci_high": result.difference.high,
                            "p_wilcoxon": result.p_wilcoxon,
                            "n": result.n,
                        }
                    )
            corrected = holm([float(row["p_wilcoxon"]) for row in part])  # type: ignore[arg-type]
            rows += [{**row, "p_holm": p} for row, p in zip(part, corrected, strict=True)]
    return pd.DataFrame(rows)


def write_leaderboard(
    scores: pd.DataFrame,
    variants: Collection[str],
    leaderboard_path: Path,
    pairwise_path: Path,
    scores_path: Path,
) -> None:
    """Write ``leaderboard.csv`` and ``pairwise.csv`` from the scores of `variants` and others.

    The scores themselves go into ``scores.csv`` too, so that a folder of a report can be compared
    with others wherever it is taken.

    Parameters
    ----------
    scores
        As of `scores.join_scores`.
    """
    write_table(scores_path, scores)
    write_table(leaderboard_path, leaderboard(scores, variants), "%.9g")
    compared = tuple(m for m in ("si_sdr", "pesq_nb", "pesq_wb", "stoi") if scores[m].notna().any())
    write_table(pairwise_path, pairwise(scores, compared), "%.9g")
