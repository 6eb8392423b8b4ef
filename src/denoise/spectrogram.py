"""Short-time Fourier transforms, and the spectrograms a network sees.

A *feature* setting says how a pair of waveforms becomes the input and target of a network, and how
its output becomes a waveform again.  Levels are in dB relative to a reference that noisy and
clean share: a reference of its own for each would lose the level between them.

The STFT is that of Griffin & Lim, IEEE TASSP 32(2), 1984: a periodic Hann window, centred frames,
and the least-squares inverse.
"""

from __future__ import annotations

import functools
from typing import Literal

import numpy as np
import scipy.fft
from pydantic import Field, model_validator

from denoise.settings import Settings

_TINY = 1e-10


class StftSettings(Settings):
    """The short-time Fourier transform."""

    n_fft: int = Field(255, ge=16, le=65_536)
    """Samples of a frame; odd lengths are allowed."""
    hop: int = Field(63, ge=1)
    """Samples between the starts of two frames."""

    @model_validator(mode="after")
    def _check(self) -> StftSettings:
        if self.hop > self.n_fft // 2:
            raise ValueError(
                f"hop {self.hop} must be between 1 and n_fft/2 = {self.n_fft // 2}: with longer "
                "hops a Hann window cannot be inverted"
            )
        return self


class AffineSettings(Settings):
    """A fixed scaling, ``(dB + add) / divide``."""

    add: float
    """dB added."""
    divide: float = Field(gt=0)
    """Divisor in dB."""


class FeatureSettings(Settings):
    """How waveforms become a network's input and target. Changing these caches and trains again."""

    stft: StftSettings = StftSettings()
    """The transform."""
    reference: Literal["window", "absolute"] = "window"
    """`window`: 0 dB is the largest magnitude of the noisy window, for noisy and clean alike;
    `absolute`: 0 dB is `reference_magnitude`."""
    reference_magnitude: float = Field(1.0, gt=0)
    """STFT magnitude of 0 dB with `reference: absolute`."""
    floor_db: float = Field(-80.0, lt=0, ge=-200)
    """Lower levels are raised to this."""
    target: Literal["noise", "clean"] = "noise"
    """`noise`: predict noisy dB - clean dB and subtract it; `clean`: predict the clean dB."""
    input_scaling: AffineSettings = AffineSettings(add=46, divide=50)
    """Scaling of the noisy dB."""
    target_scaling: AffineSettings = AffineSettings(add=-6, divide=82)
    """Scaling of the target dB."""
    dtype: Literal["float16", "float32"] = "float16"
    """Number format of the cache."""


@functools.lru_cache(8)
def _hann(n_fft: int) -> np.ndarray:
    phase = 2 * np.pi * np.arange(n_fft) / n_fft
    return (0.5 - 0.5 * np.cos(phase)).astype(np.float32)


def stft(waves: np.ndarray, settings: StftSettings) -> np.ndarray:
    """Centred STFT of a batch.

    Parameters
    ----------
    waves : np.ndarray [shape=(batch, samples)], float32

    Returns
    -------
    np.ndarray [shape=(batch, n_fft // 2 + 1, 1 + (samples + 2 (n_fft // 2) - n_fft) // hop)]
        Complex64; equals ``librosa.stft(center=True, pad_mode="constant")``.
    """
    half = settings.n_fft // 2
    padded = np.pad(np.asarray(waves, dtype=np.float32), ((0, 0), (half, half)))
    frames = np.lib.stride_tricks.sliding_window_view(padded, settings.n_fft, axis=1)
    frames = frames[:, :: settings.hop] * _hann(settings.n_fft)
    return np.swapaxes(scipy.fft.rfft(frames, axis=2), 1, 2)


def spectrogram_shape(samples: int, settings: StftSettings) -> tuple[int, int]:
    """Shape of the `stft` of one waveform.

    Parameters
    ----------
    samples : int
        Length of the waveform, at least ``n_fft % 2``: the shortest that fills a frame.

    Returns
    -------
    tuple of int
        Frequencies, ``n_fft // 2 + 1``, and frames.
    """
    half = settings.n_fft // 2
    return half + 1, 1 + (samples + 2 * half - settings.n_fft) // settings.hop


def istft(spectra: np.ndarray, settings: StftSettings, samples: int) -> np.ndarray:
    """Least-squares inverse of `stft`.

    Parameters
    ----------
    spectra : np.ndarray [shape=(batch, n_fft // 2 + 1, frames)], complex
    samples : int
        Length of the waveforms; samples that no frame reaches are zero.

    Returns
    -------
    np.ndarray [shape=(batch, samples)], float32
    """
    n_fft, hop = settings.n_fft, settings.hop
    window = _hann(n_fft)
    frames = scipy.fft.irfft(np.swapaxes(spectra, 1, 2), n=n_fft, axis=2).astype(np.float32)
    frames *= window
    count = frames.shape[1]
    length = max(n_fft + hop * (count - 1), samples + n_fft)
    waves = np.zeros((len(frames), length), np.float32)
    weight = np.zeros(length, np.float64)
    for number in range(count):
        start = number * hop
        waves[:, start : start + n_fft] += frames[:, number]
        weight[start : start + n_fft] += np.square(window, dtype=np.float64)
    waves /= np.where(weight > 1e-8, weight, 1.0).astype(np.float32)
    return waves[:, n_fft // 2 : n_fft // 2 + samples]


def _db(magnitude: np.ndarray, reference: np.ndarray, floor_db: float) -> np.ndarray:
    ratio = np.maximum(magnitude, _TINY) / reference
    return np.maximum(20 * np.log10(ratio), floor_db).astype(np.float32)


def reference(noisy: np.ndarray, settings: FeatureSettings) -> np.ndarray:
    """The magnitude of 0 dB of each window, from noisy magnitudes [shape=(batch, f, t)]."""
    if settings.reference == "absolute":
        return np.full((len(noisy), 1, 1), settings.reference_magnitude, np.float32)
    return np.maximum(noisy.max(axis=(1, 2), keepdims=True), 1e-6)


def encode_input(noisy: np.ndarray, settings: FeatureSettings) -> np.ndarray:
    """Network input [shape=(batch, f, t, 1)] from noisy magnitudes [shape=(batch, f, t)]."""
    level = _db(noisy, reference(noisy, settings), settings.floor_db)
    scaling = settings.input_scaling
    return ((level + scaling.add) / scaling.divide)[..., None]


def encode_target(noisy: np.ndarray, clean: np.ndarray, settings: FeatureSettings) -> np.ndarray:
    """Network target [shape=(batch, f, t, 1)] from magnitudes [shape=(batch, f, t)]."""
    zero = reference(noisy, settings)
    level = _db(clean, zero, settings.floor_db)
    if settings.target == "noise":
        level = _db(noisy, zero, settings.floor_db) - level
    scaling = settings.target_scaling
    return ((level + scaling.add) / scaling.divide)[..., None]


def decode(output: np.ndarray, noisy: np.ndarray, settings: FeatureSettings) -> np.ndarray:
    """Estimated clean magnitudes [shape=(batch, f, t)] from the network's output.

    Parameters
    ----------
    output : np.ndarray [shape=(batch, f, t, 1)]
    noisy : np.ndarray [shape=(batch, f, t)]
        Noisy magnitudes.
    """
    scaling = settings.target_scaling
    level = output[..., 0].astype(np.float32) * scaling.divide - scaling.add
    if settings.target == "noise":
        # Subtracting in dB scales the magnitude itself, so its level needs no reference.
        return noisy * np.power(np.float32(10), -level / 20)
    return reference(noisy, settings) * np.power(np.float32(10), level / 20)
