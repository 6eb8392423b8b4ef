"""What a model costs: parameters, operations, training, and the time it takes on one core.

    python benchmarks/cost.py best stream
    python benchmarks/cost.py best stream --baselines rnnoise webrtc deepfilternet3
    python benchmarks/cost.py stream --soak 3600
    python benchmarks/cost.py best --recording 0.1 1 5

Operations are multiply-accumulate operations (MACs) of the convolutions and dense layers in a
second of audio. RTF is the computing time divided by the duration, measured on the second pass over
a minute of audio. A causal model is also timed block by block, as `denoise stream` runs it;
`--soak` does so for that many seconds of audio and prints the memory of the process meanwhile.
`--baselines` times other methods on the same minute of 16 kHz, with the resampling that they need.
`--recording` runs `denoise enhance` on recordings of so many hours and prints its peak memory.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil

from denoise import audio
from denoise.api import find_model
from denoise.enhancement.enhancer import Enhancer
from denoise.enhancement.live import Times
from denoise.enhancement.stream import Stream
from denoise.evaluation.baselines import apply_baseline
from denoise.networks import backend, runtimes


def noise(seconds: float, rate: int) -> np.ndarray:
    """What the models are timed on [shape=(samples,)]; what it is does not matter."""
    samples = round(seconds * rate)
    return (0.1 * np.random.default_rng(0).standard_normal(samples)).astype(np.float32)


def time_of_blocks(stream: Stream, seconds: float, *, watch: bool = False) -> Times:
    """The times of blocks of a hop over so many seconds of audio."""
    stream.warm_up()
    times, wave = Times(), noise(60, stream.rate)
    process = psutil.Process()
    blocks = round(seconds * stream.rate / stream.hop)
    for number in range(blocks):
        start = number * stream.hop % (len(wave) - stream.hop)
        started = time.perf_counter()
        stream.process(wave[start : start + stream.hop])
        times.add(time.perf_counter() - started)
        if watch and (number + 1) % max(1, blocks // 12) == 0:
            done = (number + 1) * stream.hop / stream.rate
            print(f"{done:7.0f} s of audio: {process.memory_info().rss / 1e6:.1f} MB", flush=True)
    return times


def of_recording(name: str, hours: float, channels: int = 1) -> dict[str, Any]:
    """Time and the most memory of `denoise enhance` on a recording of 16 kHz and 16 bits."""
    rate, seconds = 16_000, round(hours * 3600)
    with tempfile.TemporaryDirectory() as folder:
        path, part = Path(folder) / "long.wav", noise(1, rate)[:, None].repeat(channels, axis=1)
        with audio.writing(path, rate, (seconds * rate, channels)) as put:
            for _ in range(seconds):
                put(part)
        started, most = time.perf_counter(), 0
        command = [sys.executable, "-m", "denoise.cli", "enhance", str(path), "--model", name]
        process = psutil.Popen(command, stderr=subprocess.DEVNULL)
        while process.poll() is None:
            with contextlib.suppress(psutil.NoSuchProcess):
                most = max(most, process.memory_info().rss)
            time.sleep(0.2)
        if process.returncode:
            raise SystemExit(f"{' '.join(command)} failed")
        elapsed = time.perf_counter() - started
        made = audio.Recording(path.with_name("long.enhanced.wav"))
        assert made.samples == seconds * rate
    return {"model": name, "hours": hours, "most memory MB": most / 1e6, "min": elapsed / 60,
            "RTF": elapsed / seconds}  # fmt: skip


def rtf(enhance: Callable[[np.ndarray], Any], rate: int) -> float:
    """Computing time over duration for a minute of noise at `rate` in Hz, after a first run."""
    wave = noise(60, rate)
    enhance(wave)
    started = time.perf_counter()
    enhance(wave)
    return (time.perf_counter() - started) / 60


def cost(name: str, runtime: runtimes.Name) -> dict[str, Any]:
    """A row of the table."""
    enhancer = Enhancer.load(find_model(name), runtime=runtime, threads=1)
    row = {
        "model": name,
        "runtime": runtime,
        "parameters": enhancer.card.parameters,
        "GMAC/s": (enhancer.macs_a_second() or float("nan")) / 1e9,
        "RTF": rtf(enhancer.enhance, enhancer.rate),
        "training min": enhancer.card.wall_time_s / 60,
    }
    if enhancer.card.causal:
        stream = enhancer.stream()
        times = time_of_blocks(stream, 60)
        row |= {
            "block ms": 1000 * stream.hop / enhancer.rate,
            "median ms": 1000 * times.quantile(0.5),
            "99 % ms": 1000 * times.quantile(0.99),
        }
    return row


def cost_of_baseline(name: str) -> dict[str, Any]:
    """The RTF of a method of another library, at 16 kHz."""
    rate = 16_000
    return {"model": name, "RTF": rtf(lambda wave: apply_baseline(name, wave, wave, rate), rate)}


def main() -> None:
    """Print the table, or soak a stream."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("models", nargs="+", help="models, or their folders")
    parser.add_argument("--soak", type=float, metavar="SECONDS", help="of audio, block by block")
    parser.add_argument("--recording", type=float, nargs="+", metavar="HOURS", help="whole files")
    parser.add_argument("--runtimes", nargs="+", default=["onnx", "keras"], choices=runtimes.NAMES)
    parser.add_argument("--baselines", nargs="+", default=[], help="other methods to time")
    options = parser.parse_args()
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    backend.start("tensorflow", threads=1, deterministic=False)
    if options.soak:
        stream = Enhancer.load(find_model(options.models[0]), threads=1).stream()
        times = time_of_blocks(stream, options.soak, watch=True)
        print(times.summary(stream.hop / stream.rate))
        return
    if options.recording:
        rows = [of_recording(name, hours) for name in options.models for hours in options.recording]
    else:
        rows = [cost(name, which) for name in options.models for which in options.runtimes]
        rows += [cost_of_baseline(name) for name in options.baselines]
    print(pd.DataFrame(rows).round(4).to_string(index=False, na_rep="–"))


if __name__ == "__main__":
    main()
