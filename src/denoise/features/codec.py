"""What a network sees and predicts, and how its output becomes a spectrum again.

Levels are in dB relative to a reference that noisy and clean share: a reference of its own for each
would lose the level between them.

The arithmetic is written once, in `Codec`, for NumPy (`Features`) and for the tensors of Keras
(`training.waveform`), through which gradients flow.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from denoise import audio
from denoise.features.scaling import Scale, between
from denoise.features.settings import CIRM_C, CIRM_K, PHASED, FeatureSettings, ScalingSettings
from denoise.features.stft import stft

_CHUNK = 1 << 20  # samples
_FAINTEST = 1e-6  # magnitude that may be 0 dB
_SHORTEST = 1e-3
"""Shorter sums of 1 and a predicted phase correction are not normalised to length 1."""


class Spectrum(NamedTuple):
    """Spectra [shape=(batch, f, t)]; all three parts are real."""

    real: Any
    imag: Any
    size: Any
    """Magnitude."""

    def lowest(self, bins: int | None) -> Spectrum:
        """The lowest frequencies, which are the input of the network."""
        return Spectrum(*(part[:, :bins] for part in self))


class Codec:
    """Encodes spectra for a network and decodes its output.

    Parameters
    ----------
    settings
        What to encode and how.
    scales
        ``input`` and ``target`` → (add, divide) of the scalings that were measured on the training
        windows; see `scaling.measured_scales`.
    """

    xp: Any
    """The namespace of array functions: ``numpy``, or ``keras.ops``."""
    tiny = 1e-10
    """Smallest magnitude used as a divisor."""

    def __init__(
        self, settings: FeatureSettings, scales: Mapping[str, Sequence[float]] | None = None
    ) -> None:
        self.settings, self.scales = settings, dict(scales or {})
        self._scales: dict[str, Scale | None] = {}
        for side in ("input", "target"):
            scaling: ScalingSettings = getattr(settings, f"{side}_scaling")
            if scaling.kind == "affine":
                self._scales[side] = Scale(scaling.add, scaling.divide)
            elif scales and side in scales:
                add, divide = scales[side]
                self._scales[side] = Scale(add, divide, *scaling.bounds)
            else:
                self._scales[side] = None

    # What the backends compute in ways of their own

    def decibels(self, size: Any, reference: Any) -> Any:
        """Levels of magnitudes in dB, at least the floor; `size` may be overwritten."""
        ratio = self.xp.maximum(size, self.tiny) / reference
        return self.xp.maximum(20 * self.xp.log10(ratio), self.settings.floor_db)

    def amplitude(self, level: Any) -> Any:
        """The magnitude ratio of levels in dB."""
        return self.xp.power(np.float32(10), level / 20)

    def length(self, real: Any, imag: Any) -> Any:
        """The magnitude of complex numbers."""
        return self.xp.sqrt(self.xp.square(real) + self.xp.square(imag))

    # Encoding

    def reference(self, noisy: Spectrum) -> Any:
        """The magnitude that is 0 dB for each window [shape=(batch, 1, 1)], or a number."""
        if self.settings.reference == "absolute":
            return np.float32(self.settings.reference_magnitude)
        return self.xp.maximum(self.xp.max(noisy.size, axis=(1, 2), keepdims=True), _FAINTEST)

    def encoded_input(self, noisy: Spectrum, reference: Any, levels: Any = None) -> Any:
        """Network input [shape=(batch, f, t, channels)].

        Parameters
        ----------
        levels
            Those of `noisy` in dB, if they are known.
        """
        seen = noisy.lowest(self.settings.bins)
        compressed = "compressed" in self.settings.input
        if compressed:
            size = self.xp.power(seen.size / reference, self.settings.compression)
        else:
            levels = self.decibels(seen.size + 0, reference) if levels is None else levels
            size = self.scale_for("input", levels).apply(levels, self.xp)
        if self.settings.input not in PHASED:
            return size[..., None]
        phase = [part / self.xp.maximum(seen.size, self.tiny) for part in (seen.real, seen.imag)]
        parts = [size * part for part in phase] if compressed else phase
        return self.xp.stack([size, *parts], axis=-1)

    def encoded_target(
        self, noisy: Spectrum, clean: Spectrum, reference: Any, levels: Any = None
    ) -> Any:
        """Network target [shape=(batch, f, t, channels)]; arguments as for `encoded_input`."""
        seen, wanted = (one.lowest(self.settings.bins) for one in (noisy, clean))
        if "mask" in self.settings.target:
            return self.xp.stack(self._mask(seen, wanted), axis=-1)
        levels = self.decibels(seen.size + 0, reference) if levels is None else levels
        target = self.decibels(wanted.size + 0, reference)
        if self.settings.target == "noise":
            target = levels - target
        return self.scale_for("target", levels).apply(target, self.xp)[..., None]

    def _mask(self, seen: Spectrum, wanted: Spectrum) -> list[Any]:
        xp = self.xp
        if self.settings.target == "mask":
            return [xp.minimum(wanted.size / xp.maximum(seen.size, self.tiny), 1)]
        # The complex ratio of clean and noisy.
        power = xp.maximum(xp.square(seen.size), self.tiny**2)
        real = (wanted.real * seen.real + wanted.imag * seen.imag) / power
        imag = (wanted.imag * seen.real - wanted.real * seen.imag) / power
        if self.settings.target == "complex_mask":
            # K (1 - exp(-C x)) / (1 + exp(-C x))
            return [CIRM_K * xp.tanh(CIRM_C / 2 * part) for part in (real, imag)]
        size = self.length(real, imag)
        divisor = xp.maximum(size, self.tiny)
        cosine = xp.where(size > 0, real / divisor, 1.0)
        return [2 * xp.minimum(size, 1) - 1, xp.maximum(cosine, 0) - 1, imag / divisor]

    def scale(self, side: str) -> Scale | None:
        """The scale of ``input`` or ``target``; None if every example has its own."""
        return self._scales[side]

    def scale_for(self, side: str, noisy_levels: Any) -> Scale:
        """The scale of a side for examples with these levels [shape=(batch, f, t)] in dB."""
        known = self.scale(side)
        if known is not None:
            return known
        scaling: ScalingSettings = getattr(self.settings, f"{side}_scaling")
        if scaling.kind != "example_min_max":
            raise ValueError(f"the {side} scaling {scaling.kind} was not measured")
        lowest = self.xp.min(noisy_levels, axis=(1, 2), keepdims=True)
        highest = self.xp.max(noisy_levels, axis=(1, 2), keepdims=True)
        if side == "target" and self.settings.target == "noise":
            lowest, highest = 0 * lowest, highest - lowest
        return between(lowest, highest, scaling.range, self.xp)

    # Decoding

    def gain(self, output: Any, noisy: Spectrum, reference: Any) -> tuple[Any, ...]:
        """The factor on every bin [shape=(batch, f, t)], real or as real and imaginary part.

        Frequencies that the network does not see get that of the highest that it sees.

        Parameters
        ----------
        output : [shape=(batch, f, t, channels)]
        """
        found = self._seen_gain(output, noisy, reference)
        unseen = noisy.size.shape[1] - found[0].shape[1]
        if not unseen:
            return found
        rest = [self.xp.repeat(part[:, -1:], unseen, axis=1) for part in found]
        both = zip(found, rest, strict=True)
        return tuple(self.xp.concatenate(parts, axis=1) for parts in both)

    def _seen_gain(self, output: Any, noisy: Spectrum, reference: Any) -> tuple[Any, ...]:
        xp, target = self.xp, self.settings.target
        if target == "mask":
            return (xp.clip(output[..., 0], 0, 1),)
        if target == "complex_mask":
            inside = [xp.clip(output[..., k] / CIRM_K, -0.9999, 0.9999) for k in range(2)]
            return tuple(2 / CIRM_C * xp.arctanh(part) for part in inside)
        if target == "mask_and_phase_correction":
            # Split, because the gradients of three slices are three arrays of zeros to be added.
            parts = xp.split(xp.clip(output, -1, 1), 3, axis=-1)
            size, real, imag = (xp.squeeze(part, -1) for part in parts)
            factor = (size + 1) / 2 / xp.maximum(self.length(1 + real, imag), _SHORTEST)
            return factor * (1 + real), factor * imag
        seen = noisy.lowest(self.settings.bins).size
        levels = self.decibels(seen + 0, reference)
        level = self.scale_for("target", levels).undo(output[..., 0], xp)
        if target == "noise":
            # Subtracting in dB scales the magnitude itself, so its level needs no reference.
            return (self.amplitude(-level),)
        return (reference * self.amplitude(level) / xp.maximum(seen, self.tiny),)


class Features(Codec):
    """The codec on NumPy arrays, with complex spectra [shape=(batch, f, t)].

    Example
    -------
    A mask of 1 gives back what went in:

    >>> from denoise.features.stft import istft, stft
    >>> features = Features(FeatureSettings(target="mask"))
    >>> spectra = stft(noisy[None], features.settings.stft)
    >>> references = features.references(spectra)
    >>> inputs = features.encode_input(spectra, references)
    >>> enhanced = features.decode(np.ones_like(inputs), spectra, references)
    >>> np.allclose(istft(enhanced, features.settings.stft, len(noisy)), noisy, atol=1e-4)
    True
    """

    xp = np

    def decibels(self, size: np.ndarray, reference: Any) -> np.ndarray:
        """In place, because allocating arrays for every step would take longer than the
        logarithms."""
        level = np.maximum(size, np.float32(self.tiny), out=size)
        level /= reference
        # NumPy's natural logarithm is three times as fast as its decimal one.
        np.log(level, out=level)
        level *= np.float32(20 / np.log(10))
        return np.maximum(level, np.float32(self.settings.floor_db), out=level)

    def references(self, noisy: np.ndarray) -> np.ndarray:
        """Magnitude of 0 dB of each window [shape=(batch, 1, 1)] from its noisy spectrum.

        With ``reference: utterance`` the windows must be whole recordings; see
        `utterance_reference` for parts of one.
        """
        found = np.asarray(self.reference(_parts(noisy)), np.float32)
        return np.broadcast_to(found, (len(noisy), 1, 1))

    def utterance_reference(self, parts: Iterable[np.ndarray]) -> np.ndarray:
        """The reference of a whole recording: its last `running_reference`."""
        *_, found = self.running_reference(parts)
        return found

    def running_reference(self, parts: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """The magnitude that is 0 dB [shape=(channels, 1, 1)] for the part of a recording so far.

        Parameters
        ----------
        parts : iterable of np.ndarray [shape=(samples,) or (samples, channels)]
            The recording, whole or in parts of any size.
        """
        found = np.full((1, 1, 1), _FAINTEST, np.float32)
        yield found
        for part in audio.rechunked(parts, _CHUNK):
            spectra = stft(np.atleast_2d(part.T), self.settings.stft)
            found = np.maximum(found, self.references(spectra))
            yield found

    def levels(
        self, noisy: np.ndarray, clean: np.ndarray | None, references: np.ndarray
    ) -> dict[str, np.ndarray]:
        """Levels in dB of ``input`` and, with `clean` and a target in dB, of ``target``."""
        bins = self.settings.bins
        found = {"input": self.decibels(np.abs(noisy[:, :bins]), references)}
        if clean is not None and "mask" not in self.settings.target:
            level = self.decibels(np.abs(clean[:, :bins]), references)
            noise = self.settings.target == "noise"
            found["target"] = found["input"] - level if noise else level
        return found

    def encode_input(self, noisy: np.ndarray, references: np.ndarray) -> np.ndarray:
        """Network input [shape=(batch, f, t, channels)], float32, from noisy spectra.

        Parameters
        ----------
        references : np.ndarray [shape=(batch, 1, 1)]
        """
        return _float32(self.encoded_input(_parts(noisy), references))

    def encode_target(
        self, noisy: np.ndarray, clean: np.ndarray, references: np.ndarray
    ) -> np.ndarray:
        """Network target [shape=(batch, f, t, channels)], float32; arguments as before."""
        return _float32(self.encoded_target(_parts(noisy), _parts(clean), references))

    def encode(
        self, noisy: np.ndarray, clean: np.ndarray, references: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Network input and target as of `encode_input` and `encode_target`, computed together."""
        mixed, wanted = _parts(noisy), _parts(clean)
        levels = None
        if "compressed" not in self.settings.input or "mask" not in self.settings.target:
            levels = self.decibels(mixed.size[:, : self.settings.bins] + 0, references)
        return (
            _float32(self.encoded_input(mixed, references, levels)),
            _float32(self.encoded_target(mixed, wanted, references, levels)),
        )

    def decode(self, output: np.ndarray, noisy: np.ndarray, references: np.ndarray) -> np.ndarray:
        """Estimated clean spectra [shape=(batch, f, t)], complex, from the network's output.

        Parameters
        ----------
        output : np.ndarray [shape=(batch, f, t, channels)]
        noisy
            Its phase is kept, but by complex masks.
        references : np.ndarray [shape=(batch, 1, 1)]
        """
        return noisy * self.factors(output, noisy, references)

    def factors(self, output: np.ndarray, noisy: np.ndarray, references: np.ndarray) -> np.ndarray:
        """The factor on every bin [shape=(batch, f, t)], real or complex, from the network's
        output; arguments as for `decode`."""
        gain = self.gain(output.astype(np.float32), _parts(noisy), references)
        return np.asarray(gain[0] if len(gain) == 1 else gain[0] + 1j * gain[1])


def _parts(spectra: np.ndarray) -> Spectrum:
    return Spectrum(spectra.real, spectra.imag, np.abs(spectra))


def _float32(values: np.ndarray) -> np.ndarray:
    return values.astype(np.float32, copy=False)
