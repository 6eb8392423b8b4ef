"""The settings of a network's input and target."""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field, model_validator

from denoise.core.settings import Settings
from denoise.features.stft import StftSettings, spectrogram_shape

# Williamson, Wang & Wang, IEEE/ACM TASLP 24(3), 2016.
CIRM_K, CIRM_C = 10.0, 0.1
_COMPLEX = ("complex_mask", "mask_and_phase_correction")
PHASED = ("level_and_phase", "compressed_complex")


class ScalingSettings(Settings):
    """How dB are scaled for the network."""

    kind: Literal["affine", "min_max", "example_min_max", "standard"] = "affine"
    """`affine`: `(dB + add) / divide`; `min_max`: maps the lowest and highest level of the training
    windows to `range`; `example_min_max`: maps those of each noisy window to `range`, for input and
    target alike, so that it can be undone without the clean speech; `standard`: mean 0 and standard
    deviation 1 over the training windows."""
    add: float = 0
    """With `affine`: dB added."""
    divide: float = Field(1, gt=0)
    """With `affine`: divisor in dB."""
    range: tuple[float, float] = (0, 1)
    """With `min_max` and `example_min_max`: the limits; values beyond them are clipped."""

    @model_validator(mode="after")
    def _check(self) -> ScalingSettings:
        if self.range[0] >= self.range[1]:
            raise ValueError(f"range {list(self.range)} must go from low to high")
        return self

    @property
    def bounds(self) -> tuple[float, float]:
        """Limits of the scaled values."""
        return self.range if self.kind.endswith("min_max") else (-np.inf, np.inf)


class FeatureSettings(Settings):
    """How waveforms become a network's input and target. Changing these recomputes the spectrograms
    and trains again."""

    stft: StftSettings = StftSettings()
    """The transform."""
    bins: int | None = Field(None, ge=2)
    """Number of the lowest frequencies that the network processes; those above get the gain of the
    highest one; default all."""
    reference: Literal["window", "utterance", "absolute"] = "window"
    """The 0 dB reference of noisy and clean: `window`, the largest magnitude of the noisy window;
    `utterance`, that of the whole noisy recording; `absolute`, `reference_magnitude`."""
    reference_magnitude: float = Field(1.0, gt=0)
    """STFT magnitude of 0 dB with `reference: absolute`."""
    floor_db: float = Field(-80.0, lt=0, ge=-200)
    """Levels below this are clipped to it, in dB."""
    input: Literal["level", "level_and_phase", "compressed", "compressed_complex"] = "level"
    """`level`: the scaled level in dB of each bin of the noisy window; `level_and_phase`: also the
    cosine and sine of the phase, as two more channels; `compressed`: the magnitude over the
    reference, to the power of `compression`; `compressed_complex`: also the real and imaginary part
    of the compressed spectrum (Abdulatif, Cao & Yang, IEEE/ACM TASLP 32, 2024)."""
    compression: float = Field(0.3, gt=0, le=1)
    """Exponent of the magnitudes of a compressed input."""
    target: Literal["noise", "clean", "mask", "complex_mask", "mask_and_phase_correction"] = "noise"
    """`noise`: predict the noisy level minus the clean level in dB, which is subtracted; `clean`:
    predict the clean level in dB; `mask`: predict the ratio of clean to noisy magnitude, from 0 to
    1; `complex_mask`: predict the compressed real and imaginary part of their complex ratio;
    `mask_and_phase_correction`: predict the mask and, in two more channels, a phase correction of
    up to 90 degrees."""
    input_scaling: ScalingSettings = ScalingSettings(add=46, divide=50)
    """Scaling of the noisy level in dB."""
    target_scaling: ScalingSettings = ScalingSettings(add=-6, divide=82)
    """Scaling of the target, if it is a level in dB; masks need none."""
    dtype: Literal["float16", "float32"] = "float16"
    """Number format of the cache."""
    cache: bool = True
    """Store the spectrograms of all windows on disk. Otherwise training computes them in every
    epoch, which needs no disk space and allows `augmentation`."""

    @model_validator(mode="after")
    def _check(self) -> FeatureSettings:
        most = self.stft.n_fft // 2 + 1
        if self.bins is not None and self.bins > most:
            raise ValueError(f"bins {self.bins} must be at most n_fft // 2 + 1 = {most}")
        if self.target in _COMPLEX and self.input not in PHASED:
            raise ValueError(
                f"target {self.target} needs input: {' or '.join(PHASED)}: a phase cannot be "
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
        """Limits of the target."""
        if self.target == "mask":
            return (0.0, 1.0)
        if self.target == "complex_mask":
            return (-CIRM_K, CIRM_K)
        if self.target == "mask_and_phase_correction":
            return (-1.0, 1.0)
        return self.target_scaling.bounds

    @property
    def measured(self) -> bool:
        """Whether a scaling depends on the training windows."""
        sides = [] if "compressed" in self.input else [self.input_scaling]
        sides += [] if "mask" in self.target else [self.target_scaling]
        return any(side.kind in {"min_max", "standard"} for side in sides)
