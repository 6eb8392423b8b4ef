"""Measure the speed of the expensive steps on this machine: python benchmarks/speed.py

Prints medians and the range over rounds. Rounds of all measurements take turns, so that other
load on the machine falls on all of them alike and ratios can be trusted more than times.
"""

from __future__ import annotations

import argparse
import functools
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from denoise import backend, metrics
from denoise.config import Variant, make_plan
from denoise.enhancement import Enhancer
from denoise.features import Features, FeatureSettings
from denoise.parallel import ordered_map
from denoise.spectrogram import stft

ROOT = Path(__file__).parents[1]
RATE = 8000
WINDOW = 8064
RNG = np.random.default_rng(0)


def speech_like(samples: int) -> np.ndarray:
    """Noise bursts with the pace of syllables [shape=(samples,)], so that PESQ finds speech."""
    time_s = np.arange(samples) / RATE
    return (0.1 * RNG.standard_normal(samples) * np.maximum(0, np.sin(8 * time_s))).astype(
        np.float32
    )


def spectrograms(batch: int = 64) -> tuple[str, float, Callable[[], object]]:
    """Windows a second that become a network's input and target, on one core."""
    features = Features(FeatureSettings())
    clean = speech_like(batch * WINDOW).reshape(batch, WINDOW)
    noisy = clean + 0.05 * RNG.standard_normal(clean.shape).astype(np.float32)

    def run() -> object:
        mixed, speech = (stft(waves, features.settings.stft) for waves in (noisy, clean))
        zero = features.references(mixed)
        return features.encode_input(mixed, zero), features.encode_target(mixed, speech, zero)

    return "spectrograms, windows/s", batch, run


def _first_variant(preset: str) -> Variant:
    """The first variant of a preset as it stands, without its sweep."""
    plan = make_plan({"preset": preset, "sweep": {}}, ROOT / "presets")
    return next(iter(plan.variants.values()))


def training(
    preset: str, precision: str, steps: int = 4
) -> tuple[str, float, Callable[[], object]]:
    """Windows a second that train the network of a preset."""
    import keras

    from denoise import losses, models

    variant = _first_variant(preset)
    batch = variant.recipe.training.batch_size
    keras.config.set_dtype_policy(precision)
    model = models.build(variant.recipe.network, (128, 128, 1))
    keras.config.set_dtype_policy("float32")
    model.compile("adam", losses.LOSSES[str(variant.recipe.training.loss)])
    inputs = RNG.standard_normal((batch, 128, 128, 1)).astype(np.float32)

    def run() -> object:
        return [model.train_on_batch(inputs, inputs) for _ in range(steps)]

    return f"training {preset} in {precision}, windows/s", batch * steps, run


def enhancement(preset: str, seconds: int = 30) -> tuple[str, float, Callable[[], object]]:
    """Seconds of audio denoised in a second."""
    from denoise import models

    variant = _first_variant(preset)
    card = {**variant.training_params(0), "scales": {}}
    enhancer = Enhancer(models.build(variant.recipe.network, (128, 128, 1)), card)
    noisy = speech_like(seconds * RATE)
    return f"enhancement {preset}, x real time", seconds, functools.partial(enhancer.enhance, noisy)


def _score_one(seed: int) -> object:
    clean = speech_like(4 * RATE)
    noise = np.random.default_rng(seed).standard_normal(len(clean)).astype(np.float32)
    return metrics.score(clean, clean + 0.05 * noise, RATE)


def scoring(processes: int, count: int = 32) -> tuple[str, float, Callable[[], object]]:
    """Utterances of 4 s scored in a second."""

    def run() -> object:
        return list(
            ordered_map(_score_one, list(range(count)), processes=processes, label="score", chunk=4)
        )

    return f"scoring with {processes} process(es), utterances/s", count, run


def second_run() -> tuple[str, float, Callable[[], object]] | None:
    """Seconds of ``snakemake --cores 8 all`` with nothing to do, if a study was run here."""
    command = [str(Path(sys.executable).with_name("snakemake")), "--cores", "8", "all"]
    dry = subprocess.run([*command, "-n"], cwd=ROOT, capture_output=True, text=True)
    if "Nothing to be done" not in dry.stdout + dry.stderr:
        print("a second run is not measured: run `make run` first", file=sys.stderr)
        return None

    def run() -> object:
        return subprocess.run(command, cwd=ROOT, capture_output=True, check=True)

    return "snakemake with nothing to do, s", 0, run


def main() -> None:
    """Run all measurements in turns and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="of each measurement (default 5)")
    rounds = parser.parse_args().rounds
    backend.start("tensorflow", threads=os.cpu_count() or 1)
    presets = ("quickstart", "unet-huber-esc50")
    jobs = [spectrograms()]
    jobs += [training(name, kind) for name in presets for kind in ("float32", "mixed_bfloat16")]
    jobs += [enhancement(name) for name in presets]
    jobs += [scoring(processes) for processes in (1, os.cpu_count() or 1)]
    jobs += [job] if (job := second_run()) else []
    taken: dict[str, list[float]] = {name: [] for name, _, _ in jobs}
    for number in range(rounds + 1):
        for name, _, run in jobs:
            started = time.perf_counter()
            run()
            # The first round compiles and fills caches.
            if number:
                taken[name].append(time.perf_counter() - started)
        print(f"round {number} of {rounds}", file=sys.stderr)
    for name, items, _ in jobs:
        values = sorted(items / s if items else s for s in taken[name])
        print(f"{name:55} {statistics.median(values):9.3g}  ({values[0]:.3g} to {values[-1]:.3g})")


if __name__ == "__main__":
    main()
