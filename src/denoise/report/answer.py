"""The first screen of the report: which variant wins, by how much, how certainly, at what cost."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from denoise.core.timing import real_time_factor
from denoise.evaluation.experiment import ExperimentRecord
from denoise.metrics.registry import SCORED
from denoise.report.background import TrainedModel
from denoise.report.figures import Style
from denoise.report.pages import p_value


def with_costs(
    board: pd.DataFrame, trained: list[TrainedModel], record: ExperimentRecord
) -> pd.DataFrame:
    """The leaderboard with ``parameters``, ``minutes`` of training and ``rtf`` of each variant.

    Means over the seeds; NaN where nothing is known.
    """
    costs = pd.DataFrame(
        {
            "variant": [one.label for one in trained],
            "parameters": [float(one.card.parameters) for one in trained],
            "minutes": [one.card.wall_time_s / 60 for one in trained],
        }
    )
    board = board.merge(costs.groupby("variant").mean(), on="variant", how="left")
    board["rtf"] = [
        _real_time_factor(row.variant, row.test_set, record)
        for row in board[["variant", "test_set"]].itertuples()
    ]
    return board


def _real_time_factor(method: str, test_set: str, record: ExperimentRecord) -> float:
    runs = record.methods[method].runs[test_set].values()
    return real_time_factor([run.speed for run in runs if run.speed is not None])


def summary(
    board: pd.DataFrame,
    pairs: pd.DataFrame,
    styles: dict[str, Style],
    speakers_of: dict[str, int],
) -> dict[str, Any]:
    """Which variant is best by SI-SDR on the first test set, by how much, how certainly, its cost.

    Parameters
    ----------
    board
        As of `with_costs`.
    speakers_of
        Test set → how many speak in it: with one, nothing can be said of others.

    Returns
    -------
    dict
        ``headline``, the sentence ``verdict``, and ``facts``: name, value and remark of each;
        ``over`` is how many utterances of how many speakers all of it is about.
    """
    test_set, speakers = next(iter(speakers_of.items()))
    rows = board[(board["test_set"] == test_set) & (board["kind"] == "variant")]
    rows = rows.sort_values("si_sdr", ascending=False)
    first = rows.iloc[0]
    noisy = board[(board["test_set"] == test_set) & (board["variant"] == "noisy")].iloc[0]
    quality = pesq(rows)
    facts = []
    for metric, digits in (("si_sdr", 1), (quality, 2), ("stoi", 3)):
        if np.isfinite(first[metric]):
            unit = f" {SCORED[metric].unit}" if SCORED[metric].unit else ""
            gain = first[metric] - noisy[metric]
            facts.append(
                (
                    SCORED[metric].title,
                    f"{first[metric]:.{digits}f}{unit}",
                    f"{gain:+.{digits}f} over the noisy input",
                )
            )
    winner = styles[first["variant"]].label
    headline, certain = winner, True
    verdict = (
        f"{winner} has the highest SI-SDR, {first['si_sdr']:.1f} dB "
        f"({first['si_sdr'] - noisy['si_sdr']:+.1f} dB over the noisy input), with "
        f"{SCORED[quality].title} {first[quality]:.2f} ({first[quality] - noisy[quality]:+.2f})."
    )
    if len(rows) > 1:
        pair = (first["variant"], rows.iloc[1]["variant"])
        lead = _lead(*pair, "si_sdr", pairs, test_set, speakers)
        second, tested = styles[lead["second"]].label, p_value(lead["p"])
        certain = lead["said"] == "significant"
        verdict += (
            f" Its lead over {second} is {lead['difference']:.2f} dB, which is "
            f"{lead['said']}{lead['because']} (95 % interval {lead['low']:.2f} to "
            f"{lead['high']:.2f} dB, Wilcoxon p {tested})."
        )
        if np.isfinite(first[quality]):
            other = _lead(*pair, quality, pairs, test_set, speakers)
            verdict += (
                f" In {SCORED[quality].title} the difference is {other['difference']:+.3f}: "
                f"{other['said']} (p {p_value(other['p'])})."
            )
        facts.append(
            (
                f"Lead over {second}",
                f"{lead['difference']:+.2f} dB",
                f"{lead['said']}: {lead['low']:.2f} … {lead['high']:.2f} dB, p {tested}",
            )
        )
        headline = f"{winner} wins" if certain else f"{winner} leads, but not significantly"
    baselines = board[(board["test_set"] == test_set) & (board["kind"] == "baseline")]
    baseline = baselines.loc[baselines["si_sdr"].idxmax()]
    if baseline["si_sdr"] > first["si_sdr"]:
        verdict = verdict.replace(
            " has the highest SI-SDR", " has the highest SI-SDR of the variants"
        )
        verdict += f" The baseline {baseline['variant']} has more, {baseline['si_sdr']:.1f} dB."
        headline = f"{winner} is the best variant; the baseline {baseline['variant']} is better"
    facts.append(
        ("Training", _duration(first["minutes"]), f"{first['parameters']:,.0f} parameters")
    )
    if np.isfinite(first["rtf"]):
        facts.append(
            ("Use", f"{first['rtf']:.3f} RTF", f"{1 / first['rtf']:.0f} × faster than real time")
            if first["rtf"] < 1
            else ("Use", f"{first['rtf']:.1f} RTF", "slower than real time")
        )
    return {
        "headline": headline,
        "certain": certain,
        "verdict": verdict,
        "facts": facts,
        "test_set": test_set,
        "over": f"{first['n']} utterances of {speakers} speaker{'s' if speakers > 1 else ''}",
    }


def _lead(
    first: str, second: str, metric: str, pairs: pd.DataFrame, test_set: str, speakers: int
) -> dict[str, Any]:
    """The difference of two variants in a measure, and in words how certain it is."""
    pair = pairs[
        (pairs["test_set"] == test_set)
        & (pairs["metric"] == metric)
        & pairs["first"].isin([first, second])
        & pairs["second"].isin([first, second])
    ].iloc[0]
    sign = 1 if pair["first"] == first else -1
    low, high = sorted((sign * pair["ci_low"], sign * pair["ci_high"]))
    # With few speakers the bootstrap interval is too narrow, so the test must agree.
    agreeing = int(low > 0 or high < 0) + int(pair["p_holm"] < 0.05)
    said, because = (
        ("not significant", ""),
        (
            "not certain",
            ", as the interval over speakers and the test over utterances disagree",
        ),
        ("significant", ""),
    )[agreeing]
    if agreeing and speakers < 2:
        said, because = "not certain", ", as all utterances are of one speaker"
    return {
        "second": second,
        "difference": sign * pair["difference"],
        "low": low,
        "high": high,
        "p": pair["p_holm"],
        "said": said,
        "because": because,
    }


def _duration(minutes: float) -> str:
    if minutes < 1:
        return f"{60 * minutes:.0f} s"
    return f"{minutes:.1f} min" if minutes < 90 else f"{minutes / 60:.1f} h"


def pesq(rows: pd.DataFrame) -> str:
    return "pesq_wb" if rows["pesq_wb"].notna().any() else "pesq_nb"
