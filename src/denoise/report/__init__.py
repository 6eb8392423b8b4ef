"""The report of an experiment: one self-contained HTML file, and its figures beside it.

The page answers first which variant wins, by how much, how certainly and at what cost.  Its tables
and SVG figures are made here; ``page.js`` sorts, filters and compares what is there already, and
``player.js`` plays utterances.
"""

from __future__ import annotations

import io
import json
import platform
import re
import shutil
import time
from importlib import metadata
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import soundfile
from markupsafe import Markup, escape
from matplotlib.figure import Figure

from denoise import files, losses, mixing
from denoise.baselines import BASELINES
from denoise.comparison import (
    by_condition,
    by_utterance,
    main_effects,
    read_scores,
    snr_condition,
)
from denoise.metrics import SCORED
from denoise.report import blind, figures, listening
from denoise.report.pages import asset, p_value, plain, render
from denoise.settings import digest

USES = ("template.html", "blind_section.html", "style.css", "page.js", "player.js")

_MAIN = ("si_sdr", "pesq_nb", "pesq_wb", "stoi")
_SHOWN = (*_MAIN, *(name for name in SCORED if name not in _MAIN))
_AUDIO_BYTES = 7_000_000
"""Of all audio in the page; as text it takes a third more, so that the page stays below 15 MB."""
_COMPARED_UTTERANCES = 1000
"""Of a test set, the utterances whose values stand in the page for its comparison of two."""


def build(
    params: dict[str, Any],
    score_paths: list[Path],
    card_paths: list[Path],
    manifests: dict[str, list[Path]],
    leaderboard_path: Path,
    pairwise_path: Path,
    provenance: dict[str, str],
    out_path: Path,
) -> None:
    """Write ``report.html``, ``study.json`` and the folder ``figures`` beside it.

    Parameters
    ----------
    params
        What the workflow knows of the experiment: its name, variants, test sets and baselines.
    score_paths, card_paths
        Score tables and model cards of all variants and seeds.
    manifests
        Manifests of the stages ``audio``, ``test_sets`` and ``spectrograms``, tables of ``splits``.
    provenance
        Lines for the provenance section.
    """
    scores = read_scores(score_paths)
    utterances = by_utterance(scores)
    board, pairs = files.read_table(leaderboard_path), files.read_table(pairwise_path)
    cards = [files.read_json(path) for path in card_paths]
    histories = _histories(card_paths, cards)
    board = _with_costs(board, cards, params)
    drawn = figures.styles(dict.fromkeys(board["variant"]), params["variants"])
    folder = out_path.parent / "figures"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    draw = _Pictures(folder)
    effects = _effects(scores, params)
    test_sets = [
        _test_set_section(name, utterances, board, effects, params, drawn, draw)
        for name in params["test_sets"]
    ]
    curves = figures.learning_curves(histories, drawn)
    context = {
        "title": params["experiment"],
        "made": time.strftime("%Y-%m-%d %H:%M"),
        "params": params,
        "baselines": BASELINES
        | {name: f"the ready model in {folder}" for name, folder in params["models"].items()},
        "answer": _answer(board, pairs, params, drawn),
        "test_sets": test_sets,
        "metrics": [name for name in _SHOWN if board[name].notna().any()],
        "main": [name for name in _MAIN if board[name].notna().any()],
        "titles": {name: figures.title(name) for name in _SHOWN},
        "drawn": drawn,
        "shared_start": _shared_start(drawn),
        "curves": [
            draw.svg(f"learning-{name}", figure, f"{name} by epoch for every variant")
            for name, figure in curves.items()
        ],
        "models": _models(cards, histories),
        "blind": blind.section(out_path.parent),
        "data": _data_card(manifests),
        "mixtures": _mixture_examples(params),
        "provenance": {**provenance, **_software()},
        "wall_times": _wall_times(params["jobs"]),
        "recipes": {
            name: json.dumps(variant["recipe"], indent=1, ensure_ascii=False)
            for name, variant in params["variants"].items()
        },
        "page_data": _page_data(utterances, pairs, params, drawn),
        "style": asset("style.css"),
        "scripts": [asset("player.js"), asset("page.js")],
    }
    files.write_json(
        out_path.with_name("study.json"),
        {
            "experiment": params["experiment"],
            "test_sets": params["test_sets"],
            "seeds": params["seeds"],
            "variants": {
                name: {"differs": one["differs"], "recipe": one["recipe"]}
                for name, one in params["variants"].items()
            },
        },
    )
    files.write_text(out_path, render("template.html", **context))


def _shared_start(drawn: dict[str, figures.Style]) -> str:
    """What the labels leave out of names, if anything."""
    return next(
        (name.removesuffix(one.label) for name, one in drawn.items() if name != one.label), ""
    )


def _effects(scores: pd.DataFrame, params: dict[str, Any]) -> pd.DataFrame:
    """The main effects of the swept settings; empty without a sweep."""
    settings = {
        name: {path: plain(variant["differs"][path]) for path in params["sweep"]}
        for name, variant in params["variants"].items()
    }
    measured = [metric for metric in _MAIN if scores[metric].notna().any()]
    return main_effects(scores, settings, measured) if params["sweep"] else pd.DataFrame()


class _Pictures:
    """Saves figures in a folder and returns them in a form that stands in the HTML."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def svg(self, name: str, figure: Figure, alt: str) -> Markup:
        """An SVG whose texts and lines take the colours of the page."""
        buffer = io.StringIO()
        # Names within a file that no other file of the page uses.
        with mpl.rc_context({"svg.hashsalt": name}):
            figure.savefig(buffer, format="svg", metadata={"Date": None})
        files.write_text(self.folder / f"{_file_name(name)}.svg", buffer.getvalue())
        return _inline(buffer.getvalue(), alt)

    def png(self, name: str, figure: Figure) -> None:
        with files.replacing(self.folder / f"{_file_name(name)}.png") as temporary:
            figure.savefig(temporary, format="png", dpi=80)


def _file_name(text: str) -> str:
    return re.sub(r"[^\w.=-]+", "-", text)


def _inline(svg: str, alt: str) -> Markup:
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'id="series-(\d+)"', r'data-series="\1"', svg)
    # Matplotlib numbers its groups: in a page with many figures these names would be repeated.
    svg = re.sub(r' id="[A-Za-z][\w.]*_\d+"', "", svg)
    for colour, own in ((figures.INK, "currentColor"), (figures.LINE, "var(--line)"),
                        (figures.PAPER, "none")):  # fmt: skip
        svg = svg.replace(colour, own)
    svg = re.sub(r' (?:width|height)="[\d.]+pt"', "", svg, count=2)
    label = str(escape(alt))
    return Markup(svg.replace("<svg", f'<svg role="img" aria-label="{label}"', 1))


def _with_costs(
    board: pd.DataFrame, cards: list[dict[str, Any]], params: dict[str, Any]
) -> pd.DataFrame:
    """The leaderboard with ``parameters``, ``minutes`` of training and ``rtf`` of each variant.

    Means over the seeds; NaN where nothing is known.
    """
    costs = pd.DataFrame(
        {
            "variant": [card["variant"] for card in cards],
            "parameters": [float(card["parameters"]) for card in cards],
            "minutes": [card["wall_time_s"] / 60 for card in cards],
        }
    )
    board = board.merge(costs.groupby("variant").mean(), on="variant", how="left")
    board["rtf"] = [
        _real_time_factor(row.variant, row.test_set, params)
        for row in board[["variant", "test_set"]].itertuples()
    ]
    return board


def _real_time_factor(method: str, test_set: str, params: dict[str, Any]) -> float:
    """Seconds of computing for a second of audio, mean over the seeds; NaN for baselines."""
    paths = [
        Path(f"results/enhanced/{method}/seed{seed}/{test_set}.json")
        for seed in (params["seeds"] if method in params["variants"] else [0])
    ]
    speeds = [files.read_json(path) for path in paths if path.exists()]
    return float(np.mean([one["seconds"] / one["audio_s"] for one in speeds])) if speeds else np.nan


def _test_set_section(
    name: str,
    utterances: pd.DataFrame,
    board: pd.DataFrame,
    effects: pd.DataFrame,
    params: dict[str, Any],
    drawn: dict[str, figures.Style],
    draw: _Pictures,
) -> dict[str, Any]:
    part = utterances[utterances["test_set"] == name]
    rows = board[board["test_set"] == name]
    shown = [m for m in _MAIN if rows[m].notna().any()]
    for metric in shown:  # for papers; the page has them in its leaderboard
        draw.svg(f"{name}-intervals-{metric}", figures.intervals(rows, metric, drawn), metric)
    snrs = snr_condition(part)
    kinds = part.groupby("id")["kind"].first().replace("", "unknown")
    own = effects[effects["test_set"] == name] if len(effects) else effects
    sound = listening.TestAudio(
        name,
        Path("results/test_sets") / params["test_sets"][name],
        {row.variant: params["seeds"][0] if row.kind == "variant" else 0
         for row in rows[["variant", "kind"]].itertuples()},
    )  # fmt: skip
    ranked = list(rows.loc[rows["kind"] == "variant", "variant"])
    heard = ranked + [n for n in rows["variant"] if n not in {*ranked, "noisy", "oracle"}]
    budget = _AUDIO_BYTES // len(params["test_sets"])
    played, lossless = listening.players(
        sound, heard, listening.chosen(part, ranked, params["examples"]), budget
    )
    for example in played[:3]:
        waves = sound.signals(sound.table.loc[example["id"]], ranked[:1])
        draw.png(f"{name}-{example['id']}", figures.signals(waves, sound.rate))
    return {
        "name": name,
        "split": rows["split"].iloc[0],
        "rows": _board_rows(rows, params),
        "ranges": _ranges(rows, shown),
        "by_snr": [
            draw.svg(
                f"{name}-by-snr-{metric}",
                figures.metric_by_snr(by_condition(part, metric, snrs), metric, drawn),
                f"{figures.title(metric)} by input SNR for every method",
            )
            for metric in shown
        ],
        "by_kind": [_kind_table(part, metric, kinds, drawn) for metric in shown],
        "trade_offs": _trade_offs(name, rows, drawn, draw),
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


def _board_rows(rows: pd.DataFrame, params: dict[str, Any]) -> list[dict[str, Any]]:
    """Rows of the leaderboard, each with the measures in which it is ``best``."""
    best: dict[str, float] = {}
    for metric in _SHOWN:
        candidates = rows.loc[rows["kind"] != "oracle", metric]
        # In the scaling of each recipe: the same error has another value in another one.
        unlike = metric == "mse_spec" and not _one_scaling(params)
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


def _kind_table(
    part: pd.DataFrame, metric: str, kinds: pd.Series, drawn: dict[str, figures.Style]
) -> dict[str, Any]:
    """The mean gain in a metric over the unprocessed input for each noise kind and method.

    ``shade`` is from -1 to 1, for the colour of a cell.
    """
    table = by_condition(part, metric, kinds, gain=True)
    largest = table["mean"].abs().max() or 1.0
    columns = sorted(set(table["condition"]))
    cells = {(row["method"], row["condition"]): row for row in table.to_dict("records")}
    return {
        "metric": metric,
        "kinds": columns,
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
            for method in drawn
            if any((method, kind) in cells for kind in columns)
        ],
    }


def _trade_offs(
    name: str, rows: pd.DataFrame, drawn: dict[str, figures.Style], draw: _Pictures
) -> list[Markup]:
    """Figures of quality against the size of a model and the time that it takes."""
    quality = [metric for metric in ("si_sdr", _pesq(rows)) if rows[metric].notna().any()]
    found = []
    for metric in quality:
        for cost, label in (
            ("parameters", "parameters"),
            ("rtf", "real-time factor (computing time / duration)"),
        ):
            known = rows[rows[cost].notna() & rows[metric].notna()]
            if len(known):
                found.append(
                    draw.svg(
                        f"{name}-{metric}-by-{cost}",
                        figures.trade_off(known, metric, cost, label, drawn),
                        f"{figures.title(metric)} against {label}",
                    )
                )
    return found


def _pesq(rows: pd.DataFrame) -> str:
    return "pesq_wb" if rows["pesq_wb"].notna().any() else "pesq_nb"


def _page_data(
    utterances: pd.DataFrame,
    pairs: pd.DataFrame,
    params: dict[str, Any],
    drawn: dict[str, figures.Style],
) -> dict[str, Any]:
    """What the page compares any two methods by: all pairs, and the values of utterances."""
    test_sets = {}
    for name in params["test_sets"]:
        part = utterances[utterances["test_set"] == name]
        shown = [metric for metric in _MAIN if part[metric].notna().any()]
        ids = sorted(part["id"].unique())
        if len(ids) > _COMPARED_UTTERANCES:
            ids = [ids[k] for k in np.linspace(0, len(ids) - 1, _COMPARED_UTTERANCES).astype(int)]
        values = {}
        for metric in shown:
            wide = part.pivot_table(index="id", columns="method", values=metric, dropna=False)
            wide = wide.reindex(index=ids, columns=[m for m in drawn if m in wide])
            values[metric] = {
                method: [float(f"{x:.4g}") if np.isfinite(x) else None for x in column]
                for method, column in wide.items()
            }
        about = part.groupby("id")[["speaker", "kind", "snr_in"]].first().reindex(ids)
        own = pairs[pairs["test_set"] == name]
        test_sets[name] = {
            "ids": ids,
            "about": [
                f"{row.speaker or 'unknown'}, {row.kind or 'unknown noise'}, {row.snr_in:.1f} dB"
                for row in about.itertuples()
            ],
            "values": values,
            "pairs": [
                [row.metric, row.first, row.second,
                 *(float(f"{x:.4g}") if np.isfinite(x) else None
                   for x in (row.difference, row.ci_low, row.ci_high, row.p_holm)), row.n]
                for row in own.itertuples()
            ],
        }  # fmt: skip
    return {
        "methods": list(drawn),
        "labels": {name: style.label for name, style in drawn.items()},
        "titles": {name: figures.title(name) for name in _MAIN},
        "test_sets": test_sets,
    }


def _one_scaling(params: dict[str, Any]) -> bool:
    """Whether all variants predict the same thing in the same scaling."""
    features = (variant["recipe"]["features"] for variant in params["variants"].values())
    names = ("stft", "bins", "reference", "floor_db", "target", "target_scaling")
    return len({digest({name: one[name] for name in names}) for one in features}) == 1


def _histories(card_paths: list[Path], cards: list[dict[str, Any]]) -> pd.DataFrame:
    tables = [
        files.read_table(path.parent / "history.csv").assign(
            variant=card["variant"],
            seed=card["seed"],
            loss_name=losses.label(card["training"]["loss"]),
        )
        for path, card in zip(card_paths, cards, strict=True)
    ]
    return pd.concat(tables, ignore_index=True)


def _answer(
    board: pd.DataFrame,
    pairs: pd.DataFrame,
    params: dict[str, Any],
    drawn: dict[str, figures.Style],
) -> dict[str, Any]:
    """Which variant is best by SI-SDR on the first test set, by how much, how certainly, its cost.

    Returns
    -------
    dict
        ``headline``, the sentence ``verdict``, and ``facts``: name, value and remark of each.
    """
    test_set = next(iter(params["test_sets"]))
    rows = board[(board["test_set"] == test_set) & (board["kind"] == "variant")]
    rows = rows.sort_values("si_sdr", ascending=False)
    first = rows.iloc[0]
    noisy = board[(board["test_set"] == test_set) & (board["variant"] == "noisy")].iloc[0]
    quality = _pesq(rows)
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
    winner = drawn[first["variant"]].label
    headline, certain = winner, True
    verdict = (
        f"{winner} has the highest SI-SDR, {first['si_sdr']:.1f} dB "
        f"({first['si_sdr'] - noisy['si_sdr']:+.1f} dB over the noisy input), with "
        f"{SCORED[quality].title} {first[quality]:.2f} ({first[quality] - noisy[quality]:+.2f})."
    )
    if len(rows) > 1:
        lead = _lead(first["variant"], rows.iloc[1]["variant"], pairs, test_set)
        second, tested = drawn[lead["second"]].label, p_value(lead["p"])
        certain = lead["said"] == "significant"
        verdict += (
            f" Its lead over {second} is {lead['difference']:.2f} dB, which is "
            f"{lead['said']}{lead['because']} (95 % interval {lead['low']:.2f} to "
            f"{lead['high']:.2f} dB, Wilcoxon p {tested})."
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
    }


def _lead(first: str, second: str, pairs: pd.DataFrame, test_set: str) -> dict[str, Any]:
    """The difference in SI-SDR of two variants, and in words how certain it is."""
    pair = pairs[
        (pairs["test_set"] == test_set)
        & (pairs["metric"] == "si_sdr")
        & pairs["first"].isin([first, second])
        & pairs["second"].isin([first, second])
    ].iloc[0]
    sign = 1 if pair["first"] == first else -1
    low, high = sorted((sign * pair["ci_low"], sign * pair["ci_high"]))
    # With few speakers the bootstrap interval is too narrow, so the test must agree.
    agreeing = int(low > 0) + int(pair["p_holm"] < 0.05)
    said, because = (
        ("not significant", ""),
        (
            "not certain",
            ", as the interval over speakers and the test over utterances disagree",
        ),
        ("significant", ""),
    )[agreeing]
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


def _models(cards: list[dict[str, Any]], histories: pd.DataFrame) -> list[dict[str, Any]]:
    return [
        {
            "variant": card["variant"],
            "seed": card["seed"],
            "parameters": card["parameters"],
            "windows": card["training_windows"],
            "best_epoch": int(card["best_epoch"]),
            "loss": losses.label(card["training"]["loss"]),
            "val_loss": card["best_val_loss"],
            "val_pure": _without_penalty(card, histories),
            "minutes": card["wall_time_s"] / 60,
            "processor": card["hardware"]["processor"],
        }
        for card in cards
    ]


def _without_penalty(card: dict[str, Any], histories: pd.DataFrame) -> float | None:
    """The validation loss of the best epoch without penalties on the weights, if they are in it."""
    column = f"val_{card['training']['loss']}"
    if column not in histories or not card["network"].get("l2"):
        return None
    same = (histories[name] == card[name] for name in ("variant", "seed"))
    best = histories[np.logical_and(*same) & (histories["epoch"] == card["best_epoch"])]
    return None if best[column].isna().all() else float(best[column].iloc[0])


def _data_card(manifests: dict[str, list[Path]]) -> dict[str, Any]:
    sources = [{"name": path.parent.name, **files.read_json(path)} for path in manifests["audio"]]
    splits = []
    for path in manifests["splits"]:
        table = files.read_table(path)
        for split, part in table.groupby("split"):
            splits.append(
                {
                    "name": path.stem,
                    "split": split,
                    "recordings": len(part),
                    "speakers": part.loc[part["speaker"] != "", "speaker"].nunique(),
                    "kinds": ", ".join(sorted(set(part["kind"]) - {""})),
                }
            )
    windows = [
        {"name": f"{path.parent.parent.name}/{path.parent.name}", **files.read_json(path)}
        for path in manifests["spectrograms"]
    ]
    tests = [{"name": path.parent.name, **files.read_json(path)} for path in manifests["test_sets"]]
    return {"sources": sources, "splits": splits, "windows": windows, "tests": tests}


def _mixture_examples(params: dict[str, Any]) -> list[dict[str, Any]]:
    """Three training mixtures of each mixture stage, to hear."""
    found = []
    stages = {
        variant["mixtures"]: variant["recipe"]["audio"]["sample_rate"]
        for variant in params["variants"].values()
    }
    for stage, rate in stages.items():
        table = files.read_table(Path("results/mixtures") / stage / "train.csv")
        for row in table.iloc[np.linspace(0, len(table) - 1, 3).astype(int)].to_dict("records"):
            packs = mixing.load_packs([row["speech_source"], row["noise_source"]])
            noisy, clean = mixing.render(row, packs, rate)
            found.append(
                {
                    "stage": stage,
                    "about": f"{row['recording']} with {row['kind']} at {row['snr']:.1f} dB SNR",
                    "players": {
                        name: listening.data_uri("audio/mpeg", listening.mp3(wave, rate))
                        for name, wave in (("mixture", noisy), ("speech", clean))
                    },
                }
            )
    return found


def _software() -> dict[str, str]:
    names = ("tensorflow", "keras", "numpy", "librosa", "pesq", "pystoi", "snakemake", "mlflow")
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in names)
    return {"Python": platform.python_version(), "Libraries": versions}


def _wall_times(jobs: list[str]) -> list[dict[str, Any]]:
    """Seconds and memory that each job took when it last ran, from Snakemake's benchmark files."""
    rows = []
    for job in jobs:
        path = Path("results/benchmarks") / f"{job}.tsv"
        if not path.exists():
            continue
        table = pd.read_csv(path, sep="\t")
        rule, _, name = job.partition("/")
        rows.append(
            {
                "rule": rule,
                "job": name,
                "seconds": float(table["s"].iloc[0]),
                "memory_mb": float(pd.to_numeric(table["max_rss"], errors="coerce").iloc[0]),
            }
        )
    return rows


def tracked_examples(
    test_set: str, stage: str, variant: str, seed: int, score_paths: list[Path], folder: Path
) -> list[Path]:
    """Write a picture and audio of the variant's median utterance, for the tracking server."""
    utterances = by_utterance(read_scores(score_paths))
    sound = listening.TestAudio(test_set, Path("results/test_sets") / stage, {variant: seed})
    own = utterances[utterances["method"] == variant].dropna(subset="si_sdr").sort_values("si_sdr")
    if own.empty:
        return []
    waves = sound.signals(sound.table.loc[own["id"].iloc[len(own) // 2]], [variant])
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{test_set}-median.png"]
    figures.signals(waves, sound.rate).savefig(paths[0], dpi=80)
    for name, wave in waves.items():
        shown = "enhanced" if name == variant else name
        path = folder / f"{test_set}-median-{shown}.wav"
        soundfile.write(path, np.clip(wave, -1, 1), sound.rate)
        paths.append(path)
    return paths
