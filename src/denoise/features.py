"""What a network sees and predicts, and how its output becomes a spectrum again.

Levels are in dB relative to a reference that noisy and clean share: a reference of its own for each
would lose the level between them.  A *scaling* turns them into the numbers of a network; some
scalings are measured on the training windows first and then belong to the model.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from typing import Any, Literal, NamedTuple

import numpy as np
from pydantic import Field, model_validator

from denoise import audio
from denoise.settings import Settings
from denoise.spectrogram import StftSettings, spectrogram_shape, stft

_TINY = 1e-10
_CHUNK = 1 << 20  # samples
_FAINTEST = 1e-6  # magnitude that may be 0 dB
# Williamson, Wang & Wang, IEEE/ACM TASLP 24(3), 2016.
CIRM_K, CIRM_C = 10.0, 0.1
TURN = 1e-3
"""The shortest sum of 1 and a predicted turn that is brought to the length of 1."""
_COMPLEX = ("complex_mask", "mask_and_phase")
_PHASED = ("level_and_phase", "compressed_complex")


class ScalingSettings(Settings):
    """How dB become the numbers of a network."""

    kind: Literal["affine", "min_max", "example_min_max", "standard"] = "affine"
    """`affine`: `(dB + add) / divide`; `min_max`: the lowest and the highest level of the training
    windows become the ends of `range`; `example_min_max`: so do those of each noisy window by
    itself, for input and target alike, so that clean speech is not needed to undo it; `standard`:
    mean 0 and deviation 1 over the training windows."""
    add: float = 0
    """With `affine`: dB added."""
    divide: float = Field(1, gt=0)
    """With `affine`: divisor in dB."""
    range: tuple[float, float] = (0, 1)
    """With `min_max` and `example_min_max`: the ends; values beyond them are clipped."""

    @model_validator(mode="after")
    def _check(self) -> ScalingSettings:
        if self.range[0] >= self.range[1]:
            raise ValueError(f"range {list(self.range)} must go from low to high")
        return self

    @property
    def bounds(self) -> tuple[float, float]:
        """Scaled values lie between these."""
        return self.range if self.kind.endswith("min_max") else (-np.inf, np.inf)


class FeatureSettings(Settings):
    """How waveforms become a network's input and target. Changing these caches and trains again."""

    stft: StftSettings = StftSettings()
    """The transform."""
    bins: int | None = Field(None, ge=2)
    """The network sees this many of the lowest frequencies, those above get the gain of the
    highest that it sees; default all."""
    reference: Literal["window", "utterance", "absolute"] = "window"
    """0 dB, for noisy and clean alike: `window`: the largest magnitude of the noisy window;
    `utterance`: that of the whole noisy recording; `absolute`: `reference_magnitude`."""
    reference_magnitude: float = Field(1.0, gt=0)
    """STFT magnitude of 0 dB with `reference: absolute`."""
    floor_db: float = Field(-80.0, lt=0, ge=-200)
    """Lower levels are raised to this."""
    input: Literal["level", "level_and_phase", "compressed", "compressed_complex"] = "level"
    """`level`: the scaled dB of the noisy window; `level_and_phase`: with the cosine and the sine
    of its phase as two more channels; `compressed`: its magnitude over the reference, to the power
    of `compression`; `compressed_complex`: with the real and the imaginary part of the spectrum
    whose magnitude this is (Abdulatif, Cao & Yang, IEEE/ACM TASLP 32, 2024)."""
    compression: float = Field(0.3, gt=0, le=1)
    """Exponent of the magnitudes of a compressed input."""
    target: Literal["noise", "clean", "mask", "complex_mask", "mask_and_phase"] = "noise"
    """`noise`: predict noisy dB - clean dB and subtract it; `clean`: predict the clean dB; `mask`:
    predict the clean over the noisy magnitude, from 0 to 1; `complex_mask`: predict the compressed
    real and imaginary parts of their complex ratio; `mask_and_phase`: predict that mask and, in
    two more channels, by what the phase turns, up to a quarter."""
    input_scaling: ScalingSettings = ScalingSettings(add=46, divide=50)
    """Scaling of the noisy dB."""
    target_scaling: ScalingSettings = ScalingSettings(add=-6, divide=82)
    """Scaling of the target dB; masks need none."""
    dtype: Literal["float16", "float32"] = "float16"
    """Number format of the cache."""
    cache: bool = True
    """Keep the spectrograms of all windows on disk; without, training makes them from audio again
    in every epoch, which takes no disk and allows `augmentation`."""

    @model_validator(mode="after")
    def _check(self) -> FeatureSettings:
        most = self.stft.n_fft // 2 + 1
        if self.bins is not None and self.bins > most:
            raise ValueError(f"bins {self.bins} must be at most n_fft // 2 + 1 = {most}")
        if self.target in _COMPLEX and self.input not in _PHASED:
            raise ValueError(
                f"target {self.target} needs input: {' or '.join(_PHASED)}: a phase cannot be "
                "corrected without being seen"
            )
        if not self.cache and self.reference == "utterance":
            raise ValueError(
                "cache: false makes spectrograms of windows, in which the level of the whole "
                "utterance is not known: use reference: window or absolute"
            )
        return self

    def shape(self, samples: int) -> tuple[int, int]:
        """Frequencies and frames of a network's input for a window of `samples` samples."""
        bins, frames = spectrogram_shape(samples, self.stft)
        return self.bins or bins, frames

    @property
    def target_bounds(self) -> tuple[float, float]:
        """The target lies between these."""
        if self.target == "mask":
            return (0.0, 1.0)
        if self.target == "complex_mask":
            return (-CIRM_K, CIRM_K)
        if self.target == "mask_and_phase":
            return (-1.0, 1.0)
        return self.target_scaling.bounds

    @property
    def measured(self) -> bool:
        """Whether a scaling depends on the training windows."""
        sides = [] if "compressed" in self.input else [self.input_scaling]
        sides += [] if "mask" in self.target else [self.target_scaling]
        return any(side.kind in {"min_max", "standard"} for side in sides)


class Scale(NamedTuple):
    """``(dB + add) / divide``, between `low` and `high`; `add` and `divide` may be arrays."""

    add: Any
    divide: Any
    low: float = -np.inf
    high: float = np.inf

    def apply(self, level: np.ndarray) -> np.ndarray:
        """Scaled values of levels in dB, float32."""
        scaled = np.add(level, self.add, dtype=np.float32)
        scaled /= np.asarray(self.divide, np.float32)
        if np.isfinite(self.low) or np.isfinite(self.high):
            np.clip(scaled, self.low, self.high, out=scaled)
        return scaled

    def undo(self, scaled: np.ndarray) -> np.ndarray:
        """Levels in dB of scaled values."""
        return np.clip(scaled, self.low, self.high) * self.divide - self.add


def _between(lowest: Any, highest: Any, ends: tuple[float, float]) -> Scale:
    """The scale that turns the levels `lowest` and `highest` into `ends`."""
    divide = np.maximum(highest - lowest, 1e-3) / (ends[1] - ends[0])
    return Scale(ends[0] * divide - lowest, divide, *ends)


class Statistics:
    """Lowest, highest, mean and deviation of levels, gathered batch by batch."""

    def __init__(self) -> None:
        self.count, self.total, self.squares = 0, 0.0, 0.0
        self.lowest, self.highest = np.inf, -np.inf

    def add(self, levels: np.ndarray) -> None:
        """Take in levels [shape=any] in dB."""
        self.count += levels.size
        self.total += float(levels.sum(dtype=np.float64))
        self.squares += float(np.square(levels, dtype=np.float64).sum())
        self.lowest = min(self.lowest, float(levels.min()))
        self.highest = max(self.highest, float(levels.max()))

    def merge(self, other: Statistics) -> None:
        """Take in what another has gathered."""
        self.count += other.count
        self.total += other.total
        self.squares += other.squares
        self.lowest = min(self.lowest, other.lowest)
        self.highest = max(self.highest, other.highest)

    def scale(self, settings: ScalingSettings) -> Scale:
        """The scale that `settings` ask for on these levels."""
        if settings.kind == "standard":
            mean = self.total / self.count
            deviation = np.sqrt(max(self.squares / self.count - mean**2, 1e-12))
            return Scale(-mean, float(deviation))
        return _between(self.lowest, self.highest, settings.range)


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
        self, settings: FeatureSettings, scales: Mapping[str, list[float]] | None = None
    ) -> None:
        self.settings = settings
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
        return _between(lowest, highest, scaling.range)

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
        if self.settings.input not in _PHASED:
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


def measured_scales(
    settings: FeatureSettings, statistics: Mapping[str, Statistics]
) -> dict[str, list[float]]:
    """``input`` and ``target`` → (add, divide) of the scalings that depend on training windows."""
    found = {}
    for side, gathered in statistics.items():
        scaling: ScalingSettings = getattr(settings, f"{side}_scaling")
        if scaling.kind in {"min_max", "standard"}:
            scale = gathered.scale(scaling)
            found[side] = [float(scale.add), float(scale.divide)]
    return found
