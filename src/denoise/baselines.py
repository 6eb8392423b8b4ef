"""What every network is compared with: no processing, a classical denoiser, and the oracle."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from denoise import files
from denoise.parallel import progress
from denoise.spectrogram import StftSettings, istft, stft

BASELINES = {
    "noisy": "the unprocessed input",
    "noisereduce": "spectral gating of the noisereduce library, stationary, prop_decrease 0.8",
    "oracle": "the ideal ratio mask, computed from the clean and noise signals: a ceiling",
}


def kind_of(name: str) -> str:
    """The leaderboard's ``kind`` of a method: variant, baseline or oracle."""
    if name == "oracle":
        return "oracle"
    return "baseline" if name in BASELINES else "variant"


def apply(name: str, noisy: np.ndarray, clean: np.ndarray, rate: int) -> np.ndarray:
    """Process `noisy` [shape=(samples,)] by the baseline called `name`; `clean` is for the oracle.

    The oracle is the ideal ratio mask ``sqrt(S^2 / (S^2 + N^2))`` with the noisy phase (Wang,
    Narayanan & Wang, IEEE/ACM TASLP 22(12), 2014) in frames of 32 ms.
    """
    if name == "noisy":
        return np.asarray(noisy)
    if name == "noisereduce":
        import noisereduce

        reduced = noisereduce.reduce_noise(y=noisy, sr=rate, stationary=True, prop_decrease=0.8)
        return reduced.astype(np.float32)
    settings = StftSettings(n_fft=int(0.032 * rate), hop=int(0.008 * rate))
    mixed, speech, noise = (
        stft(signal[None], settings) for signal in (noisy, clean, noisy - clean)
    )
    power = np.abs(speech) ** 2
    mask = np.sqrt(power / np.maximum(power + np.abs(noise) ** 2, 1e-12))
    return istft(mask * mixed, settings, len(noisy))[0]


def apply_to_test_set(name: str, test_set: Path, out_path: Path) -> None:
    """Write the baseline's output for a test set, packed like its ``noisy.npy``."""
    rate = files.read_json(test_set / "manifest.json")["rate"]
    table = files.read_table(test_set / "mixtures.csv")
    noisy, clean = (files.load_array(test_set / f"{side}.npy") for side in ("noisy", "clean"))
    with files.replacing(out_path) as temporary:
        pack = files.PackWriter(temporary)
        for start, length in progress(
            list(zip(table["offset"], table["samples"], strict=True)), name
        ):
            part = slice(start, start + length)
            pack.append(apply(name, noisy[part], clean[part], rate))
        pack.close()
