"""The first screen of the report: which variant wins, by how much, how certainly, at what cost."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from denoise.core.timing import operations, real_time_factor
from denoise.evaluation.experiment import ExperimentRecord
from denoise.evaluation.scores import ranking_measure
from denoise.metrics.registry import SCORED
from denoise.metrics.sdr import unlike
from denoise.report.background import TrainedModel
from denoise.report.figures import Style
from denoise.report.pages import about, decimals, p_value

OTHERS = ("dnsmos_ovrl", "wer", "dwer")
"""Metrics that are shown on the first screen, if measured."""


def with_costs(
    board: pd.DataFrame, trained: list[TrainedModel], record: ExperimentRecord
) -> pd.DataFrame:
    """The leaderboard with ``parameters``, ``minutes`` of training, ``rtf`` and ``macs_a_second``.

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
    timed = [
        [
            run.speed
            for run in record.methods[row.variant].runs.get(row.test_set, {}).values()
            if run.speed is not None
        ]
        for row in board[["variant", "test_set"]].itertuples()
    ]
    board["rtf"] = [real_time_factor(paths) for paths in timed]
    board["macs_a_second"] = [operations(paths) for paths in timed]
    return board


def summary(
    board: pd.DataFrame,
    pairs: pd.DataFrame,
    styles: dict[str, Style],
    test_set: str,
) -> dict[str, Any]:
    """Which variant is best on a test set by SI-SDR, or without clean references by DNSMOS, by how
    much, how certainly, its cost.

    What matters most comes first: that no variant improves on the noisy input, or that a baseline
    is better than all of them.

    Parameters
    ----------
    board
        As of `with_costs`.
    pairs
        As of `evaluation.leaderboard.pairwise`.

    Returns
    -------
    dict
        ``headline``, the sentence ``verdict``, and ``facts``: name, value and remark of each;
        ``over`` and ``split`` are what all of it is about; ``certain`` whether the claim of the
        headline is shown.
    """
    board = board[board["test_set"] == test_set].set_index("variant", drop=False)
    pairs = pairs[pairs["test_set"] == test_set]
    metric = ranking_measure(board)
    title, unit = SCORED[metric].title, SCORED[metric].unit
    variants = board[board["kind"] == "variant"].sort_values(metric, ascending=False)
    first, noisy = variants.iloc[0], board.loc["noisy"]
    winner = styles[first["variant"]].label
    baselines = board[(board["kind"] == "baseline") & (board["variant"] != "noisy")]
    quality = pesq(variants)
    gain = first[metric] - noisy[metric]
    gained = f"{_amount(gain, unit)} {title}"
    over_noisy = _Lead.find(first["variant"], "noisy", metric, pairs)
    verdict = (
        f"{winner} has {_value(first, metric)} {title} ("
        + f"{_gain(first, noisy, metric)} {unit}".strip()
        + " over the noisy input)"
        + (
            f" and {SCORED[quality].title} {_value(first, quality)} "
            f"({_gain(first, noisy, quality)})."
            if np.isfinite(first[quality])
            else "."
        )
    )
    shown = dict.fromkeys((metric, quality, "stoi", *OTHERS))
    facts = [_fact(first, noisy, name) for name in shown if np.isfinite(first[name])]
    lead = over_noisy
    if len(variants) > 1:
        second = variants.iloc[1]["variant"]
        lead = _Lead.find(first["variant"], second, metric, pairs)
        verdict += f" Its lead over {styles[second].label} is {lead.told(unit)}: {lead.why}."
        if np.isfinite(first[quality]):
            other = _Lead.find(first["variant"], second, quality, pairs)
            verdict += f" In {SCORED[quality].title} the difference is {other.told()}: {other.why}."
        facts.append(
            (
                f"Lead over {styles[second].label}",
                f"{lead.signed(lead.difference)} {unit}".strip(),
                f"{lead.signed(lead.low)} … {lead.signed(lead.high)} {unit}".strip()
                + f": {lead.why}",
            )
        )
        alike = [
            styles[name].label
            for name in variants["variant"].iloc[1:]
            if not _Lead.find(first["variant"], name, metric, pairs).won
        ]
        if alike:
            lead = lead._replace(claim="not shown")
            headline = f"No difference is shown between {winner} and {alike[0]}"
            if len(variants) > 2:
                headline = (
                    f"No variant is shown to be the best; {winner} leads by "
                    f"{lead.difference:.{lead.digits}f} {unit} {title}".replace("  ", " ")
                )
                verdict += f" It is not shown to be better than {_listed(alike)}."
        else:
            headline = {
                "settings": f"{winner} wins",
                "models": f"{winner} wins, as far as single trainings show",
                "one speaker": f"{winner} wins for one speaker",
            }[lead.claim]
    else:
        headline = {
            "not shown": f"{winner} gains {gained}, which is not shown to be an improvement",
        }.get(lead.claim, f"{winner} gains {gained} over the noisy input")
    if len(baselines) and baselines[metric].max() > first[metric]:
        better = str(baselines[metric].idxmax())
        known = styles[better].label
        lead = _Lead.find(better, first["variant"], metric, pairs)
        verdict += f" {known} is ahead of it by {lead.told(unit)}: {lead.why}."
        headline = (
            f"No variant is ahead of the baseline {known}; the best of them is {winner}"
            if lead.claim == "not shown"
            else f"The baseline {known} wins: {_amount(lead.difference, unit)} {title} more than "
            f"the best variant, {winner}"
        )
    if gain <= 0:
        lead = over_noisy
        headline = (
            f"No variant improves on the noisy input: the best, {winner}, has "
            f"{_amount(-gain, unit)} less {title}"
            + (" (not shown)" if lead.claim == "not shown" else "")
        )
        verdict += f" It is behind the noisy input by {lead.told(unit)}: {lead.why}."
    facts.append(
        ("Training", _duration(first["minutes"]), f"{first['parameters']:,.0f} parameters")
    )
    if np.isfinite(first["rtf"]):
        facts.append(
            ("Use", f"{first['rtf']:.3f} RTF", f"{1 / first['rtf']:.0f} × faster than real time")
            if first["rtf"] < 1
            else ("Use", f"{first['rtf']:.1f} RTF", "slower than real time")
        )
    speakers, seeds = int(over_noisy.speakers), int(over_noisy.seeds)
    return {
        "headline": headline,
        "certain": lead.claim != "not shown",
        "verdict": verdict + _rumble(variants, noisy, styles) + _limits(seeds, speakers),
        "facts": facts,
        "test_set": test_set,
        "split": first["split"],
        "over": f"{first['n']} utterances of {speakers} speaker{'s' if speakers > 1 else ''}",
    }


def _amount(value: float, unit: str) -> str:
    """A difference, rounded for a headline."""
    return f"{value:.1f} {unit}" if unit else f"{value:.2f}"


def _listed(names: list[str]) -> str:
    """Names as part of a sentence; only the first three if there are many."""
    shown = names if len(names) <= 4 else [*names[:3], f"{len(names) - 3} others"]
    return "; ".join(shown)  # names have commas in them


def _limits(seeds: int, speakers: int) -> str:
    """The limits of the claims."""
    said = ""
    if seeds == 1:
        said += (
            " With one seed it is unknown what another training would give: all claims are about "
            "these models, not about their settings."
        )
    if speakers == 1:
        said += " All utterances are of one speaker, or of unknown ones."
    return said


def _rumble(variants: pd.DataFrame, noisy: pd.Series, styles: dict[str, Style]) -> str:
    """A note if SI-SDR over all frequencies and above 80 Hz differ."""
    if not np.isfinite(variants["si_sdr_80"]).any():
        return ""
    first, above = variants.iloc[0], variants.loc[variants["si_sdr_80"].idxmax()]
    gains = [first[metric] - noisy[metric] for metric in ("si_sdr", "si_sdr_80")]
    if above["variant"] != first["variant"]:
        return (
            f" Above 80 Hz, where speech is, {styles[above['variant']].label} is ahead "
            f"({above['si_sdr_80'] - first['si_sdr_80']:+.2f} dB): rumble below may decide the "
            "order."
        )
    if unlike(*gains):
        return (
            f" Above 80 Hz, where speech is, the gain is {gains[1]:+.1f} dB: rumble below makes "
            "the difference."
        )
    return ""


def _fact(first: pd.Series, noisy: pd.Series, metric: str) -> tuple[str, str, str]:
    over = "over" if SCORED[metric].higher_is_better else "against"
    gain = f"{_gain(first, noisy, metric)} {over} the noisy input"
    return SCORED[metric].title, _value(first, metric), gain


def _gain(first: pd.Series, noisy: pd.Series, metric: str) -> str:
    digits = decimals(first[f"{metric}_ci_low"], first[f"{metric}_ci_high"])
    return f"{first[metric] - noisy[metric]:+.{digits}f}"


def _value(row: pd.Series, metric: str) -> str:
    digits = decimals(row[f"{metric}_ci_low"], row[f"{metric}_ci_high"])
    return f"{row[metric]:.{digits}f} {SCORED[metric].unit}".strip()


class _Lead(NamedTuple):
    """The difference between two methods, and the claim that it allows."""

    difference: float
    low: float
    high: float
    p: float
    claim: str
    seeds: int
    speakers: int
    agreeing: int
    needs: str

    @classmethod
    def find(cls, first: str, second: str, metric: str, pairs: pd.DataFrame) -> _Lead:
        pair = pairs[
            (pairs["metric"] == metric)
            & pairs["first"].isin([first, second])
            & pairs["second"].isin([first, second])
        ].iloc[0]
        sign = 1 if pair["first"] == first else -1
        low, high = sorted((sign * pair["ci_low"], sign * pair["ci_high"]))
        needs = []
        if np.isfinite(pair["seeds_needed"]):
            needs.append(f"{about(pair['seeds_needed'])} seeds")
        if np.isfinite(pair["utterances_needed"]):
            many = f" of {about(pair['speakers_needed'])} speakers" if pair["speakers"] > 1 else ""
            needs.append(f"{about(pair['utterances_needed'])} utterances{many}")
        return cls(sign * pair["difference"], low, high, pair["p_holm"], pair["claim"],
                   int(pair["seeds"]), int(pair["speakers"]), int(pair["agreeing"]),
                   " or ".join(needs))  # fmt: skip

    @property
    def won(self) -> bool:
        """Whether it is shown to be ahead, over the utterances that both have."""
        return self.claim != "not shown" and self.difference > 0

    @property
    def digits(self) -> int:
        return decimals(self.low, self.high)

    def signed(self, value: float) -> str:
        return f"{value:+.{self.digits}f}" if np.isfinite(value) else "–"

    def told(self, unit: str = "") -> str:
        """The difference with its interval and p-value."""
        p = p_value(self.p)
        ends = f"{self.signed(self.low)} to {self.signed(self.high)}"
        return (
            f"{self.signed(self.difference)} {unit}".strip()
            + f" (95 % interval {ends}, p {p if p[0] in '<>' else f'= {p}'})"
        )

    @property
    def why(self) -> str:
        """The claim with its reason."""
        if self.claim == "settings":
            return f"shown, with the same sign in {self.agreeing} of {self.seeds} seeds"
        if self.claim == "models":
            return "shown for these models"
        if self.claim == "one speaker":
            return "shown for this one speaker"
        if self.p < 0.05 and self.seeds < 3:
            return f"not shown, as {self.seeds} seeds are too few"
        if self.p < 0.05:
            return f"not shown, as only {self.agreeing} of {self.seeds} seeds agree"
        return "not shown" + (f" (would take about {self.needs})" if self.needs else "")


def _duration(minutes: float) -> str:
    if minutes < 1:
        return f"{60 * minutes:.0f} s"
    return f"{minutes:.1f} min" if minutes < 90 else f"{minutes / 60:.1f} h"


def pesq(rows: pd.DataFrame) -> str:
    return "pesq_wb" if rows["pesq_wb"].notna().any() else "pesq_nb"
