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
from denoise.report.pages import Pictures

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
    effects: pd.DataFrame
    """As of `evaluation.conditions.main_effects`; empty without a sweep."""
    styles: dict[str, figures.Style]
    """Every method and its style."""


def test_set(name: str, results: Results, draw: Pictures) -> dict[str, Any]:
    """What the template shows of a test set; its figures are also written by `draw`."""
    record, styles, effects = results.record, results.styles, results.effects
    scores = results.scores[results.scores["test_set"] == name]
    part = results.utterances[results.utterances["test_set"] == name]
    rows = results.board[results.board["test_set"] == name]
    shown = [m for m in MAIN if rows[m].notna().any()]
    for metric in shown:  # for papers; the page has them in its leaderboard
        draw.svg(f"{name}-intervals-{metric}", figures.intervals(rows, metric, styles), metric)
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
        draw.png(f"{name}-{example['id']}", figures.signals(waves, sound.rate))
    return {
        "name": name,
        "split": rows["split"].iloc[0],
        "rows": _board_rows(rows, record),
        "ranges": _ranges(rows, shown),
        "by_snr": [
            draw.svg(
                f"{name}-by-snr-{metric}",
                figures.metric_by_snr(by_condition(scores, metric, snrs), metric, styles),
                f"{figures.title(metric)} by input SNR for every method",
            )
            for metric in shown
        ],
        "by_noise_type": [
            _noise_type_table(scores, metric, noise_types, styles) for metric in shown
        ],
        "trade_offs": _trade_offs(name, rows, styles, draw),
        "effects": own.to_dict("records"),
        "effect_pictures": [
            draw.svg(
                f"{name}-effects-{metric}",
                figures.main_effects(own, metric),
                f"Effect of every value of the swept settings on {figures.title(metric)}",
            )
            for metric in (dict.fromkeys(own["metric"]) if len(own) else ())
        ],
        "players": played,
        "lossless": lossless,
        "errors": listening.errors(sound, part, ranked),
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
    scores: pd.DataFrame, metric: str, noise_types: pd.Series, styles: dict[str, figures.Style]
) -> dict[str, Any]:
    """The mean gain in a metric over the unprocessed input for each noise type and method.

    ``shade`` is from -1 to 1, for the colour of a cell.
    """
    table = by_condition(scores, metric, noise_types, gain=True)
    largest = table["mean"].abs().max() or 1.0
    columns = sorted(set(table["condition"]))
    cells = {(row["method"], row["condition"]): row for row in table.to_dict("records")}
    return {
        "metric": metric,
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
    name: str, rows: pd.DataFrame, styles: dict[str, figures.Style], draw: Pictures
) -> list[Markup]:
    """Figures of quality against the size of a model and the time that it takes, if they differ."""
    quality = [metric for metric in ("si_sdr", pesq(rows)) if rows[metric].notna().any()]
    found = []
    for cost, label in (
        ("parameters", "parameters"),
        ("rtf", "real-time factor (computing time / duration)"),
    ):
        for metric in quality:
            known = rows[rows[cost].notna() & rows[metric].notna()]
            if known[cost].max() > known[cost].min():
                found.append(
                    draw.svg(
                        f"{name}-{metric}-by-{cost}",
                        figures.trade_off(known, metric, cost, label, styles),
                        f"{figures.title(metric)} against {label}",
                    )
                )
    return found


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
                             row.utterances_needed))]
                for row in own.itertuples()
            ],
        }  # fmt: skip
    return {
        "methods": list(styles),
        "labels": {name: style.label for name, style in styles.items()},
        "titles": {name: figures.title(name) for name in MAIN},
        "test_sets": test_sets,
    }
