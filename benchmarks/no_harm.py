"""What a model does to audio that it should leave alone.

    python benchmarks/no_harm.py --model best --test-set results/test_sets/common-…

Clean speech of a test set should come out as it went in, faintly noisy speech no less
intelligible, and music, tones, silence and clipped speech without anything louder than the input.
"Treble" is the output level above a quarter of the sample rate relative to the clean speech: a
network that was trained on one corpus only may take the high frequencies of another for noise.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from denoise.api import find_model
from denoise.core import files
from denoise.core.arrays import load_array
from denoise.core.tables import read_table
from denoise.enhancement.enhancer import Enhancer
from denoise.metrics.pesq import pesq
from denoise.metrics.sdr import si_sdr
from denoise.metrics.stoi import stoi_and_estoi
from denoise.mixing.effects import shaped_noise
from denoise.networks import backend

_FRAME_S = 0.02
_SNRS = (15, 20)


def louder(before: np.ndarray, after: np.ndarray, rate: int) -> float:
    """By how many dB, at most, a frame of 20 ms of the output is above the loudest of the input
    within a frame of it; frames 80 dB below full scale are left out."""
    size = int(_FRAME_S * rate)
    frames = [
        np.sqrt(np.mean(np.square(wave[: len(wave) // size * size].reshape(-1, size)), axis=1))
        for wave in (before, after)
    ]
    around = np.max([np.roll(frames[0], shift) for shift in (-1, 0, 1)], axis=0)
    heard = frames[1] > 1e-4
    if not heard.any():
        return float("-inf")
    return float(np.max(20 * np.log10(frames[1][heard] / np.maximum(around[heard], 1e-9))))


def treble(clean: np.ndarray, found: np.ndarray) -> float:
    """Level of `found` over `clean` [shape=(samples,)] in dB, in the upper half of the spectrum."""
    powers = [np.square(np.abs(np.fft.rfft(wave))) for wave in (found, clean)]
    upper = [float(power[len(power) // 2 :].sum()) for power in powers]
    return 10 * float(np.log10(max(upper[0], 1e-12) / max(upper[1], 1e-12)))


def chords(seconds: float, rate: int) -> np.ndarray:
    """Plucked major and minor chords with eight harmonics [shape=(samples,)]."""
    rng = np.random.default_rng(0)
    time = np.arange(int(seconds * rate)) / rate
    wave = np.zeros_like(time)
    for start in np.arange(0, seconds, 0.5):
        root = 110 * 2 ** (rng.integers(0, 24) / 12)
        for interval in (0, rng.choice([3, 4]), 7, 12):
            note = root * 2 ** (interval / 12)
            local = np.maximum(time - start, 0)
            decay = np.exp(-3 * local) * (time >= start)
            for harmonic in range(1, 9):
                if harmonic * note < rate / 2:
                    wave += decay * np.sin(2 * np.pi * harmonic * note * local) / harmonic
    return (0.3 * wave / np.abs(wave).max()).astype(np.float32)


def signals(rate: int, speech: np.ndarray) -> dict[str, np.ndarray]:
    """What is no speech in noise, by name."""
    time = np.arange(5 * rate) / rate
    return {
        "silence": np.zeros(5 * rate, np.float32),
        "dither": (1e-5 * np.random.default_rng(0).standard_normal(5 * rate)).astype(np.float32),
        "tone of 440 Hz": (0.3 * np.sin(2 * np.pi * 440 * time)).astype(np.float32),
        "tone of 3 kHz": (0.3 * np.sin(2 * np.pi * 3000 * time)).astype(np.float32),
        "chords": chords(5, rate),
        "clipped speech": np.clip(8 * speech, -0.5, 0.5).astype(np.float32),
        "click": np.eye(1, 5 * rate, 2 * rate, dtype=np.float32)[0],
    }


def harm(model: Path, test_set: Path, utterances: int) -> pd.DataFrame:
    """The means over clean and faintly noisy speech, and the largest rise of level elsewhere."""
    enhancer = Enhancer.load(model)
    rate = enhancer.rate
    if files.read_json(test_set / "manifest.json")["rate"] != rate:
        raise SystemExit(f"{test_set} has another rate than the {rate} Hz of {model}")
    table = read_table(test_set / "mixtures.csv").drop_duplicates("recording")[:utterances]
    pack = load_array(test_set / "clean.npy")
    cleans = [
        np.array(pack[start : start + length])
        for start, length in zip(table["offset"], table["samples"], strict=True)
    ]
    rows = []
    measures: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
        "PESQ-WB": lambda clean, found: pesq(clean, found, rate, "wb"),
        "STOI": lambda clean, found: stoi_and_estoi(clean, found, rate)[0],
        "SI-SDR": si_sdr,
    }
    for snr in (None, *_SNRS):
        scores = []
        for number, clean in enumerate(cleans):
            noisy = clean
            if snr is not None:
                noise = shaped_noise(len(clean), rate, np.random.default_rng(number))
                level = np.sqrt(np.mean(np.square(clean)))
                noisy = (clean + level * 10 ** (-snr / 20) * noise).astype(np.float32)
            found = enhancer.enhance(noisy)
            score = {name: measure(clean, found) for name, measure in measures.items()}
            if snr is not None:
                score |= {
                    f"{name} before": measure(clean, noisy) for name, measure in measures.items()
                }
            score["treble (dB)"] = treble(clean, found)
            score["louder by (dB)"] = louder(noisy, found, rate)
            scores.append(score)
        means = pd.DataFrame(scores).mean().to_dict()
        means["louder by (dB)"] = max(score["louder by (dB)"] for score in scores)
        name = "clean speech" if snr is None else f"speech at {snr} dB SNR"
        rows.append({"input": name, **means})
    for name, wave in signals(rate, cleans[0]).items():
        rows.append({"input": name, "louder by (dB)": louder(wave, enhancer.enhance(wave), rate)})
    return pd.DataFrame(rows)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", default="best", help="a model or its folder")
    parser.add_argument("--test-set", type=Path, required=True, help="folder in results/test_sets")
    parser.add_argument("--utterances", type=int, default=20)
    options = parser.parse_args()
    backend.start("tensorflow")
    table = harm(find_model(options.model), options.test_set, options.utterances)
    print(table.round(3).to_string(index=False, na_rep="–"))


if __name__ == "__main__":
    main()
