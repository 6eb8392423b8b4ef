"""What each stage costs by the hours of audio: python benchmarks/scale.py

Runs every stage in a process of its own at several sizes, fits a line to time, memory and disk,
and checks it at a size that was not used for the fit.  Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import study_stages
from speed import RATE, ROOT, WINDOW, recordings, speech_like

from denoise import audio
from denoise.core.tables import write_table
from denoise.corpora.indexing import index_folder
from denoise.enhancement.enhancer import Enhancer
from denoise.evaluation.folders import score_folders
from denoise.mixing.settings import MixingSettings
from denoise.networks import backend
from denoise.networks.registry import build_network
from denoise.networks.runtimes import KerasRuntime
from denoise.networks.unet import UNetSettings
from denoise.study.plan import make_plan
from denoise.training.batches import open_batches
from denoise.training.model import compiled
from denoise.training.settings import TrainingSettings

CORES = os.cpu_count() or 1
WINDOWS = 3600 * RATE / WINDOW  # an hour


class Cost(NamedTuple):
    """Of a stage at one size."""

    seconds: float
    memory: float
    """GB, the most of the process and of the largest of its pool."""
    disk: float
    """GB of what it leaves."""


def size_of(*paths: Path) -> float:
    """GB of files and of what lies in folders."""
    inside = [path.rglob("*") if path.is_dir() else [path] for path in paths]
    return sum(file.stat().st_size for group in inside for file in group if file.is_file()) / 1e9


def preparing(work: Path, hours: float) -> Callable[[], list[Path]]:
    """Speech from 16 kHz FLAC, as much as there will be of mixtures."""
    index_folder(work / "many", None, work / "many.csv")

    def run() -> list[Path]:
        study_stages.prepared(work / "speech", work / "many.csv", "speech", RATE, CORES)
        return [work / "speech"]

    return run


def mixing(work: Path, hours: float) -> Callable[[], list[Path]]:
    """Windows of that speech with ten recordings of noise."""
    (work / "noises").mkdir(exist_ok=True)
    for number in range(10):
        wave = speech_like(30, RATE, 1000 + number)
        audio.write(work / "noises" / f"noise_{number}.wav", wave, RATE)
    index_folder(work / "noises", None, work / "noises.csv")
    study_stages.prepared(work / "noise", work / "noises.csv", "noise", RATE)
    for side in ("speech", "noise"):
        study_stages.divided(work / side, work / f"{side}-split.csv")
    settings = MixingSettings(segment=WINDOW, hours=hours, validation_windows=8)

    def run() -> list[Path]:
        return list(study_stages.mixed(work, settings, RATE, CORES).values())

    return run


def caching(work: Path, hours: float) -> Callable[[], list[Path]]:
    """Spectrograms of 255/63, in float16."""

    def run() -> list[Path]:
        study_stages.cached(work / "cache", work / "train.csv", RATE, processes=CORES)
        return [work / "cache"]

    return run


def training(work: Path, hours: float) -> Callable[[], list[Path]]:
    """An epoch of the published U-Net in batches of 20."""
    settings = TrainingSettings(batch_size=20, threads=CORES)
    backend.start("tensorflow", threads=CORES)
    windows = open_batches(work / "cache/manifest.json", settings)
    windows.count = round(hours * WINDOWS)
    model = compiled(UNetSettings(), settings, windows)

    def run() -> list[Path]:
        windows.shuffle(0)
        study_stages.train_on(model, windows)
        return []

    return run


def enhancing(work: Path, hours: float) -> Callable[[], list[Path]]:
    """Recordings of a minute through that U-Net, with half of each window overlapping."""
    backend.start("tensorflow", threads=CORES)
    plan = make_plan({"preset": "unet-huber-esc50", "sweep": {}}, ROOT / "presets")
    network = build_network(UNetSettings(), (128, 128, 1))
    card = study_stages.card_of(plan)
    enhancer = Enhancer(KerasRuntime(network, card), card)
    noisy = speech_like(60, RATE, 0)

    def run() -> list[Path]:
        for _ in range(round(hours * 60)):
            enhancer.enhance(noisy)
        return []

    return run


def rating(work: Path, hours: float) -> Callable[[], list[Path]]:
    """All measures of utterances of 3 s at 8 kHz."""
    folders = [work / name for name in ("clean", "found")]
    for place, folder in enumerate(folders):
        folder.mkdir()
        for number in range(round(hours * 1200)):
            wave = speech_like(3, RATE, number)
            noise = np.random.default_rng(number).standard_normal(len(wave)).astype(np.float32)
            audio.write(folder / f"{number}.wav", wave + place * 0.02 * noise, RATE)

    def run() -> list[Path]:
        table = score_folders(*folders, processes=CORES)
        write_table(work / "scores.csv", table)
        return [work / "scores.csv"]

    return run


STAGES: dict[str, tuple[Callable[[Path, float], Callable[[], list[Path]]], float]] = {
    "prepare": (preparing, 1.0),
    "mix": (mixing, 1.0),
    "spectrograms": (caching, 1.0),
    "an epoch": (training, 0.05),
    "enhance": (enhancing, 0.05),
    "score": (rating, 0.1),
}
"""What runs, and which share of the hours it is measured with: the slow ones with less."""


def alone(stage: str, work: Path, hours: float) -> None:
    """Run a stage once in this process, and print its cost as JSON."""
    logging.disable(logging.WARNING)
    run = STAGES[stage][0](work, hours)
    started = time.perf_counter()
    left = run()
    seconds = time.perf_counter() - started
    peaks = [
        resource.getrusage(who).ru_maxrss / 1e6
        for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    ]
    print(json.dumps(Cost(seconds, max(peaks), size_of(*left))))


def measured(stage: str, work: Path, hours: float) -> Cost:
    """The cost of a stage, run in a process of its own."""
    command = [
        sys.executable,
        __file__,
        "--stage",
        stage,
        "--work",
        str(work),
        "--hours",
        str(hours),
    ]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    if ended.returncode:
        sys.exit(f"error: {stage} of {hours} h failed:\n{ended.stderr[-2000:]}")
    return Cost(*json.loads(ended.stdout.splitlines()[-1]))


def fitted(hours: list[float], values: list[float]) -> tuple[float, float]:
    """Start and slope an hour of the line with the least relative errors."""
    design = np.stack([np.ones(len(hours)), np.array(hours)], axis=1)
    weight = 1 / np.maximum(np.array(values), 1e-9)
    found, *_ = np.linalg.lstsq(design * weight[:, None], np.array(values) * weight, rcond=None)
    return float(found[0]), float(found[1])


def costs(
    stages: list[str], sizes: list[float], source: Path | None
) -> dict[str, dict[float, Cost]]:
    """The cost of the stages at every size in hours."""
    found: dict[str, dict[float, Cost]] = {stage: {} for stage in stages}
    for hours in sizes:
        with tempfile.TemporaryDirectory() as folder:
            work = Path(folder)
            recordings(work, hours, source)
            for stage in stages:
                part = round(hours * STAGES[stage][1], 4)
                found[stage][part] = measured(stage, work, part)
                print(f"{stage}, {part:.2f} h: {found[stage][part]}", file=sys.stderr)
    return found


def table_of(found: dict[str, dict[float, Cost]]) -> str:
    """The costs, their lines and how far off these are at the check."""
    rows = [
        "| stage | measured (h: s) | seconds | seconds an hour | GB of memory | GB of disk an hour "
        "| check: predicted, measured |",
        "|---|---|---|---|---|---|---|",
    ]
    for stage, by_hours in found.items():
        sizes = list(by_hours)
        used, check = sizes[:-1], sizes[-1]
        start, slope = fitted(used, [by_hours[size].seconds for size in used])
        _, disk = fitted(used, [by_hours[size].disk for size in used])
        predicted = start + slope * check
        actual = by_hours[check]
        off = predicted / actual.seconds - 1
        at = ", ".join(f"{size:.2g}: {by_hours[size].seconds:.1f}" for size in used)
        memory = f"{by_hours[used[0]].memory:.2f} to {actual.memory:.2f}"
        rows.append(
            f"| {stage} | {at} | {start:.1f} | {slope:.2f} | {memory} | {disk:.3f} "
            f"| {check:.2g} h: {predicted:.1f} s, {actual.seconds:.1f} s ({off:+.0%}) |"
        )
    return "\n".join(rows)


def main() -> None:
    """Measure, fit, check and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=float, nargs="+", default=[1, 2, 5, 10, 15],
                        help="hours; the last is the check (default 1 2 5 10 15)")  # fmt: skip
    parser.add_argument("--only", choices=STAGES, nargs="+", default=list(STAGES),
                        help="these stages; those up to an epoch need the ones before")  # fmt: skip
    parser.add_argument("--speech", type=Path, help="a folder of FLAC recordings")
    parser.add_argument("--stage", choices=STAGES, help=argparse.SUPPRESS)
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--hours", type=float, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.stage:
        alone(options.stage, options.work, options.hours)
        return
    print(table_of(costs(options.only, options.sizes, options.speech)))


if __name__ == "__main__":
    main()
