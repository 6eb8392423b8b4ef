"""The report of an experiment: one self-contained HTML file, and its figures beside it."""

from __future__ import annotations

import base64
import io
import json
import platform
import shutil
import time
from importlib import metadata, resources
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import pandas as pd
import soundfile
from matplotlib.figure import Figure

from denoise import audio, files, losses, mixing
from denoise.baselines import BASELINES
from denoise.comparison import by_utterance, main_effects, read_scores
from denoise.metrics import SCORED
from denoise.report import figures
from denoise.settings import digest

USES = ("template.html",)

_MP3_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
_MAIN = ("si_sdr", "pesq_nb", "pesq_wb", "stoi")
_SHOWN = (*_MAIN, *(name for name in SCORED if name not in _MAIN))


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
    """Write ``report.html`` and the folder ``figures`` beside it.

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
    folder = out_path.parent / "figures"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    pictures = _Pictures(folder)
    effects = _effects(scores, params)
    test_sets = []
    for name, stage in params["test_sets"].items():
        part = utterances[utterances["test_set"] == name]
        section = _test_set_section(
            name, Path("results/test_sets") / stage, part, board, params, pictures
        )
        section["effects"] = []
        if len(effects):
            own = effects[effects["test_set"] == name]
            shown = list(dict.fromkeys(own["metric"]))
            section["effects"] = own.to_dict("records")
            section["effects_picture"] = pictures.svg(
                f"{name}-effects", figures.main_effects(own, shown)
            )
        test_sets.append(section)
    histories = _histories(card_paths, cards)
    source = resources.files("denoise.report").joinpath("template.html").read_text("utf-8")
    html = (
        _environment()
        .from_string(source)
        .render(
            title=params["experiment"],
            made=time.strftime("%Y-%m-%d %H:%M"),
            params=params,
            baselines=BASELINES
            | {name: f"the ready model in {folder}" for name, folder in params["models"].items()},
            verdict=_verdict(board, pairs, next(iter(params["test_sets"]))),
            test_sets=test_sets,
            metrics=[name for name in _SHOWN if board[name].notna().any()],
            titles={name: figures.title(name) for name in _SHOWN},
            pairwise=pairs.to_dict("records"),
            curves=pictures.svg("learning-curves", figures.learning_curves(histories)),
            models=_models(cards, histories),
            data=_data_card(manifests),
            mixtures=_mixture_examples(params),
            provenance={**provenance, **_software()},
            wall_times=_wall_times(params["jobs"]),
            recipes={
                name: json.dumps(variant["recipe"], indent=1, ensure_ascii=False)
                for name, variant in params["variants"].items()
            },
        )
    )
    files.write_text(out_path, html)


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    environment.filters |= {"number": _number, "plain": _plain}
    return environment


def _effects(scores: pd.DataFrame, params: dict[str, Any]) -> pd.DataFrame:
    """The main effects of the swept settings; empty without a sweep."""
    settings = {
        name: {path: _plain(variant["differs"][path]) for path in params["sweep"]}
        for name, variant in params["variants"].items()
    }
    measured = [metric for metric in _MAIN if scores[metric].notna().any()]
    return main_effects(scores, settings, measured) if params["sweep"] else pd.DataFrame()


def _plain(value: Any) -> str:
    """A setting's value as a person would write it."""
    if isinstance(value, dict):
        return ", ".join(f"{key} {_plain(item)}" for key, item in value.items())
    if isinstance(value, list):
        return " … ".join(map(_plain, value)) if len(value) == 2 else ", ".join(map(_plain, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


class _Pictures:
    """Saves figures in a folder and returns them in a form that stands in the HTML."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def svg(self, name: str, figure: Figure) -> str:
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None})
        text = buffer.getvalue()
        files.write_text(self.folder / f"{name}.svg", text)
        return _data_uri("image/svg+xml", text.encode())

    def png(self, name: str, figure: Figure) -> str:
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=80)
        with files.replacing(self.folder / f"{name}.png") as temporary:
            temporary.write_bytes(buffer.getvalue())
        return _data_uri("image/png", buffer.getvalue())


def _data_uri(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def player(wave: np.ndarray, rate: int) -> str:
    """Audio [shape=(samples,)] as an MP3 data URI, which every browser plays."""
    buffer = io.BytesIO()
    # The next higher rate keeps the whole band; above 48 kHz nobody hears what is lost.
    playable = min((known for known in _MP3_RATES if known >= rate), default=_MP3_RATES[-1])
    wave = audio.resample(wave, rate, playable)
    soundfile.write(buffer, np.clip(wave, -1, 1), playable, format="MP3")
    return _data_uri("audio/mpeg", buffer.getvalue())


def _number(value: object, digits: int = 3) -> str:
    if value is None or (isinstance(value, float) and not np.isfinite(value)):
        return "–"
    if isinstance(value, float):
        return f"{value:.{digits}g}" if abs(value) < 0.01 else f"{value:.2f}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _test_set_section(
    name: str,
    folder: Path,
    utterances: pd.DataFrame,
    board: pd.DataFrame,
    params: dict[str, Any],
    pictures: _Pictures,
) -> dict[str, Any]:
    rows = board[board["test_set"] == name]
    shown = [m for m in _MAIN if rows[m].notna().any()]
    palette = figures.methods_palette(list(rows["variant"]))
    best = {}
    for metric in _SHOWN:
        candidates = rows.loc[rows["kind"] != "oracle", metric]
        # In the scaling of each recipe: the same error has another value in another one.
        unlike = metric == "mse_spec" and not _one_scaling(params)
        if candidates.notna().any() and not unlike:
            best[metric] = candidates.max() if SCORED[metric].higher_is_better else candidates.min()
    return {
        "name": name,
        "split": rows["split"].iloc[0],
        "rows": rows.to_dict("records"),
        "best": best,
        "intervals": pictures.svg(f"{name}-intervals", figures.intervals(rows, shown)),
        "by_snr": pictures.svg(f"{name}-by-snr", figures.metric_by_snr(utterances, shown, palette)),
        "by_kind": [
            pictures.svg(f"{name}-{m}-by-kind", figures.improvement_by_kind(utterances, m))
            for m in shown
        ],
        "examples": _examples(name, folder, utterances, params, pictures),
    }


def _one_scaling(params: dict[str, Any]) -> bool:
    """Whether all variants predict the same thing in the same scaling."""
    features = (variant["recipe"]["features"] for variant in params["variants"].values())
    names = ("stft", "bins", "reference", "floor_db", "target", "target_scaling")
    return len({digest({name: one[name] for name in names}) for one in features}) == 1


def example_ids(utterances: pd.DataFrame, variant: str, count: int) -> dict[str, str]:
    """Label → utterance: the best, the median and the worst by SI-SDR gain, and evenly between."""
    wide = utterances.pivot_table(index="id", columns="method", values="si_sdr")
    gain = (wide[variant] - wide["noisy"]).dropna().sort_values(ascending=False)
    if gain.empty:
        return {}
    middle = (len(gain) - 1) // 2
    spread = np.linspace(0, len(gain) - 1, max(3, count)).round().astype(int)
    if middle not in spread:  # an even number: the median takes the place of its neighbour
        spread[len(spread) // 2] = middle
    places = np.unique(spread)
    labels = {}
    for place in places:
        rank = place / max(1, len(gain) - 1)
        name = {len(gain) - 1: "worst", middle: "median", 0: "best"}.get(int(place))
        label = name or f"{100 * (1 - rank):.0f}th percentile"
        labels[f"{label} ({gain.iloc[place]:+.1f} dB SI-SDR)"] = str(gain.index[place])
    return labels


def _examples(
    test_set: str,
    folder: Path,
    utterances: pd.DataFrame,
    params: dict[str, Any],
    pictures: _Pictures,
) -> list[dict[str, Any]]:
    rate = files.read_json(folder / "manifest.json")["rate"]
    places = files.read_table(folder / "mixtures.csv").set_index("id")
    found = []
    for variant in params["variants"]:
        for label, utterance in example_ids(utterances, variant, params["examples"]).items():
            row = places.loc[utterance]
            waves = signals_of(folder, variant, params["seeds"][0], test_set, row)
            found.append(
                {
                    "variant": variant,
                    "label": label,
                    "utterance": utterance,
                    "about": f"speaker {row['speaker']}, {row['kind'] or 'unknown noise'}, "
                    f"SNR {row['snr']:.1f} dB",
                    "picture": pictures.png(
                        f"{test_set}-{variant}-{label.split(' ')[0]}", figures.signals(waves, rate)
                    ),
                    "players": {name: player(wave, rate) for name, wave in waves.items()},
                }
            )
    return found


def signals_of(
    folder: Path, variant: str, seed: int, test_set: str, row: pd.Series
) -> dict[str, np.ndarray]:
    """Noisy, enhanced and clean audio of one utterance of a test set."""
    part = slice(int(row["offset"]), int(row["offset"] + row["samples"]))
    enhanced = Path("results/enhanced") / variant / f"seed{seed}" / f"{test_set}.npy"
    return {
        "noisy": np.array(files.load_array(folder / "noisy.npy")[part]),
        "enhanced": np.array(files.load_array(enhanced)[part]),
        "clean": np.array(files.load_array(folder / "clean.npy")[part]),
    }


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


def _verdict(board: pd.DataFrame, pairs: pd.DataFrame, test_set: str) -> str:
    """One sentence: which variant is best by SI-SDR, by how much, and whether that is certain."""
    rows = board[(board["test_set"] == test_set) & (board["kind"] == "variant")]
    rows = rows.sort_values("si_sdr", ascending=False)
    noisy = board[(board["test_set"] == test_set) & (board["variant"] == "noisy")].iloc[0]
    first = rows.iloc[0]
    quality = "pesq_wb" if np.isfinite(first["pesq_wb"]) else "pesq_nb"
    text = (
        f"{first['variant']} has the highest SI-SDR, {first['si_sdr']:.1f} dB "
        f"({first['si_sdr'] - noisy['si_sdr']:+.1f} dB over the noisy input), with "
        f"{SCORED[quality].title} {first[quality]:.2f} ({first[quality] - noisy[quality]:+.2f})."
    )
    if len(rows) > 1:
        second = rows.iloc[1]["variant"]
        pair = pairs[
            (pairs["test_set"] == test_set)
            & (pairs["metric"] == "si_sdr")
            & pairs["first"].isin([first["variant"], second])
            & pairs["second"].isin([first["variant"], second])
        ].iloc[0]
        sign = 1 if pair["first"] == first["variant"] else -1
        low, high = sorted((sign * pair["ci_low"], sign * pair["ci_high"]))
        # With few speakers the bootstrap interval is too narrow, so the test must agree.
        agreeing = int(low > 0) + int(pair["p_holm"] < 0.05)
        said = (
            "not significant",
            "not certain, as the interval over speakers and the test over utterances disagree",
            "significant",
        )[agreeing]
        text += (
            f" Its lead over {second} is {sign * pair['difference']:.2f} dB, which is {said} "
            f"(95 % interval {low:.2f} to {high:.2f} dB, Wilcoxon p = {pair['p_holm']:.2g})."
        )
    baselines = board[(board["test_set"] == test_set) & (board["kind"] == "baseline")]
    baseline = baselines.loc[baselines["si_sdr"].idxmax()]
    if baseline["si_sdr"] > first["si_sdr"]:
        text = text.replace(" has the highest SI-SDR", " has the highest SI-SDR of the variants")
        text += f" The baseline {baseline['variant']} has more, {baseline['si_sdr']:.1f} dB."
    return text


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
                    "players": {"mixture": player(noisy, rate), "speech": player(clean, rate)},
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
    test_folder = Path("results/test_sets") / stage
    rate = files.read_json(test_folder / "manifest.json")["rate"]
    own = utterances[utterances["method"] == variant].dropna(subset="si_sdr").sort_values("si_sdr")
    if own.empty:
        return []
    utterance = own["id"].iloc[len(own) // 2]
    row = files.read_table(test_folder / "mixtures.csv").set_index("id").loc[utterance]
    waves = signals_of(test_folder, variant, seed, test_set, row)
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{test_set}-median.png"]
    figures.signals(waves, rate).savefig(paths[0], dpi=80)
    for name, wave in waves.items():
        path = folder / f"{test_set}-median-{name}.wav"
        soundfile.write(path, np.clip(wave, -1, 1), rate)
        paths.append(path)
    return paths
