"""From waveforms to a network's input and from its output back, in Keras operations, for losses on
the signal.

The same as `features.codec` and `features.stft` do with NumPy, but with gradients.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from denoise.features.codec import TURN, Features
from denoise.features.settings import CIRM_C, CIRM_K, FeatureSettings
from denoise.features.stft import StftSettings, hann

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
        return (_reference(settings, noisy) * _amplitude(level) / ops.maximum(seen, 1e-7),)

    def _level(self, scaled: Any, noisy: Any) -> Any:
        """Levels in dB of scaled values, as `features.Scale.undo` has them."""
        from keras import ops

        add, divide, low, high = _scale(self.features, "target", noisy)
        if np.isfinite(low):
            scaled = ops.clip(scaled, low, high)
        return scaled * divide - add


class Encoder:
    """What a network sees and should predict, from waveforms, as `Features` gives it."""

    def __init__(self, features: Features) -> None:
        self.features = features

    def input(self, noisy: Any) -> Any:
        """The input [shape=(batch, f, t, channels)] for `noisy` [shape=(batch, samples)]."""
        from keras import ops

        settings = self.features.settings
        spectrum = self._spectrum(noisy)
        size = magnitude(spectrum)
        seen = size[:, :, : settings.bins]
        if "compressed" in settings.input:
            level = ops.power(seen / _reference(settings, size), settings.compression)
        else:
            level = self._scaled("input", self._db(seen, size), size)
        channels = [level]
        if "complex" in settings.input or "phase" in settings.input:
            turned = [part[:, :, : settings.bins] / seen for part in spectrum]
            compressed = "compressed" in settings.input
            channels += [level * part if compressed else part for part in turned]
        return _channels(channels)

    def target(self, noisy: Any, clean: Any) -> Any:
        """The target [shape=(batch, f, t, channels)] for both [shape=(batch, samples)]."""
        from keras import ops

        settings = self.features.settings
        spectra = [self._spectrum(waves) for waves in (noisy, clean)]
        size = magnitude(spectra[0])
        seen, wanted = (magnitude(spectrum)[:, :, : settings.bins] for spectrum in spectra)
        if settings.target == "mask":
            return _channels([ops.minimum(wanted / seen, 1)])
        if "mask" in settings.target:
            (a, b), (c, d) = (
                tuple(part[:, :, : settings.bins] for part in spectrum) for spectrum in spectra
            )
            power = ops.square(seen)
            ratio = ((a * c + b * d) / power, (a * d - b * c) / power)
            if settings.target == "complex_mask":
                return _channels([CIRM_K * ops.tanh(CIRM_C / 2 * part) for part in ratio])
            length = ops.sqrt(ops.square(ratio[0]) + ops.square(ratio[1]))
            real, imaginary = (part / ops.maximum(length, 1e-10) for part in ratio)
            real = ops.where(length > 0, real, 1.0)
            mask = 2 * ops.minimum(length, 1) - 1
            return _channels([mask, ops.maximum(real, 0) - 1, imaginary])
        level = self._db(wanted, size)
        if settings.target == "noise":
            level = self._db(seen, size) - level
        return _channels([self._scaled("target", level, size)])

    def _spectrum(self, waves: Any) -> Spectrum:
        return stft(waves, self.features.settings.stft.n_fft, self.features.settings.stft.hop)

    def _db(self, size: Any, noisy: Any) -> Any:
        return _db(self.features.settings, size, noisy)

    def _scaled(self, side: str, level: Any, noisy: Any) -> Any:
        from keras import ops

        add, divide, low, high = _scale(self.features, side, noisy)
        scaled = (level + add) / divide
        return ops.clip(scaled, low, high) if np.isfinite(low) else scaled


def _channels(parts: list[Any]) -> Any:
    """Channels [shape=(batch, t, f)] as an input or target [shape=(batch, f, t, channels)]."""
    from keras import ops

    return ops.swapaxes(ops.stack(parts, axis=-1), 1, 2)


def _reference(settings: FeatureSettings, noisy: Any) -> Any:
    """Magnitude of 0 dB, from all magnitudes of the noisy window."""
    from keras import ops

    if settings.reference == "absolute":
        return settings.reference_magnitude
    return ops.maximum(ops.max(noisy, axis=(1, 2), keepdims=True), 1e-6)


def _db(settings: FeatureSettings, size: Any, noisy: Any) -> Any:
    """Levels of magnitudes in dB."""
    from keras import ops

    ratio = ops.maximum(size, 1e-10) / _reference(settings, noisy)
    return ops.maximum(20 * ops.log10(ratio), settings.floor_db)


def _scale(features: Features, side: str, noisy: Any) -> tuple[Any, Any, float, float]:
    """Add, divide and the ends of the scaling of a side, from all magnitudes of the window."""
    from keras import ops

    scale = features.scale(side)
    if scale is not None:
        return scale
    settings = features.settings
    levels = _db(settings, noisy[:, :, : settings.bins], noisy)
    lowest = ops.min(levels, axis=(1, 2), keepdims=True)
    highest = ops.max(levels, axis=(1, 2), keepdims=True)
    low, high = getattr(settings, f"{side}_scaling").range
    divide = ops.maximum(highest - lowest, 1e-3) / (high - low)
    if side == "target" and settings.target == "noise":
        lowest = 0.0
    return low * divide - lowest, divide, low, high


def _amplitude(level: Any) -> Any:
    """The magnitude ratio of levels in dB, limited to 60 dB so that gradients stay finite."""
    from keras import ops

    return ops.exp(np.log(10) / 20 * ops.clip(level, -200.0, 60.0))
