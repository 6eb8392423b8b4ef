"""Mixtures and their spectrograms, a window at a time, all kept in memory."""

from __future__ import annotations

from pathlib import Path

import librosa
import numpy as np


def spectrogram(wave: np.ndarray, n_fft: int, hop: int) -> np.ndarray:
    """Levels in dB below the loudest bin, from -1 to 1 [shape=(frequencies, frames)]."""
    magnitude = np.abs(librosa.stft(wave, n_fft=n_fft, hop_length=hop))
    return librosa.amplitude_to_db(magnitude, ref=np.max) / 40 + 1


def write(
    sources: tuple[np.ndarray, np.ndarray],
    count: int,
    window: int,
    stft: tuple[int, int],
    out: Path,
) -> None:
    """Mix `count` windows of speech and noise at -5 to 15 dB SNR and write inputs and targets."""
    rng = np.random.default_rng(0)
    inputs, targets = [], []
    for _ in range(count):
        start, other = (int(rng.integers(len(wave) - window)) for wave in sources)
        clean = sources[0][start : start + window]
        disturbance = sources[1][other : other + window]
        level, loudness = (np.sqrt(np.mean(np.square(wave))) for wave in (clean, disturbance))
        gain = level / max(loudness, 1e-9) * 10 ** (-rng.uniform(-5, 15) / 20)
        inputs.append(spectrogram(clean + gain * disturbance, *stft))
        targets.append(spectrogram(clean, *stft))
    np.save(out / "input.npy", np.array(inputs, np.float32)[..., None])
    np.save(out / "target.npy", np.array(targets, np.float32)[..., None])
