"""Scores by condition (input SNR, noise type) and by swept setting."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd

from denoise.evaluation.scores import MethodScores
from denoise.evaluation.statistics import claim, estimate, holm


def by_condition(
    scores: pd.DataFrame, metric: str, condition: pd.Series, *, gain: bool = False
) -> pd.DataFrame:
    """Means of a metric with 95 % intervals (over seeds and speakers) for each condition.

    Parameters
    ----------
    scores
        A table as of `join_scores`, of one test set.
    condition
        Utterance → condition, as its index and values; utterances without one are left out.
    gain
        Take the difference to the unprocessed input of the same utterance.

    Returns
    -------
    pd.DataFrame
        Columns ``method``, ``condition``, ``mean``, ``low``, ``high``, ``n``.
    """
    measured = MethodScores.of(scores, metric)
    methods = [name for name in measured.by_method if not (gain and name == "noisy")]
    rows: list[dict[str, object]] = []
    for value, ids in _by_value(condition):
        part = measured.only(ids)
        for method in methods:
            taken = [method, "noisy"] if gain else [method]
            found = estimate(
                [part.by_method[name] for name in taken], [1, -1][: len(taken)], part.speakers
            )
            if found.n:
                rows.append(
                    {
                        "method": method,
                        "condition": value,
                        "mean": found.mean,
                        "low": found.low,
                        "high": found.high,
                        "n": found.n,
                    }
                )
    return pd.DataFrame(rows, columns=["method", "condition", "mean", "low", "high", "n"])


def _by_value(condition: pd.Series) -> Iterable[tuple[object, pd.Index]]:
    return [(value, part.index) for value, part in condition.groupby(condition, sort=True)]


def snr_condition(utterances: pd.DataFrame) -> pd.Series:
    """The input SNR of each utterance in dB: the requested one, or for a range the centre of a bin
    of 5 dB."""
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
    (Box, Hunter & Hunter, "Statistics for Experimenters", ch. 5); its 95 % interval is over seeds
    and speakers (`statistics.estimate`).  In a full grid the settings do not confound each other.

    Parameters
    ----------
    settings
        Variant → setting → value, as text.

    Returns
    -------
    pd.DataFrame
        Columns ``test_set``, ``setting``, ``value``, ``variants`` (how many have it), ``metric``,
        ``mean``, ``effect``, ``ci_low``, ``ci_high``, ``p_holm`` (corrected for all effects on the
        metric, of which the two of a setting with two values are one), ``claim``
        (`statistics.claim`), ``seeds`` and ``sd_seed``.
    """
    names = list(dict.fromkeys(name for values in settings.values() for name in values))
    rows: list[dict[str, object]] = []
    for test_set, table in scores.groupby("test_set", sort=False):
        for metric in metrics:
            if table[metric].isna().all():
                continue
            measured = MethodScores.of(table, metric)
            methods = [measured.by_method[variant] for variant in settings]
            effects = []
            values_of = {
                name: len({values[name] for values in settings.values()}) for name in names
            }
            for name in names:
                own = [values[name] for values in settings.values()]
                for value in dict.fromkeys(own):
                    having = np.array([one == value for one in own]) / own.count(value)
                    of_all = np.array([1 / own.count(one) / len(set(own)) for one in own])
                    effect = estimate(methods, list(having - of_all), measured.speakers)
                    mean = estimate(
                        [one for one, weight in zip(methods, having, strict=True) if weight],
                        [weight for weight in having if weight],
                        measured.speakers,
                    )
                    effects.append((name, value, own.count(value), mean.mean, effect))
            # The effects of two values are one difference, told from both sides.
            twice = [
                number > 0 and effects[number - 1][0] == name and values_of[name] == 2
                for number, (name, *_) in enumerate(effects)
            ]
            tests = [one[-1].p for one, again in zip(effects, twice, strict=True) if not again]
            found = iter(holm(tests))
            corrected: list[float] = []
            for again in twice:
                corrected.append(corrected[-1] if again else next(found))
            for told, p_holm in zip(effects, corrected, strict=True):
                name, value, variants, of_value, effect = told
                rows.append(
                    {
                        "test_set": test_set,
                        "setting": name,
                        "value": value,
                        "variants": variants,
                        "metric": metric,
                        "mean": of_value,
                        "effect": effect.mean,
                        "ci_low": effect.low,
                        "ci_high": effect.high,
                        "p_holm": p_holm,
                        "claim": claim(effect, p_holm),
                        "seeds": effect.seeds,
                        "sd_seed": effect.sd_seed,
                    }
                )
    return pd.DataFrame(rows)
