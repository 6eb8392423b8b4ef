"""Short-time Fourier transforms of batches, also of odd lengths.

The STFT is that of Griffin & Lim, IEEE TASSP 32(2), 1984: a periodic Hann window, centred frames,
and the least-squares inverse.
"""

from __future__ import annotations

import functools

import numpy as np
import scipy.fft
from pydantic import Field, model_validator

from denoise.core.settings import Settings


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


@functools.lru_cache(8)
def hann(n_fft: int) -> np.ndarray:
    """The periodic Hann window [shape=(n_fft,)], float32."""
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
    frames = frames[:, :: settings.hop] * hann(settings.n_fft)
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
    window = hann(n_fft)
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
