"""From waveforms to a network's input and from its output back, in Keras operations.

Losses on the waveform send their gradients this way.  The arithmetic is that of `features.codec`.
"""

from __future__ import annotations

import contextlib
import contextvars
import functools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from denoise.features.codec import Codec, Spectrum
from denoise.features.stft import hann

_TINY = 1e-8
Transform = tuple[Any, Any]
"""Real and imaginary part [shape=(batch, frames, frequencies)]."""
_known: contextvars.ContextVar[dict[tuple[Any, ...], Any] | None] = contextvars.ContextVar(
    "known", default=None
)


@contextlib.contextmanager
def shared_transforms() -> Iterator[None]:
    """Within the block, what is marked with `once_for_all_losses` is computed once for the same
    arguments: TensorFlow does not see by itself that two losses compute the same spectrum."""
    token = _known.set({})
    try:
        yield
    finally:
        _known.reset(token)


def once_for_all_losses(function: Callable[..., Any]) -> Callable[..., Any]:
    """Mark a function of tensors and numbers for `shared_transforms`."""

    @functools.wraps(function)
    def compute(waves: Any, *numbers: int) -> Any:
        known = _known.get()
        if known is None:
            return function(waves, *numbers)
        # The tensor is kept too, so that no other can get its identity.
        key = (function, id(waves), *numbers)
        if key not in known:
            known[key] = waves, function(waves, *numbers)
        return known[key][1]

    return compute


@once_for_all_losses
def stft(waves: Any, n_fft: int, hop: int) -> Transform:
    """`features.stft.stft` of waves [shape=(batch, samples)], with frames before frequencies."""
    from keras import ops

    half = n_fft // 2
    padded = ops.pad(waves, ((0, 0), (half, half)))
    # By name, TensorFlow's window would be symmetric for odd lengths.
    real, imaginary = ops.stft(padded, n_fft, hop, n_fft, window=hann(n_fft), center=False)
    return real, imaginary


def magnitude(transform: Transform) -> Any:
    """Magnitudes; those near zero keep a gradient."""
    from keras import ops

    real, imaginary = transform
    return ops.sqrt(ops.square(real) + ops.square(imaginary) + _TINY**2)


class WaveformCodec(Codec):
    """The codec on tensors, from waveforms and back.

    Parameters
    ----------
    features
        Settings and scales.
    samples
        Length of the waveforms.
    """

    tiny = 1e-7  # larger than for NumPy: gradients are divided by its square

    def __init__(self, features: Codec, samples: int) -> None:
        from keras import ops

        self.xp = ops
        super().__init__(features.settings, features.scales)
        self.samples = samples

    def amplitude(self, level: Any) -> Any:
        """Amplitude, limited to 60 dB so that gradients stay finite."""
        return self.xp.exp(np.log(10) / 20 * self.xp.clip(level, -200.0, 60.0))

    def length(self, real: Any, imag: Any) -> Any:
        """Length of a vector; above zero, so that it has a gradient."""
        return self.xp.sqrt(self.xp.square(real) + self.xp.square(imag) + 1e-12)

    def _spectrum(self, waves: Any) -> Spectrum:
        transform = stft(waves, self.settings.stft.n_fft, self.settings.stft.hop)
        parts = (*transform, magnitude(transform))
        return Spectrum(*(self.xp.swapaxes(part, 1, 2) for part in parts))

    def _invert(self, real: Any, imag: Any) -> Any:
        n_fft, hop = self.settings.stft.n_fft, self.settings.stft.hop
        spectrum = tuple(self.xp.swapaxes(part, 1, 2) for part in (real, imag))
        window = hann(n_fft)
        return self.xp.istft(spectrum, n_fft, hop, n_fft, self.samples, window=window, center=True)

    @functools.cached_property
    def _weights(self) -> np.ndarray:
        """What the backend's inverse lacks of the least-squares one, at the ends of a window.

        Some backends divide by the sum of squared windows that holds in the middle.  Samples that
        frames hardly reach are not amplified further: their errors would rule the loss.
        """
        ones = self._spectrum(np.ones((1, self.samples), np.float32))
        return 1 / np.maximum(self.xp.convert_to_numpy(self._invert(ones.real, ones.imag)), 0.1)

    def prepare(self) -> None:
        """Compute the constants, outside of any compiled step."""
        _ = self._weights

    def input(self, noisy: Any) -> Any:
        """The input [shape=(batch, f, t, channels)] for `noisy` [shape=(batch, samples)]."""
        spectrum = self._spectrum(noisy)
        return self.encoded_input(spectrum, self.reference(spectrum))

    def target(self, noisy: Any, clean: Any) -> Any:
        """The target [shape=(batch, f, t, channels)] for both [shape=(batch, samples)]."""
        mixed, wanted = self._spectrum(noisy), self._spectrum(clean)
        return self.encoded_target(mixed, wanted, self.reference(mixed))

    def decode(self, output: Any, noisy: Any) -> Any:
        """Enhanced waves [shape=(batch, samples)].

        Parameters
        ----------
        output : [shape=(batch, f, t, channels)]
        noisy : [shape=(batch, samples)]
        """
        mixed = self._spectrum(noisy)
        gain = self.gain(self.xp.cast(output, "float32"), mixed, self.reference(mixed))
        real, imag = gain[0] * mixed.real, gain[0] * mixed.imag
        if len(gain) == 2:
            real, imag = real - gain[1] * mixed.imag, imag + gain[1] * mixed.real
        return self._invert(real, imag) * self.xp.convert_to_tensor(self._weights)
