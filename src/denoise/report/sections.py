"""The sections of the report on each test set, and what the page compares two methods by."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from markupsafe import Markup

from denoise.core.settings import digest
from denoise.evaluation.conditions import by_condition, snr_condition
from denoise.evaluation.experiment import ExperimentRecord
from denoise.evaluation.leaderboard import COMPARED
from denoise.metrics.registry import SCORED
from denoise.report import figures, listening
from denoise.report.answer import pesq
from denoise.report.exports import Exports
from denoise.report.pages import decimals, digits, number, p_value, whole

MAIN = COMPARED
"""The measures that have figures and are compared on the page."""


def shown() -> list[str]:
    """All measures, the main ones first."""
    return [*MAIN, *(name for name in SCORED if name not in MAIN)]


"""The measures of the leaderboard in their order."""
_AUDIO_BYTES = 7_000_000
"""Of all audio in the page; as text it takes a third more, so that the page stays below 15 MB."""
_COMPARED_UTTERANCES = 1000
"""Of a test set, the utterances whose values stand in the page for its comparison of two."""


class Results(NamedTuple):
    """What all sections are made from."""

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


def test_set(name: str, results: Results, out: Exports) -> dict[str, Any]:
    """What the template shows of a test set; its figures and tables are also written by `out`."""
    record, styles, effects = results.record, results.styles, results.effects
    scores = results.scores[results.scores["test_set"] == name]
    part = results.utterances[results.utterances["test_set"] == name]
    rows = results.board[results.board["test_set"] == name]
    shown = [m for m in MAIN if rows[m].notna().any()]
    intervals = [
        out.saved(
            f"{name}-intervals-{metric}",
            figures.intervals(rows, metric, styles),
            rows[["variant", metric, f"{metric}_ci_low", f"{metric}_ci_high"]],
        )
        for metric in shown
    ]
    snrs = snr_condition(part)
    noise_types = part.groupby("id")["noise_type"].first().replace("", "unknown")
    own = effects[effects["test_set"] == name] if len(effects) else effects
    outputs = {label: record.played_output(label, name) for label in record.methods}
    sound = listening.TestAudio(record.test_sets[name], outputs)
    ranked = list(rows.loc[rows["kind"] == "variant", "variant"])
    played = ranked + [n for n in rows["variant"] if n not in {*ranked, "noisy", "oracle"}]
    budget = _AUDIO_BYTES // len(record.test_sets)
    played, lossless = listening.players(
        sound, played, listening.chosen(part, ranked, record.examples), budget
    )
    for example in played[:3]:
        waves = sound.signals(sound.table.loc[example["id"]], ranked[:1])
        out.png(f"{name}-{example['id']}", figures.signals(waves, sound.rate))
    worst = listening.errors(sound, part, ranked)
    return {
        "name": name,
        "split": rows["split"].iloc[0],
        "rows": _board_rows(rows, record),
        "ranges": _ranges(rows, shown),
        "intervals": dict(zip(shown, intervals, strict=True)),
        "files": _tables(name, results, shown, out) | _worst_cases(name, worst, styles, out),
        "components": _components(results.components, name, styles),
        "by_snr": [
            _by_snr(name, by_condition(scores, metric, snrs), metric, styles, out)
            for metric in shown
        ],
        "by_noise_type": [
            _noise_type_table(
                name, by_condition(scores, metric, noise_types, gain=True), metric, styles, out
            )
            for metric in shown
        ],
        "trade_offs": _trade_offs(name, rows, styles, out),
        "effects": own.to_dict("records"),
        "effect_pictures": [
            out.figure(
                f"{name}-effects-{metric}",
                figures.main_effects(own, metric),
                f"Effect of every value of the swept settings on {figures.title(metric)}",
                own[own["metric"] == metric],
            )
            for metric in (dict.fromkeys(own["metric"]) if len(own) else ())
        ],
        "players": played,
        "lossless": lossless,
        "errors": worst,
    }


def _board_rows(rows: pd.DataFrame, record: ExperimentRecord) -> list[dict[str, Any]]:
    """Rows of the leaderboard, each with the measures in which it is ``best``."""
    best: dict[str, float] = {}
    for metric in shown():
        candidates = rows.loc[rows["kind"] != "oracle", metric]
        # In the scaling of each recipe: the same error has another value in another one.
        unlike = metric == "mse_spec" and not _one_scaling(record)
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


def _ranges(rows: pd.DataFrame, metrics: list[str]) -> dict[str, tuple[float, float]]:
    """The ends of the interval bars of each metric, over all methods."""
    found = {}
    for metric in metrics:
        low, high = rows[f"{metric}_ci_low"].min(), rows[f"{metric}_ci_high"].max()
        found[metric] = (float(low), float(max(high, low + 1e-9)))
    return found


def _noise_type_table(
    name: str, table: pd.DataFrame, metric: str, styles: dict[str, figures.Style], out: Exports
) -> dict[str, Any]:
    """The mean gain in a metric over the unprocessed input for each noise type and method.

    ``shade`` is from -1 to 1, for the colour of a cell.

    Parameters
    ----------
    table
        As of `evaluation.conditions.by_condition`.
    """
    largest = table["mean"].abs().max() or 1.0
    columns = sorted(set(table["condition"]))
    cells = {(row["method"], row["condition"]): row for row in table.to_dict("records")}
    return {
        "metric": metric,
        "files": out.table(
            f"{name}-by-noise-{metric}",
            table,
            f"Gain in {figures.title(metric)} over the noisy input by noise type, with 95 % "
            f"intervals, on {_named(name)}.",
            _crossed(table, styles, by_method=False),
        ),
        "noise_types": columns,
        "counts": table.groupby("condition")["n"].max().to_dict(),
        "rows": [
            {
                "method": method,
                "cells": [
                    {**cells[method, kind], "shade": cells[method, kind]["mean"] / largest}
                    if (method, kind) in cells
                    else None
                    for kind in columns
                ],
            }
            for method in styles
            if any((method, kind) in cells for kind in columns)
        ],
    }


def _trade_offs(
    name: str, rows: pd.DataFrame, styles: dict[str, figures.Style], out: Exports
) -> list[Markup]:
    """Figures of quality against the size of a model, what it computes and the time that it takes,
    if they differ."""
    quality = [metric for metric in ("si_sdr", pesq(rows)) if rows[metric].notna().any()]
    found = []
    for cost, label in (
        ("parameters", "parameters"),
        ("macs_a_second", "multiplications with an addition a second of audio"),
        ("rtf", "real-time factor (computing time / duration)"),
    ):
        for metric in quality:
            known = rows[rows[cost].notna() & rows[metric].notna()]
            if known[cost].max() > known[cost].min():
                found.append(
                    out.figure(
                        f"{name}-{metric}-by-{cost}",
                        figures.trade_off(known, metric, cost, label, styles),
                        f"{figures.title(metric)} against {label}",
                        known[["variant", cost, metric, f"{metric}_ci_low", f"{metric}_ci_high"]],
                    )
                )
    return found


def _by_snr(
    name: str,
    table: pd.DataFrame,
    metric: str,
    styles: dict[str, figures.Style],
    out: Exports,
) -> Markup:
    """A metric by input SNR, as a figure and as a table."""
    title = figures.title(metric)
    caption = f"{title} by input SNR in dB, with 95 % intervals, on {_named(name)}."
    return out.figure(
        f"{name}-by-snr-{metric}",
        figures.metric_by_snr(table, metric, styles),
        f"{title} by input SNR for every method",
        table,
        (caption, _crossed(table, styles)),
    )


_CLAIMS = {
    "settings": "the settings",
    "models": "these models",
    "one speaker": "this speaker",
    "not shown": "not shown",
}


def _with_interval(mean: float, low: float, high: float) -> str:
    """A mean with half of its interval, for a table in a paper."""
    if not np.isfinite(mean):
        return "–"
    told = number(float(mean), low, high)
    half = (high - low) / 2
    return f"{told} ± {half:.{decimals(low, high)}f}" if np.isfinite(half) else told


def _crossed(
    table: pd.DataFrame, styles: dict[str, figures.Style], *, by_method: bool = True
) -> pd.DataFrame:
    """A table as of `by_condition` for a paper: a row for each method, or for each condition."""
    told = [
        _with_interval(mean, low, high)
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


def _named(test_set: str) -> str:
    """A test set in a caption."""
    return "the test set" if test_set == "test" else f"the test set {test_set}"


def _tables(name: str, results: Results, metrics: list[str], out: Exports) -> dict[str, Markup]:
    """The tables of a test set for papers; links to their files."""
    styles = results.styles
    rows = results.board[results.board["test_set"] == name]
    best = {
        (row["variant"], metric)
        for row in _board_rows(rows, results.record)
        for metric in row["best"]
    }

    def cells(metric: str) -> list[str]:
        told = []
        for row in rows.to_dict("records"):
            text = _with_interval(row[metric], row[f"{metric}_ci_low"], row[f"{metric}_ci_high"])
            told.append(f"**{text}**" if (row["variant"], metric) in best else text)
        return told

    names = [styles[variant].label for variant in rows["variant"]]
    costs = {
        "Parameters": [whole(value) for value in rows["parameters"]],
        "GMAC/s": [digits(value / 1e9) for value in rows["macs_a_second"]],
        "RTF": [digits(value) for value in rows["rtf"]],
    }
    about = (
        f"means over {rows['n'].iloc[0]} utterances with 95 % intervals; highest mean below the "
        "oracle"
    )
    whole_board = [one for one in shown() if rows[one].notna().any()]
    links = {
        "leaderboard": out.table(
            f"{name}-leaderboard",
            rows,
            f"Results on {_named(name)}: {about} in bold.",
            pd.DataFrame(
                {"Method": names, **{figures.title(one): cells(one) for one in metrics}, **costs}
            ),
        ),
        "all-measures": out.table(
            f"{name}-all-measures",
            rows,
            f"All measures on {_named(name)}: {about} in bold.",
            pd.DataFrame(
                [[figures.title(one), *cells(one)] for one in whole_board],
                columns=["Measure", *names],
            ),
        ),
    }
    links["against-best"] = _against_best(name, results, rows, out)
    own = results.components[results.components["test_set"] == name]
    links["components"] = out.table(
        f"{name}-components",
        own,
        f"Standard deviations of measures on {_named(name)} between trainings, speakers and "
        "utterances of one speaker; 0 where the estimate would be negative.",
        pd.DataFrame(
            {
                "Method": [styles[one].label for one in own["method"]],
                "Measure": [figures.title(one) for one in own["metric"]],
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
            f"Effects of the swept settings on {_named(name)}, with 95 % intervals (not "
            "corrected) and p corrected by Holm's method.",
            pd.DataFrame(
                {
                    "Setting": [f"{row.setting}={row.value}" for row in own.itertuples()],
                    "Measure": [figures.title(one) for one in own["metric"]],
                    "Effect": [
                        _with_interval(row.effect, row.ci_low, row.ci_high)
                        for row in own.itertuples()
                    ],
                    "p": [p_value(p) for p in own["p_holm"]],
                    "Shown for": [_CLAIMS[one] for one in own["claim"]],
                }
            ),
        )
    return links


def _worst_cases(
    name: str, worst: list[dict[str, Any]], styles: dict[str, figures.Style], out: Exports
) -> dict[str, Markup]:
    """The worst cases as files, by the name that `_tables` gives to the others."""
    shown = pd.DataFrame(
        {
            "Variant": [styles[one["variant"]].label for one in worst],
            "Utterance": [one["id"] for one in worst],
            "Gain (dB)": [f"{one['gain']:.1f}" for one in worst],
            "Why": [one["reason"] for one in worst],
        }
    )
    caption = f"The utterances of {_named(name)} with the smallest gain in SI-SDR."
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
        f"Differences to {results.styles[best].label} on {_named(name)}, with 95 % intervals (not "
        "corrected) and p corrected by Holm's method for all pairs of methods.",
        pd.DataFrame(
            {
                "Method": [results.styles[one].label for one in own["method"]],
                "Measure": [figures.title(one) for one in own["metric"]],
                "Difference": [
                    _with_interval(row.difference, row.ci_low, row.ci_high)
                    for row in own.itertuples()
                ],
                "p": [p_value(p) for p in own["p_holm"]],
                "Shown for": [_CLAIMS[one] for one in own["claim"]],
            }
        ),
    )


def _components(
    components: pd.DataFrame, name: str, styles: dict[str, figures.Style]
) -> list[dict[str, Any]]:
    own = components[components["test_set"] == name]
    return [
        {
            "method": method,
            "label": styles[str(method)].label,
            "metrics": {row["metric"]: row for row in part.to_dict("records")},
        }
        for method, part in own.groupby("method", sort=False)
    ]


def _one_scaling(record: ExperimentRecord) -> bool:
    """Whether all variants predict the same thing in the same scaling."""
    features = (variant.recipe["features"] for variant in record.variants.values())
    names = ("stft", "bins", "reference", "floor_db", "target", "target_scaling")
    return len({digest({name: one[name] for name in names}) for one in features}) == 1


def page_data(results: Results) -> dict[str, Any]:
    """What the page compares any two methods by: all pairs, and the values of utterances."""
    styles = results.styles
    test_sets = {}
    for name in results.record.test_sets:
        part = results.utterances[results.utterances["test_set"] == name]
        shown = [metric for metric in MAIN if part[metric].notna().any()]
        ids = sorted(part["id"].unique())
        if len(ids) > _COMPARED_UTTERANCES:
            ids = [ids[k] for k in np.linspace(0, len(ids) - 1, _COMPARED_UTTERANCES).astype(int)]
        values = {}
        for metric in shown:
            wide = part.pivot_table(index="id", columns="method", values=metric, dropna=False)
            wide = wide.reindex(index=ids, columns=[m for m in styles if m in wide])
            values[metric] = {
                method: [float(f"{x:.4g}") if np.isfinite(x) else None for x in column]
                for method, column in wide.items()
            }
        about = part.groupby("id")[["speaker", "noise_type", "snr_input"]].first().reindex(ids)
        own = results.pairs[results.pairs["test_set"] == name]
        test_sets[name] = {
            "ids": ids,
            "about": [
                f"{row.speaker or 'unknown'}, {row.noise_type or 'unknown noise'}, "
                f"{row.snr_input:.1f} dB"
                for row in about.itertuples()
            ],
            "values": values,
            "pairs": [
                [row.metric, row.first, row.second,
                 *(float(f"{x:.6g}") if np.isfinite(x) else None
                   for x in (row.difference, row.ci_low, row.ci_high, row.p_holm)), row.n,
                 row.claim,
                 *(float(f"{x:.6g}") if np.isfinite(x) else None
                   for x in (row.sd_seed, row.sd_speaker, row.sd_utterance, row.seeds_needed,
                             row.speakers_needed, row.utterances_needed))]
                for row in own.itertuples()
            ],
        }  # fmt: skip
    return {
        "methods": list(styles),
        "labels": {name: style.label for name, style in styles.items()},
        "titles": {name: figures.title(name) for name in MAIN},
        "test_sets": test_sets,
    }
