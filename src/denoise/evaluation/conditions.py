"""Scores by condition (input SNR, noise type) and by swept setting."""

from __future__ import annotations

import numpy as np
import pandas as pd

from denoise.evaluation.scores import by_utterance
from denoise.evaluation.statistics import cluster_bootstrap


def by_condition(
    utterances: pd.DataFrame, metric: str, condition: pd.Series, *, gain: bool = False
) -> pd.DataFrame:
    """Means of a metric with 95 % intervals (bootstrap over speakers) for each condition.

    Parameters
    ----------
    utterances
        A table as of `by_utterance`, of one test set.
    condition
        Utterance → condition, as its index and values; utterances without one are left out.
    gain
        Take the difference to the unprocessed input of the same utterance.

    Returns
    -------
    pd.DataFrame
        Columns ``method``, ``condition``, ``mean``, ``low``, ``high``, ``n``.
    """
    wide = utterances.pivot_table(index="id", columns="method", values=metric, sort=False)
    if gain and not wide.empty:
        wide = wide.sub(wide["noisy"], axis=0).drop(columns="noisy")
    speakers = utterances.groupby("id")["speaker"].first()
    rows: list[dict[str, object]] = []
    for value, part in wide.groupby(condition.reindex(wide.index), sort=True):
        clusters = speakers.reindex(part.index).to_numpy()
        for method in wide.columns:
            values = part[method].to_numpy()
            if np.isfinite(values).any():
                estimate = cluster_bootstrap(values, clusters)
                rows.append(
                    {
                        "method": method,
                        "condition": value,
                        "mean": estimate.mean,
                        "low": estimate.low,
                        "high": estimate.high,
                        "n": int(np.isfinite(values).sum()),
                    }
                )
    return pd.DataFrame(rows, columns=["method", "condition", "mean", "low", "high", "n"])


def snr_condition(utterances: pd.DataFrame) -> pd.Series:
    """The input SNR in dB of each utterance: as asked, or of a range the middle of a bin of 5."""
    first = utterances.groupby("id", sort=False)[["snr_target", "snr_input"]].first()
    asked = first["snr_target"]
    if asked.nunique() <= 12 and asked.notna().all():
        return asked
    realised = first["snr_input"][np.isfinite(first["snr_input"])]
    edges = np.arange(-10, 31, 5)
    bins = np.clip(np.digitize(realised, edges) - 1, 0, len(edges) - 2)
    return pd.Series(edges[bins] + 2.5, realised.index)


def main_effects(
    scores: pd.DataFrame, settings: dict[str, dict[str, str]], metrics: list[str]
) -> pd.DataFrame:
    """What each value of a swept setting does, averaged over all other settings and the seeds.

    The effect of a value is the mean over the variants that have it less the mean over all values
    (Box, Hunter & Hunter, "Statistics for Experimenters", ch. 5), taken for each utterance; its
    95 % interval comes from the bootstrap over speakers.  In a full grid the settings do not
    confound each other.

    Parameters
    ----------
    settings
        Variant → setting → value, as text.

    Returns
    -------
    pd.DataFrame
        Columns ``test_set``, ``setting``, ``value``, ``variants`` (how many have it), ``metric``,
        ``mean``, ``effect``, ``ci_low``, ``ci_high``.
    """
    merged = by_utterance(scores)
    merged = merged[merged["method"].isin(settings)]
    names = list(dict.fromkeys(name for values in settings.values() for name in values))
    rows: list[dict[str, object]] = []
    for test_set, table in merged.groupby("test_set", sort=False):
        speakers = table.groupby("id", sort=True)["speaker"].first().to_numpy()
        for metric in metrics:
            wide = table.pivot_table(
                index="id", columns="method", values=metric, sort=True, dropna=False
            )
            for name in names:
                having: dict[str, list[str]] = {}
                for variant, values in settings.items():
                    having.setdefault(values[name], []).append(variant)
                means = pd.DataFrame(
                    {value: wide[variants].mean(axis=1) for value, variants in having.items()}
                )
                effects = means.sub(means.mean(axis=1, skipna=False), axis=0)
                for value, variants in having.items():
                    estimate = cluster_bootstrap(effects[value].to_numpy(), speakers)
                    rows.append(
                        {
                            "test_set": test_set,
                            "setting": name,
                            "value": value,
                            "variants": len(variants),
                            "metric": metric,
                            "mean": means[value].mean(),
                            "effect": estimate.mean,
                            "ci_low": estimate.low,
                            "ci_high": estimate.high,
                        }
                    )
    return pd.DataFrame(rows)
