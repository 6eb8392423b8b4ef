"""The results of an experiment as tables, on the page and for papers."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from markupsafe import Markup

from denoise.core.settings import digest
from denoise.evaluation.experiment import ExperimentRecord
from denoise.evaluation.leaderboard import COMPARED
from denoise.metrics.registry import SCORED
from denoise.report import figures
from denoise.report.exports import Exports
from denoise.report.pages import decimals, digits, number, p_value, whole

MAIN = COMPARED
"""The metrics that have figures and are compared on the page."""


def all_metrics() -> list[str]:
    """All metrics in the order of the tables, the main ones first."""
    return [*MAIN, *(name for name in SCORED if name not in MAIN)]


class Results(NamedTuple):
    """The data for all sections."""

    record: ExperimentRecord
    scores: pd.DataFrame
    """As of `evaluation.scores.join_scores`."""
    utterances: pd.DataFrame
    """As of `evaluation.scores.by_utterance`."""
    board: pd.DataFrame
    """As of `answer.with_costs`."""
    pairs: pd.DataFrame
    """As of `evaluation.leaderboard.pairwise`."""
    components: pd.DataFrame
    """As of `evaluation.leaderboard.components`."""
    effects: pd.DataFrame
    """As of `evaluation.conditions.main_effects`; empty without a sweep."""
    styles: dict[str, figures.Style]
    """Every method and its style."""


def board_rows(rows: pd.DataFrame, record: ExperimentRecord) -> list[dict[str, Any]]:
    """Rows of the leaderboard, each with the metrics in which it is ``best``."""
    best: dict[str, float] = {}
    for metric in all_metrics():
        candidates = rows.loc[rows["kind"] != "oracle", metric]
        # In the scaling of each recipe: the same error has another value in another one.
        unlike = metric == "mse_spec" and not one_scaling(record)
        if candidates.notna().any() and not unlike:
            best[metric] = candidates.max() if SCORED[metric].higher_is_better else candidates.min()
    return [
        {
            **row,
            "best": [
                name
                for name, value in best.items()
                if row["kind"] != "oracle" and row[name] == value
            ],
        }
        for row in rows.to_dict("records")
    ]


_CLAIMS = {
    "settings": "the settings",
    "models": "these models",
    "one speaker": "this speaker",
    "not shown": "not shown",
}


def with_interval(mean: float, low: float, high: float) -> str:
    """A mean with half of its interval, for a table in a paper."""
    if not np.isfinite(mean):
        return "–"
    told = number(float(mean), low, high)
    half = (high - low) / 2
    return f"{told} ± {half:.{decimals(low, high)}f}" if np.isfinite(half) else told


def crossed(
    table: pd.DataFrame, styles: dict[str, figures.Style], *, by_method: bool = True
) -> pd.DataFrame:
    """A table as of `by_condition` for a paper: a row for each method, or for each condition."""
    told = [
        with_interval(mean, low, high)
        for mean, low, high in zip(table["mean"], table["low"], table["high"], strict=True)
    ]
    wide = table.assign(told=told).pivot_table(
        index="method", columns="condition", values="told", aggfunc="first", sort=False
    )
    wide = wide.reindex(columns=sorted(wide.columns)).fillna("–")
    wide.columns = [f"{name:g}" if isinstance(name, float) else str(name) for name in wide.columns]
    wide.index = [styles[name].label for name in wide.index]
    if by_method:
        return wide.rename_axis("Method").reset_index()
    return wide.T.rename_axis("Noise").reset_index()


def named(test_set: str) -> str:
    """A test set in a caption."""
    return "the test set" if test_set == "test" else f"the test set {test_set}"


def write_tables(
    name: str, results: Results, metrics: list[str], out: Exports
) -> dict[str, Markup]:
    """The tables of a test set for papers; links to their files."""
    styles = results.styles
    rows = results.board[results.board["test_set"] == name]
    best = {
        (row["variant"], metric)
        for row in board_rows(rows, results.record)
        for metric in row["best"]
    }

    def cells(metric: str) -> list[str]:
        told = []
        for row in rows.to_dict("records"):
            text = with_interval(row[metric], row[f"{metric}_ci_low"], row[f"{metric}_ci_high"])
            told.append(f"**{text}**" if (row["variant"], metric) in best else text)
        return told

    names = [styles[variant].label for variant in rows["variant"]]
    costs = {
        "Parameters": [whole(value) for value in rows["parameters"]],
        "GMAC/s": [digits(value / 1e9) for value in rows["macs_a_second"]],
        "RTF": [digits(value) for value in rows["rtf"]],
    }
    about = (
        f"means over {rows['n'].iloc[0]} utterances with 95 % intervals; the best mean except the "
        "oracle's"
    )
    whole_board = [one for one in all_metrics() if rows[one].notna().any()]
    links = {
        "leaderboard": out.table(
            f"{name}-leaderboard",
            rows,
            f"Results on {named(name)}: {about} in bold.",
            pd.DataFrame(
                {"Method": names, **{figures.title(one): cells(one) for one in metrics}, **costs}
            ),
        ),
        "all-metrics": out.table(
            f"{name}-all-metrics",
            rows,
            f"All metrics on {named(name)}: {about} in bold.",
            pd.DataFrame(
                [[figures.title(one), *cells(one)] for one in whole_board],
                columns=["Metric", *names],
            ),
        ),
    }
    links["against-best"] = _against_best(name, results, rows, out)
    own = results.components[results.components["test_set"] == name]
    links["components"] = out.table(
        f"{name}-components",
        own,
        f"Standard deviations of metrics on {named(name)} between trainings, speakers and "
        "utterances of one speaker; 0 where the estimate would be negative.",
        pd.DataFrame(
            {
                "Method": [styles[one].label for one in own["method"]],
                "Metric": [figures.title(one) for one in own["metric"]],
                **{
                    level: [digits(value) for value in own[f"sd_{level}"]]
                    for level in ("seed", "speaker", "utterance")
                },
            }
        ),
    )
    effects = results.effects
    if len(effects):
        own = effects[effects["test_set"] == name]
        links["effects"] = out.table(
            f"{name}-effects",
            own,
            f"Effects of the swept settings on {named(name)}, with 95 % intervals (not "
            "corrected) and p corrected by Holm's method.",
            _tested(
                own.assign(Setting=own["setting"] + "=" + own["value"], Effect=own["effect"]),
                ["Setting", "Effect"],
            ),
        )
    return links


def worst_cases(
    name: str,
    worst: list[dict[str, Any]],
    metric: str,
    styles: dict[str, figures.Style],
    out: Exports,
) -> dict[str, Markup]:
    """The worst cases by a metric as files, under the name that the page has for them."""
    unit = SCORED[metric].unit
    shown = pd.DataFrame(
        {
            "Variant": [styles[one["variant"]].label for one in worst],
            "Utterance": [one["id"] for one in worst],
            f"Gain ({unit})" if unit else "Gain": [
                f"{one['gain']:.{1 if unit else 2}f}" for one in worst
            ],
            "Why": [one["reason"] for one in worst],
        }
    )
    caption = f"The utterances of {named(name)} with the smallest gain in {SCORED[metric].title}."
    return {"worst-cases": out.table(f"{name}-worst-cases", pd.DataFrame(worst), caption, shown)}


def _against_best(name: str, results: Results, rows: pd.DataFrame, out: Exports) -> Markup:
    """Every method less the best variant, for a paper."""
    best = rows.loc[rows["kind"] == "variant", "variant"].iloc[0]
    pairs = results.pairs[results.pairs["test_set"] == name]
    own = pairs[(pairs["first"] == best) | (pairs["second"] == best)].copy()
    turned = own["second"] != best
    ends = ["ci_low", "ci_high"]
    own.loc[turned, ends] = -own.loc[turned, ends[::-1]].to_numpy()
    own.loc[turned, "difference"] *= -1
    own["method"] = own["first"].where(~turned, own["second"])
    own = own.drop(columns=["first", "second"])
    return out.table(
        f"{name}-against-best",
        own.assign(best=best),
        f"Differences to {results.styles[best].label} on {named(name)}, with 95 % intervals (not "
        "corrected) and p corrected by Holm's method for all pairs of methods.",
        _tested(
            own.assign(
                Method=[results.styles[one].label for one in own["method"]],
                Difference=own["difference"],
            ),
            ["Method", "Difference"],
        ),
    )


def _tested(table: pd.DataFrame, columns: list[str]) -> pd.DataFrame:
    """Differences of a metric with what is claimed of them, for a paper.

    Parameters
    ----------
    columns
        What differs, and by how much.
    """
    what, value = columns
    ends = zip(table[value], table["ci_low"], table["ci_high"], strict=True)
    return pd.DataFrame(
        {
            what: table[what],
            "Metric": [figures.title(one) for one in table["metric"]],
            value: [with_interval(*one) for one in ends],
            "p": [p_value(p) for p in table["p_holm"]],
            "Shown for": [_CLAIMS[one] for one in table["claim"]],
        }
    )


def one_scaling(record: ExperimentRecord) -> bool:
    """Whether all variants predict the same thing in the same scaling."""
    features = (variant.recipe["features"] for variant in record.variants.values())
    names = ("stft", "bins", "reference", "floor_db", "target", "target_scaling")
    return len({digest({name: one[name] for name in names}) for one in features}) == 1
