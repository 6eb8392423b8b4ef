"""What a network sees and predicts, and how its output becomes a spectrum again.

Levels are in dB relative to a reference that noisy and clean share: a reference of its own for each
would lose the level between them.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from denoise import audio
from denoise.features.scaling import Scale, between
from denoise.features.settings import CIRM_C, CIRM_K, PHASED, FeatureSettings, ScalingSettings
from denoise.features.stft import stft

_TINY = 1e-10
_CHUNK = 1 << 20  # samples
_FAINTEST = 1e-6  # magnitude that may be 0 dB
TURN = 1e-3
"""The shortest sum of 1 and a predicted turn that is brought to the length of 1."""


def _db(magnitude: np.ndarray, reference: np.ndarray, floor_db: float) -> np.ndarray:
    """Levels in dB, which take the place of `magnitude`: new arrays for every step would take
    longer than the logarithms."""
    level = np.maximum(magnitude, _TINY, out=magnitude)
    level /= reference
    # NumPy's natural logarithm is three times as fast as its decimal one.
    np.log(level, out=level)
    level *= np.float32(20 / np.log(10))
    return np.maximum(level, np.float32(floor_db), out=level)


class Features:
    """Encodes spectra for a network and decodes its output.

    Parameters
    ----------
    settings
        What to encode and how.
    scales
        ``input`` and ``target`` → (add, divide) of the scalings that were measured on the training
        windows; see `measured_scales`.
    """

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

    def references(self, noisy: np.ndarray) -> np.ndarray:
        """Magnitude of 0 dB of each window [shape=(batch, 1, 1)] from its noisy spectrum.

        With ``reference: utterance`` the windows must be whole recordings; see
        `utterance_reference` for parts of one.
        """
        if self.settings.reference == "absolute":
            return np.full((len(noisy), 1, 1), self.settings.reference_magnitude, np.float32)
        return np.maximum(np.abs(noisy).max(axis=(1, 2), keepdims=True), _FAINTEST)

    def utterance_reference(self, parts: Iterable[np.ndarray]) -> np.ndarray:
        """Magnitude of 0 dB [shape=(1, 1, 1)] of all windows of a recording.

        Parameters
        ----------
        parts : iterable of np.ndarray [shape=(samples,)]
            The recording, whole or in parts of any size; not looked at if the magnitude is fixed.
        """
        if self.settings.reference == "absolute":
            return self.references(np.zeros((1, 1, 1)))
        found = (
            self.references(stft(part[None], self.settings.stft))
            for part in audio.rechunked(parts, _CHUNK)
        )
        return functools.reduce(np.maximum, found, np.full((1, 1, 1), _FAINTEST, np.float32))

    def levels(
        self, noisy: np.ndarray, clean: np.ndarray | None, references: np.ndarray
    ) -> dict[str, np.ndarray]:
        """Levels in dB of ``input`` and, with `clean` and a target in dB, of ``target``.

        Parameters
        ----------
        noisy, clean : np.ndarray [shape=(batch, f, t)], complex
        references : np.ndarray [shape=(batch, 1, 1)]
        """
        settings = self.settings
        found = {"input": _db(np.abs(noisy[:, : settings.bins]), references, settings.floor_db)}
        if clean is not None and "mask" not in settings.target:
            level = _db(np.abs(clean[:, : settings.bins]), references, settings.floor_db)
            found["target"] = found["input"] - level if settings.target == "noise" else level
        return found

    def scale(self, side: str) -> Scale | None:
        """The scale of ``input`` or ``target``; None if every example has its own."""
        return self._scales[side]

    def _scale(self, side: str, noisy_levels: np.ndarray) -> Scale:
        known = self.scale(side)
        if known is not None:
            return known
        scaling: ScalingSettings = getattr(self.settings, f"{side}_scaling")
        if scaling.kind != "example_min_max":
            raise ValueError(f"the {side} scaling {scaling.kind} was not measured")
        lowest = noisy_levels.min(axis=(1, 2), keepdims=True)
        highest = noisy_levels.max(axis=(1, 2), keepdims=True)
        if side == "target" and self.settings.target == "noise":
            lowest, highest = np.zeros_like(lowest), highest - lowest
        return between(lowest, highest, scaling.range)

    def encode_input(self, noisy: np.ndarray, references: np.ndarray) -> np.ndarray:
        """Network input [shape=(batch, f, t, channels)], float32, from noisy spectra.

        Parameters
        ----------
        noisy : np.ndarray [shape=(batch, f, t)], complex
        references : np.ndarray [shape=(batch, 1, 1)]
        """
        in_db = "compressed" not in self.settings.input
        levels = self.levels(noisy, None, references)["input"] if in_db else None
        return self._input(noisy, references, levels)

    def _input(
        self, noisy: np.ndarray, references: np.ndarray, levels: np.ndarray | None
    ) -> np.ndarray:
        seen = noisy[:, : self.settings.bins]
        if levels is None:
            size = np.power(np.abs(seen) / references, self.settings.compression)
        else:
            size = self._scale("input", levels).apply(levels)
        if self.settings.input not in PHASED:
            return size[..., None].astype(np.float32, copy=False)
        phase = seen / np.maximum(np.abs(seen), _TINY)
        parts = phase if levels is not None else size * phase
        return np.stack([size, parts.real, parts.imag], axis=-1).astype(np.float32)

    def encode_target(
        self, noisy: np.ndarray, clean: np.ndarray, references: np.ndarray
    ) -> np.ndarray:
        """Network target [shape=(batch, f, t, channels)], float32; arguments as for `levels`."""
        if "mask" in self.settings.target:
            return self._mask(noisy, clean)
        levels = self.levels(noisy, clean, references)
        return self._scale("target", levels["input"]).apply(levels["target"])[..., None]

    def encode(
        self, noisy: np.ndarray, clean: np.ndarray, references: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """What `encode_input` and `encode_target` give, with levels measured once for both."""
        if "mask" in self.settings.target:
            return self.encode_input(noisy, references), self._mask(noisy, clean)
        levels = self.levels(noisy, clean, references)
        target = self._scale("target", levels["input"]).apply(levels["target"])[..., None]
        in_db = "compressed" not in self.settings.input
        return self._input(noisy, references, levels["input"] if in_db else None), target

    def _mask(self, noisy: np.ndarray, clean: np.ndarray) -> np.ndarray:
        seen, wanted = (spectra[:, : self.settings.bins] for spectra in (noisy, clean))
        if self.settings.target == "mask":
            ratio = np.abs(wanted) / np.maximum(np.abs(seen), _TINY)
            return np.minimum(ratio, 1)[..., None].astype(np.float32)
        ratio = wanted * np.conj(seen) / np.maximum(np.abs(seen) ** 2, _TINY**2)
        if self.settings.target == "complex_mask":
            parts = np.stack([ratio.real, ratio.imag], axis=-1)
            # K (1 - exp(-C x)) / (1 + exp(-C x))
            return (CIRM_K * np.tanh(CIRM_C / 2 * parts)).astype(np.float32)
        size = np.abs(ratio)
        turn = np.where(size > 0, ratio / np.maximum(size, _TINY), 1)
        channels = [2 * np.minimum(size, 1) - 1, np.maximum(turn.real, 0) - 1, turn.imag]
        return np.stack(channels, axis=-1).astype(np.float32)

    def decode(self, output: np.ndarray, noisy: np.ndarray, references: np.ndarray) -> np.ndarray:
        """Estimated clean spectra [shape=(batch, f, t)], complex, from the network's output.

        Parameters
        ----------
        output : np.ndarray [shape=(batch, f, t, channels)]
        noisy : np.ndarray [shape=(batch, f, t)], complex
            Its phase is kept, but by a complex mask.
        references : np.ndarray [shape=(batch, 1, 1)]
        """
        gain = self._gain(output.astype(np.float32), noisy, references)
        unseen = noisy.shape[1] - gain.shape[1]
        if unseen:
            gain = np.concatenate([gain, np.repeat(gain[:, -1:], unseen, axis=1)], axis=1)
        return noisy * gain

    def _gain(self, output: np.ndarray, noisy: np.ndarray, references: np.ndarray) -> np.ndarray:
        """The factor on each bin that the network sees."""
        settings = self.settings
        if settings.target == "mask":
            return np.clip(output[..., 0], 0, 1)
        if settings.target == "complex_mask":
            inside = np.clip(output / CIRM_K, -0.9999, 0.9999)
            parts = 2 / CIRM_C * np.arctanh(inside)
            return parts[..., 0] + 1j * parts[..., 1]
        if settings.target == "mask_and_phase":
            inside = np.clip(output, -1, 1)
            turn = (1 + inside[..., 1]) + 1j * inside[..., 2]
            return (inside[..., 0] + 1) / 2 * turn / np.maximum(np.abs(turn), TURN)
        noisy_levels = self.levels(noisy, None, references)["input"]
        level = self._scale("target", noisy_levels).undo(output[..., 0])
        if settings.target == "noise":
            # Subtracting in dB scales the magnitude itself, so its level needs no reference.
            return np.power(np.float32(10), -level / 20)
        seen = np.maximum(np.abs(noisy[:, : settings.bins]), _TINY)
        return references * np.power(np.float32(10), level / 20) / seen
