"""Levels of a recording band by band, noisy, enhanced and clean, in speech and in pauses.

    python benchmarks/bands.py SPEECH.wav … [--snr 10] [--model best]

The recordings, of one rate such as 48 kHz, are put one after another with half a second of pause,
and pink noise is added (the SNR is over the active level of the speech, ITU-T P.56).  Debian's
package alsa-utils has eight short recordings of speech at 48 kHz in /usr/share/sounds/alsa.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from pathlib import Path

import numpy as np

import denoise
from denoise import audio

EDGES = (0, 0.1, 1, 2, 4, 8, 12, 16, 20, 24)
_FRAME_S = 0.03


def pink(samples: int, seed: int = 0) -> np.ndarray:
    """Noise of equal power in every octave [shape=(samples,)], RMS 1."""
    spectrum = np.fft.rfft(np.random.default_rng(seed).standard_normal(samples))
    spectrum[1:] /= np.sqrt(np.arange(1, len(spectrum)))
    spectrum[0] = 0
    noise = np.fft.irfft(spectrum, samples)
    return np.asarray(noise / np.sqrt(np.mean(noise**2)))


def levels(wave: np.ndarray, rate: int, chosen: np.ndarray) -> list[float]:
    """Levels in dB between `EDGES` in kHz over the chosen frames."""
    length = int(_FRAME_S * rate)
    frames = wave[: len(wave) // length * length].reshape(-1, length)[chosen]
    power = np.square(np.abs(np.fft.rfft(frames * np.hanning(length), axis=1))).mean(axis=0)
    frequencies = np.fft.rfftfreq(length, 1 / rate) / 1000
    found = []
    for low, high in itertools.pairwise(EDGES):
        inside = (frequencies >= low) & (frequencies < high)
        found.append(float(10 * np.log10(power[inside].sum() / length**2 + 1e-20)))
    return found


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("speech", nargs="+", type=Path)
    parser.add_argument("--snr", type=float, default=10)
    parser.add_argument("--model", default="best")
    options = parser.parse_args()
    parts, rates = [], set()
    for path in options.speech:
        wave, rate = denoise.read(path)
        rates.add(rate)
        parts += [wave if wave.ndim == 1 else wave[:, 0], np.zeros(rate // 2)]
    if len(rates) > 1:
        sys.exit(f"error: the recordings have several rates: {sorted(rates)}")
    (rate,) = rates
    clean = np.concatenate(parts)
    level, _ = audio.active_level(clean.astype(np.float32), rate)
    noisy = clean + level * 10 ** (-options.snr / 20) * pink(len(clean))
    enhanced = denoise.load(options.model).enhance(noisy, rate)
    length = int(_FRAME_S * rate)
    loud = np.square(clean[: len(clean) // length * length].reshape(-1, length)).mean(axis=1)
    speaking, pause = loud > (0.1 * level) ** 2, loud < (1e-3 * level) ** 2
    print(f"{len(clean) / rate:.1f} s at {rate} Hz, {options.snr:g} dB SNR, {options.model}")
    print("| kHz | speech: noisy | enhanced | clean | pauses: noisy | enhanced |")
    print("|---|---|---|---|---|---|")
    columns = [levels(one, rate, speaking) for one in (noisy, enhanced, clean)]
    columns += [levels(one, rate, pause) for one in (noisy, enhanced)]
    for number, (low, high) in enumerate(itertools.pairwise(EDGES)):
        if 2000 * low < rate:
            told = " | ".join(f"{column[number]:.1f}" for column in columns)
            print(f"| {low} to {high} | {told} |")


if __name__ == "__main__":
    main()
