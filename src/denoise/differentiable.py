"""Decoding a network's output to a waveform in Keras operations, for losses on the signal.

The same as `denoise.features` and `denoise.spectrogram` do with NumPy, but with gradients.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from denoise.features import CIRM_C, CIRM_K, TURN, Features
from denoise.spectrogram import StftSettings, hann

_TINY = 1e-8
Spectrum = tuple[Any, Any]
"""Real and imaginary part [shape=(batch, frames, frequencies)]."""


def stft(waves: Any, n_fft: int, hop: int) -> Spectrum:
    """`spectrogram.stft` of waves [shape=(batch, samples)], with frames before frequencies."""
    from keras import ops

    half = n_fft // 2
    padded = ops.pad(waves, ((0, 0), (half, half)))
    # By name, TensorFlow's window would be symmetric for odd lengths.
    real, imaginary = ops.stft(padded, n_fft, hop, n_fft, window=hann(n_fft), center=False)
    return real, imaginary


def magnitude(spectrum: Spectrum) -> Any:
    """Magnitudes; those near zero keep a gradient."""
    from keras import ops

    real, imaginary = spectrum
    return ops.sqrt(ops.square(real) + ops.square(imaginary) + _TINY**2)


class Decoder:
    """Waveforms from a network's outputs and the noisy waveforms they belong to."""

    def __init__(self, features: Features, samples: int) -> None:
        self.features, self.samples = features, samples
        self.stft_settings: StftSettings = features.settings.stft

    @functools.cached_property
    def _weights(self) -> np.ndarray:
        """What the backend's inverse lacks of the least-squares one, at the ends of a window.

        Some backends divide by the sum of squared windows that holds in the middle.  Samples that
        frames hardly reach are not amplified further: their errors would rule the loss.
        """
        ones = np.ones((1, self.samples), np.float32)
        return 1 / np.maximum(np.asarray(self._invert(self._spectrum(ones))), 0.1)

    def _spectrum(self, waves: Any) -> Spectrum:
        return stft(waves, self.stft_settings.n_fft, self.stft_settings.hop)

    def _invert(self, spectrum: Spectrum) -> Any:
        from keras import ops

        n_fft, hop = self.stft_settings.n_fft, self.stft_settings.hop
        return ops.istft(spectrum, n_fft, hop, n_fft, self.samples, window=hann(n_fft), center=True)

    def prepare(self) -> None:
        """Compute what is constant, outside of any compiled step."""
        _ = self._weights

    def __call__(self, output: Any, noisy: Any) -> Any:
        """Enhanced waves [shape=(batch, samples)].

        Parameters
        ----------
        output : [shape=(batch, f, t, channels)]
        noisy : [shape=(batch, samples)]
        """
        from keras import ops

        real, imaginary = self._spectrum(noisy)
        gain = self._gain(ops.cast(output, "float32"), magnitude((real, imaginary)))
        unseen = real.shape[2] - gain[0].shape[2]
        if unseen:
            gain = tuple(
                ops.concatenate([part, ops.repeat(part[:, :, -1:], unseen, axis=2)], axis=2)
                for part in gain
            )
        if len(gain) == 1:
            estimate = (gain[0] * real, gain[0] * imaginary)
        else:
            estimate = (
                gain[0] * real - gain[1] * imaginary,
                gain[0] * imaginary + gain[1] * real,
            )
        return self._invert(estimate) * self._weights

    def _gain(self, output: Any, noisy: Any) -> tuple[Any, ...]:
        """The real factor, or the real and the imaginary part of it [shape=(batch, t, f)]."""
        from keras import ops

        settings = self.features.settings
        channels = [ops.swapaxes(output[..., k], 1, 2) for k in range(output.shape[-1])]
        if settings.target == "mask":
            return (ops.clip(channels[0], 0, 1),)
        if settings.target == "complex_mask":
            inside = [ops.clip(channel / CIRM_K, -0.9999, 0.9999) for channel in channels]
            # 2 atanh(x) = log((1 + x) / (1 - x))
            return tuple(ops.log((1 + x) / (1 - x)) / CIRM_C for x in inside)
        if settings.target == "mask_and_phase":
            size, real, imaginary = (ops.clip(channel, -1, 1) for channel in channels)
            turn = ops.sqrt(ops.square(1 + real) + ops.square(imaginary) + 1e-12)
            gain = (size + 1) / 2 / ops.maximum(turn, TURN)
            return gain * (1 + real), gain * imaginary
        level = self._level(channels[0], noisy)
        if settings.target == "noise":
            return (_amplitude(-level),)
        seen = noisy[:, :, : settings.bins]
        return (self._reference(noisy) * _amplitude(level) / ops.maximum(seen, 1e-7),)

    def _reference(self, noisy: Any) -> Any:
        from keras import ops

        settings = self.features.settings
        if settings.reference == "absolute":
            return settings.reference_magnitude
        return ops.maximum(ops.max(noisy, axis=(1, 2), keepdims=True), 1e-6)

    def _level(self, scaled: Any, noisy: Any) -> Any:
        """Levels in dB of scaled values, as `features.Scale.undo` has them."""
        from keras import ops

        scale = self.features.scale("target")
        if scale is not None:
            add, divide, low, high = scale
        else:
            settings = self.features.settings
            ratio = noisy[:, :, : settings.bins] / self._reference(noisy)
            levels = ops.maximum(20 * ops.log10(ops.maximum(ratio, 1e-10)), settings.floor_db)
            lowest = ops.min(levels, axis=(1, 2), keepdims=True)
            highest = ops.max(levels, axis=(1, 2), keepdims=True)
            low, high = settings.target_scaling.range
            divide = ops.maximum(highest - lowest, 1e-3) / (high - low)
            add = low * divide - (0.0 if settings.target == "noise" else lowest)
        if np.isfinite(low):
            scaled = ops.clip(scaled, low, high)
        return scaled * divide - add


def _amplitude(level: Any) -> Any:
    """The magnitude ratio of levels in dB, limited to 60 dB so that gradients stay finite."""
    from keras import ops

    return ops.exp(np.log(10) / 20 * ops.clip(level, -200.0, 60.0))
