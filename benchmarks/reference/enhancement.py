"""Enhancement, a window at a time."""

from __future__ import annotations

from typing import Any

import librosa
import numpy as np


def enhance(model: Any, noisy: np.ndarray, window: int, n_fft: int, hop: int) -> np.ndarray:
    """Predict the levels of each window, and give them the phase of the noisy one."""
    parts = []
    for start in range(0, len(noisy) - window + 1, window):
        spectrum = librosa.stft(noisy[start : start + window], n_fft=n_fft, hop_length=hop)
        magnitude = np.abs(spectrum)
        peak = magnitude.max()
        levels = librosa.amplitude_to_db(magnitude, ref=np.max) / 40 + 1
        shape = model.input_shape[1:3]
        fitted = levels[: shape[0], : shape[1]]
        found = model.predict(fitted[None, ..., None], verbose=0)[0, ..., 0]
        made = np.zeros_like(levels)
        made[: shape[0], : shape[1]] = peak * librosa.db_to_amplitude((found - 1) * 40)
        phase = np.exp(1j * np.angle(spectrum))
        parts.append(librosa.istft(made * phase, n_fft=n_fft, hop_length=hop, length=window))
    return np.concatenate(parts)
