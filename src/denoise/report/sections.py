"""The sections of the report on each test set, and what the page compares two methods by."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup

from denoise.evaluation.baselines import CEILINGS
from denoise.evaluation.conditions import by_condition, snr_condition
from denoise.evaluation.scores import ranking_measure
from denoise.report import figures, listening
from denoise.report.answer import pesq
from denoise.report.exports import Exports
from denoise.report.tables import (
    MAIN,
    Results,
    all_metrics,
    board_rows,
    crossed,
    named,
    worst_cases,
    write_tables,
)

_AUDIO_BYTES = 7_000_000
"""Largest size of all audio in the page; as text it takes a third more, so the page stays below 15
MB."""
_COMPARED_UTTERANCES = 1000
"""Largest number of utterances per test set whose values are in the page for the comparison of two
methods."""


def test_set(name: str, results: Results, out: Exports) -> dict[str, Any]:
    """The data of a test set for the template; figures and tables are also written by `out`."""
    record, styles, effects = results.record, results.styles, results.effects
    scores = results.scores[results.scores["test_set"] == name]
    part = results.utterances[results.utterances["test_set"] == name]
    rows = results.board[results.board["test_set"] == name]
    metric = ranking_measure(rows)
    # Beside measures that compare with the clean reference, the whole opinion is enough.
    parts = () if metric == "dnsmos_ovrl" else ("dnsmos_sig", "dnsmos_bak")
    shown = [m for m in MAIN if m not in parts and rows[m].notna().any()]
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
    sound = listening.TestAudio(record.test_sets[name], record.played_outputs(name))
    ranked = list(rows.loc[rows["kind"] == "variant", "variant"])
    left_out = {*ranked, "noisy", *CEILINGS}
    played = ranked + [n for n in rows["variant"] if n not in left_out]
    budget = _AUDIO_BYTES // len(record.test_sets)
    labels = {variant: styles[variant].label for variant in ranked}
    reasons = listening.chosen(part, ranked, record.examples, labels)
    played, lossless = listening.players(sound, played, reasons, budget)
    for example in played[:3]:
        waves = sound.signals(sound.table.loc[example["id"]], ranked[:1])
        out.png(f"{name}-{example['id']}", figures.signals(waves, sound.rate))
    worst = listening.errors(sound, part, ranked)
    return {
        "name": name,
        "has_clean": sound.has_clean,
        "ranked_by": figures.title(metric),
        "main": shown,
        "metrics": [one for one in all_metrics() if rows[one].notna().any()],
        "split": rows["split"].iloc[0],
        "rows": board_rows(rows, record),
        "ranges": _ranges(rows, shown),
        "intervals": dict(zip(shown, intervals, strict=True)),
        "files": write_tables(name, results, shown, out)
        | worst_cases(name, worst, metric, styles, out),
        "components": _components(results.components, name, styles),
        "by_snr": [
            _by_snr(name, by_condition(scores, metric, snrs), metric, styles, out)
            for metric in (shown if len(snrs) else ())
        ],
        "by_noise_type": [
            _noise_type_table(
                name, by_condition(scores, metric, noise_types, gain=True), metric, styles, out
            )
            for metric in (shown if sound.has_clean else ())
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
            f"intervals, on {named(name)}.",
            crossed(table, styles, by_method=False),
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
    quality = quality or [ranking_measure(rows)]
    found = []
    for cost, label in (
        ("parameters", "parameters"),
        ("macs_a_second", "multiply-accumulate operations per second of audio"),
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
    caption = f"{title} by input SNR in dB, with 95 % intervals, on {named(name)}."
    return out.figure(
        f"{name}-by-snr-{metric}",
        figures.metric_by_snr(table, metric, styles),
        f"{title} by input SNR for every method",
        table,
        (caption, crossed(table, styles)),
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


def page_data(results: Results) -> dict[str, Any]:
    """Data with which the page compares any two methods: all pairs, and values of utterances."""
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
                f"{row.speaker or 'unknown'}, {row.noise_type or 'unknown noise'}"
                + ("" if np.isnan(row.snr_input) else f", {row.snr_input:.1f} dB")
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
