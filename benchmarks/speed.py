"""Measure each stage beside the obvious way of doing it: python benchmarks/speed.py

The obvious ways stand in `benchmarks/reference`.  All ways of a stage take turns, so that other
load on the machine falls on all of them alike: trust the ratios more than the rates.  Prints a
Markdown table of medians with the range over the rounds; `--write docs/performance.md` puts it
there.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import logging
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple
from unittest import mock

import numpy as np
import soundfile
import study_stages
import yaml
from reference import enhancement, training
from reference import prepare as reference_prepare
from reference import scoring as reference_scoring
from reference import spectrograms as reference_spectrograms

from denoise.core import files
from denoise.core.arrays import load_array
from denoise.corpora.indexing import index_folder
from denoise.enhancement.enhancer import Enhancer
from denoise.enhancement.settings import EnhancementSettings
from denoise.evaluation.folders import score_folders
from denoise.metrics import registry
from denoise.metrics.registry import METRICS
from denoise.mixing.settings import MixingSettings
from denoise.networks import backend
from denoise.networks.operations import macs
from denoise.networks.registry import build_network
from denoise.networks.runtimes import KerasRuntime
from denoise.networks.unet import UNetSettings
from denoise.study.plan import make_plan
from denoise.training.batches import Batches, open_batches
from denoise.training.model import compiled
from denoise.training.settings import TrainingSettings

ROOT = Path(__file__).parents[1]
CORES = os.cpu_count() or 1
RATE, WINDOW, N_FFT, HOP = 8000, 8064, 255, 63
REFERENCE = "reference"


class Stage(NamedTuple):
    """The ways to do one thing, the first of which is what the others are compared with."""

    name: str
    unit: str
    amount: float
    """What is done in a call, in the unit's numerator; 0 if the time itself is of interest."""
    ways: dict[str, Callable[[], object]]


def cores(run: Callable[[int], object]) -> dict[str, Callable[[], object]]:
    """The ways to run something on one core and on all."""
    return {f"{n} core{'s' * (n > 1)}": functools.partial(run, n) for n in sorted({1, CORES})}


def speech_like(seconds: float, rate: int, seed: int) -> np.ndarray:
    """Noise bursts with the pace of syllables [shape=(samples,)], so that PESQ finds speech."""
    rng = np.random.default_rng(seed)
    samples = round(seconds * rate)
    pace = np.maximum(0, np.sin(8 * np.arange(samples) / rate))
    return (0.1 * rng.standard_normal(samples) * pace).astype(np.float32)


def recordings(folder: Path, hours: float, source: Path | None) -> list[Path]:
    """So many hours of 16 kHz FLAC: those of a folder, or made ones, under many names."""
    own = folder / "own"
    if source is None:
        own.mkdir(parents=True)
        for number in range(40):
            name = own / f"{number}.flac"
            soundfile.write(name, speech_like(12, 16_000, number), 16_000)
        source = own
    found = sorted(source.rglob("*.flac"))
    if not found:
        sys.exit(f"error: {source} holds no .flac files")
    (folder / "many").mkdir()
    made: list[Path] = []
    seconds = 0.0
    while seconds < hours * 3600:
        path = found[len(made) % len(found)]
        made.append(folder / "many" / f"{len(made):06d}.flac")
        made[-1].symlink_to(path.absolute())
        seconds += soundfile.info(str(path)).duration
    return made


def preparation(work: Path, hours: float, source: Path | None) -> Stage:
    """Decoding, resampling and filtering to one packed file."""
    paths = recordings(work, hours, source)
    index_folder(work / "many", None, work / "many.csv")
    seconds = sum(soundfile.info(str(path)).duration for path in paths)

    def ours(processes: int) -> None:
        study_stages.prepared(work / "prepared", work / "many.csv", "speech", RATE, processes)

    return Stage("prepare", "s of audio/s", seconds, {
        REFERENCE: lambda: reference_prepare.prepare(paths, RATE, 1, work / "prepared.npy"),
        "the decoder alone, 1 core": lambda: [
            soundfile.read(path, dtype="float32") for path in paths
        ],
        **cores(ours),
    })  # fmt: skip


def caching(work: Path, count: int) -> Stage:
    """Mixing windows and writing their spectrograms."""
    sides: dict[str, np.ndarray] = {}
    for side, seconds in (("speech", 600), ("noise", 300)):
        folder = work / side
        folder.mkdir()
        waves = [speech_like(30, RATE, number) for number in range(seconds // 30)]
        for number, wave in enumerate(waves):
            soundfile.write(folder / f"{side}{number}.wav", wave, RATE)
        sides[side] = np.concatenate(waves)
        index_folder(folder, None, work / f"{side}.csv")
        role: Literal["speech", "noise"] = "noise" if side == "noise" else "speech"
        study_stages.prepared(work / f"{side}-pack", work / f"{side}.csv", role, RATE)
        study_stages.divided(work / f"{side}-pack", work / f"{side}-split.csv")
    mixing = MixingSettings(segment=WINDOW, windows=count, validation_windows=8)

    def ours(processes: int) -> None:
        tables = study_stages.mixed(work, mixing, RATE, processes)
        study_stages.cached(work / "cache", tables["train"], RATE, processes=processes)

    def reference() -> None:
        reference_spectrograms.write(
            (sides["speech"], sides["noise"]), count, WINDOW, (N_FFT, HOP), work
        )

    return Stage("mix + spectrograms", "windows/s", count, {
        REFERENCE: reference,
        **cores(ours),
    })  # fmt: skip


def cached(work: Path, count: int) -> Path:
    """The cache of `caching`, made if it is not there, of at least `count` windows."""
    if not (work / "cache").exists():
        caching(work, count).ways["1 core"]()
    return work / "cache"


def uncached_copy(work: Path) -> Path:
    """That cache as it is with ``cache: false``."""
    manifest = files.read_json(work / "cache" / "manifest.json")
    (work / "uncached").mkdir(exist_ok=True)
    files.write_json(work / "uncached" / "manifest.json", {**manifest, "shards": []})
    return work / "uncached"


def some_windows(folder: Path, settings: TrainingSettings, count: int) -> Batches:
    """The first `count` windows of a cache."""
    windows = open_batches(folder / "manifest.json", settings)
    windows.count, windows.order = count, np.arange(count)
    return windows


def epochs(work: Path, count: int) -> Stage:
    """An epoch of the published U-Net; needs the cache of `caching`."""
    import keras

    settings = TrainingSettings(batch_size=20, threads=CORES)
    folder = cached(work, count)
    inputs, targets = (
        np.concatenate([load_array(path) for path in sorted(folder.glob(f"shards/{side}-*.npy"))])[
            :count
        ]
        for side in ("input", "target")
    )

    def network() -> Any:
        return build_network(UNetSettings(), (128, 128, 1))

    plain, bare = network(), network()
    training.compile_model(plain)
    bare.compile("adam", "huber", metrics=["mae"], jit_compile=False)
    windows = some_windows(folder, settings, count)
    own = compiled(UNetSettings(), settings, windows)
    keras.utils.set_random_seed(0)

    def loop() -> None:
        windows.shuffle(0)
        study_stages.train_on(own, windows)

    made = some_windows(uncached_copy(work), settings, count)
    other = compiled(UNetSettings(), settings, made)

    def uncached() -> None:
        made.shuffle(0)
        study_stages.train_on(other, made)

    def fit(model: Any) -> None:
        training.fit(model, inputs, targets, settings.batch_size)

    # A training step is about three passes forward.
    work_of_one = 3 * 2 * macs(bare, 128) / 1e9
    name = f"training, U-Net of 1.94 M ({work_of_one:.1f} GFLOP a window)"
    return Stage(name, "windows/s", count, {
        REFERENCE: functools.partial(fit, plain),
        "`fit` without XLA": functools.partial(fit, bare),
        "`denoise`, from the cache": loop,
        "`denoise`, `cache: false`": uncached,
    })  # fmt: skip


def loading(work: Path, count: int) -> Stage:
    """Batches alone, without a network: as many windows as the fastest device could be given."""
    cached(work, count)
    settings = TrainingSettings(batch_size=20, threads=CORES)

    def reading(folder: Path) -> Callable[[], None]:
        windows = some_windows(folder, settings, count)

        def run() -> None:
            windows.shuffle(0)
            for _ in windows:
                pass

        return run

    return Stage("loading batches, without training", "windows/s", count, {
        "from the cache": reading(work / "cache"),
        "`cache: false`": reading(uncached_copy(work)),
    })  # fmt: skip


def trials(work: Path, count: int) -> Stage:
    """The same epoch with other settings than the usual ones."""
    folder = cached(work, count)

    def epoch(**changes: Any) -> Callable[[], None]:
        settings = TrainingSettings(**{"batch_size": 20, "threads": CORES, **changes})
        windows = some_windows(folder, settings, count)
        model = compiled(UNetSettings(), settings, windows)

        def run() -> None:
            windows.shuffle(0)
            study_stages.train_on(model, windows)

        return run

    return Stage("training, other settings", "windows/s", count, {
        "default: batch 20, float32, no XLA": epoch(),
        "batch 8": epoch(batch_size=8),
        "batch 64": epoch(batch_size=64),
        "bfloat16": epoch(precision="mixed_bfloat16"),
        "non-deterministic operations": epoch(deterministic=False),
    })  # fmt: skip


def products() -> Stage:
    """The most that this machine can compute in float32."""
    import tensorflow as tf

    size, times = 2048, 10
    matrix = tf.constant(np.random.default_rng(0).standard_normal((size, size)), tf.float32)

    def run() -> None:
        for _ in range(times):
            product = tf.matmul(matrix, matrix)
        product.numpy()

    return Stage("matrix products", "GFLOP/s", 2e-9 * size**3 * times, {"`tf.matmul`": run})


def enhancing(seconds: int) -> Stage:
    """A whole recording, with the published U-Net."""
    plan = make_plan({"preset": "unet-huber-esc50", "sweep": {}}, ROOT / "presets")
    variant = next(iter(plan.variants.values()))
    network = build_network(variant.recipe.network, (128, 128, 1))
    card = study_stages.card_of(plan)
    applied = KerasRuntime(network, card)
    noisy = speech_like(seconds, RATE, 0)
    return Stage("enhancement", "s of audio/s", seconds, {
        REFERENCE: lambda: enhancement.enhance(network, noisy, WINDOW, N_FFT, HOP),
        **{
            f"overlap {overlap:g}": functools.partial(
                Enhancer(applied, card, EnhancementSettings(overlap=overlap)).enhance, noisy
            )
            for overlap in (0, 0.5)
        },
    })  # fmt: skip


def scores(work: Path, count: int) -> Stage:
    """Utterances of 2.55 s at 16 kHz; the reference has neither narrow-band PESQ nor composites."""
    rate = 16_000
    folders = {name: work / f"{name}-scored" for name in ("clean", "enhanced")}
    for name, folder in folders.items():
        folder.mkdir()
        for number in range(count):
            wave = speech_like(2.55, rate, number)
            if name == "enhanced":
                rng = np.random.default_rng(number)
                wave = wave + 0.02 * rng.standard_normal(len(wave)).astype(np.float32)
            soundfile.write(folder / f"{number}.wav", wave, rate)
    clean, enhanced = (sorted(folder.iterdir()) for folder in folders.values())

    def ours(processes: int) -> None:
        score_folders(folders["clean"], folders["enhanced"], processes=processes)

    def without_composites() -> None:
        with mock.patch.object(registry, "composite", lambda *pair: {}):
            ours(1)

    def listed_alone() -> None:
        names = ("snr", "si_sdr", "pesq_wb", "stoi", "estoi")
        listed = {name: METRICS[name] for name in names}
        with mock.patch.object(registry, "METRICS", listed):
            without_composites()

    return Stage("scoring", "utterances/s", count, {
        REFERENCE: lambda: reference_scoring.score(clean, enhanced, rate),
        "1 core, the metrics of the reference": listed_alone,
        "1 core, without composite metrics": without_composites,
        **cores(ours),
    })  # fmt: skip


def planning(work: Path, variants: int) -> Stage:
    """A dry run of a study with so many variants."""
    folder = work / "study"
    shutil.copytree(
        ROOT, folder,
        ignore=shutil.ignore_patterns(".*", "results", "reports", "resources", "benchmarks"),
    )  # fmt: skip
    losses_ = ("mse", "huber")
    rates = [round(1e-4 * (1 + number / 100), 8) for number in range(-(-variants // len(losses_)))]
    config = {"sweep": {"training.loss": list(losses_), "training.learning_rate": rates}}
    files.write_text(folder / "many.yaml", yaml.safe_dump(config))
    command = [str(Path(sys.executable).with_name("snakemake")), "--configfile", "many.yaml"]

    def run() -> None:
        subprocess.run(
            [*command, "--cores", "8", "--quiet", "all", "-n", "all"],
            cwd=folder, capture_output=True, check=True,
            env={**os.environ, "PYTHONPATH": str(folder / "src")},
        )  # fmt: skip

    return Stage(f"dry run of {variants} variants", "s", 0, {"snakemake -n": run})


def second_run() -> Stage | None:
    """``snakemake --cores 8 all`` with nothing to do, if a study was run here."""
    command = [str(Path(sys.executable).with_name("snakemake")), "--cores", "8", "all"]
    dry = subprocess.run([*command, "-n"], cwd=ROOT, capture_output=True, text=True)
    if "Nothing to be done" not in dry.stdout + dry.stderr:
        print("a second run is not measured: run `make run` first", file=sys.stderr)
        return None
    run = functools.partial(subprocess.run, command, cwd=ROOT, capture_output=True, check=True)
    return Stage("second run with nothing to do", "s", 0, {"snakemake all": run})


def digits(number: float) -> str:
    """A number with three significant digits, without an exponent."""
    return f"{float(f'{number:.3g}'):,.15g}"


def measure(stage: Stage, rounds: int) -> list[str]:
    """Rows of the table of a stage."""
    taken: dict[str, list[float]] = {way: [] for way in stage.ways}
    for number in range(rounds + 1):
        for way, run in stage.ways.items():
            started = time.perf_counter()
            run()
            if number or stage.unit == "s":  # the first compiles and fills caches
                taken[way].append(time.perf_counter() - started)
        print(f"{stage.name}: round {number} of {rounds}", file=sys.stderr)
    first = next(iter(taken.values()))
    rows = []
    for way, times in taken.items():
        rates = sorted(stage.amount / t if stage.amount else t for t in times)
        ratio = statistics.median(one / other for one, other in zip(first, times, strict=True))
        compared = f"{ratio:.2f}" if len(taken) > 1 else "–"
        rows.append(
            f"| {stage.name} | {way} | {digits(statistics.median(rates))} {stage.unit} "
            f"({digits(rates[0])} to {digits(rates[-1])}) | {compared} |"
        )
    return rows


@contextlib.contextmanager
def _workplace() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


STAGES: dict[str, Callable[[argparse.Namespace, Path], Stage | None]] = {
    "prepare": lambda options, work: preparation(work, options.hours, options.speech),
    "spectrograms": lambda options, work: caching(work, 36_000),
    "training": lambda options, work: epochs(work, 160),
    "loading": lambda options, work: loading(work, 4000),
    "trials": lambda options, work: trials(work, 160),
    "products": lambda options, work: products(),
    "enhancement": lambda options, work: enhancing(120),
    "scoring": lambda options, work: scores(work, 200),
    "planning": lambda options, work: planning(work, 1000),
    "second": lambda options, work: second_run(),
}
"""By name, how each is made with the options in a folder of its own; None if it cannot be."""


def stages(options: argparse.Namespace, work: Path) -> Iterator[Stage]:
    """Those that are asked for, made when their turn comes."""
    for name in options.only or STAGES:
        stage = STAGES[name](options, work)
        if stage is not None:
            yield stage


_MARKS = ("<!-- measured: begin -->", "<!-- measured: end -->")


def write_into(path: Path, table: str) -> None:
    """Put the table between the marks of a document."""
    text = path.read_text(encoding="utf-8")
    head, rest = text.split(_MARKS[0])
    files.write_text(path, f"{head}{_MARKS[0]}\n{table}\n{_MARKS[1]}{rest.split(_MARKS[1])[1]}")


def main() -> None:
    """Measure stage after stage and print their table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="of each stage (default 5)")
    parser.add_argument("--only", nargs="+", metavar="STAGE", choices=STAGES,
                        help="of " + ", ".join(STAGES))  # fmt: skip
    parser.add_argument("--hours", type=float, default=20, help="of audio to prepare (default 20)")
    parser.add_argument("--speech", type=Path, help="a folder of FLAC recordings to prepare")
    parser.add_argument("--write", type=Path, metavar="FILE", help="a document with marks for it")
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    backend.start("tensorflow", threads=CORES)
    rows = [
        f"| stage | implementation | rate, {CORES} cores "
        "| speed relative to the first row of the stage |",
        "|---|---|---|---|",
    ]
    with _workplace() as work:
        for stage in stages(options, work):
            rows += measure(stage, options.rounds)
    table = "\n".join(rows)
    print(table)
    if options.write:
        write_into(options.write, table)


if __name__ == "__main__":
    main()
