"""The settings of mixtures and test sets."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from denoise.core.settings import Settings
from denoise.mixing.degradations import DegradationSettings
from denoise.mixing.rooms import RoomSettings


class MixtureSettings(Settings):
    """The noise level (one of three settings), rooms and degradations of a mixture."""

    gain: tuple[float, float] | None = None
    """Uniform range of the factor on the noise, as in the original recipes, e.g. `[0.2, 0.8]`."""
    snr_db: tuple[float, ...] | None = None
    """SNRs in dB, assigned round-robin, e.g. `[0, 5, 10]`."""
    snr_range_db: tuple[float, float] | None = None
    """Uniform range of SNR in dB, e.g. `[-5, 15]`."""
    rooms: RoomSettings = RoomSettings()
    """Reverberation by measured or simulated rooms."""
    degradations: DegradationSettings = DegradationSettings()
    """Band limits, clipping, quantisation, codecs and packet loss."""

    @model_validator(mode="after")
    def _check_level(self) -> MixtureSettings:
        given = [name for name in LEVELS if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(
                f"give exactly one of gain, snr_db and snr_range_db, not {' and '.join(given) or 0}"
            )
        for name in ("gain", "snr_range_db"):
            pair = getattr(self, name)
            if pair is not None and pair[0] > pair[1]:
                raise ValueError(f"{name} {list(pair)} must go from low to high")
        if self.gain is not None and self.gain[0] < 0:
            raise ValueError(f"gain {list(self.gain)} must not be negative")
        for name in ("snr_db", "snr_range_db"):
            for snr in getattr(self, name) or ():
                if not -60 <= snr <= 100:
                    raise ValueError(f"{name}: {snr:g} dB must be between -60 and 100")
        if self.snr_db == ():
            raise ValueError("snr_db must hold at least one value")
        return self


LEVELS = ("gain", "snr_db", "snr_range_db")
"""Mutually exclusive settings of the noise level."""


def _with_level(given: Any, **usual: Any) -> Any:
    """Add the default noise level if none is set."""
    said = not isinstance(given, dict) or any(name in given for name in LEVELS)
    return given if said else {**given, **usual}


class MixingSettings(MixtureSettings):
    """The training and validation windows, with one of `gain`, `snr_db` and `snr_range_db`; default
    `gain: [0.2, 0.8]`. Changing these repeats mixing and training."""

    segment: int = Field(8064, ge=256, le=1 << 20)
    """Samples of a training window."""
    speech_stride: int = Field(8064, ge=1)
    """Samples between the starts of two speech windows of a recording."""
    noise_stride: int = Field(5000, ge=1)
    """Samples between the starts of two noise windows of a recording."""
    pad: bool = False
    """Pad recordings that are shorter than a window with silence, instead of leaving them out."""
    hours: float | None = Field(None, gt=0)
    """Hours of training mixtures; default one mixture for each speech window."""
    validation_hours: float | None = Field(None, gt=0)
    """Hours of validation mixtures; default one mixture for each speech window."""
    windows: int | None = Field(None, ge=1)
    """The number of training windows, instead of `hours`."""
    validation_windows: int | None = Field(None, ge=1)
    """The number of validation windows, instead of `validation_hours`."""

    @model_validator(mode="before")
    @classmethod
    def _usual_level(cls, given: Any) -> Any:
        return _with_level(given, gain=(0.2, 0.8))

    @model_validator(mode="after")
    def _check(self) -> MixingSettings:
        for prefix in ("", "validation_"):
            if None not in (getattr(self, f"{prefix}hours"), getattr(self, f"{prefix}windows")):
                raise ValueError(f"give either {prefix}hours or {prefix}windows, not both")
        return self

    def count(self, split: Literal["train", "validation", "test"], rate: int) -> int | None:
        """The requested number of windows; None for one per speech window."""
        if split == "test":
            return None
        training = split == "train"
        hours = self.hours if training else self.validation_hours
        if hours is not None:
            return max(1, round(hours * 3600 * rate / self.segment))
        return self.windows if training else self.validation_windows


class TestSetSettings(MixtureSettings):
    """A test set of whole utterances; the usual level, which has no effect on paired corpora, is
    `snr_db: [0, 5, 10, 15]`. Changing it scores again and trains nothing."""

    __test__ = False  # not a test class, whatever pytest thinks of its name

    utterances: int | None = Field(None, ge=1)
    """Largest number of utterances, spread evenly over the speakers; default all."""
    copies: int = Field(1, ge=1, le=100)
    """Mixtures of each utterance, with different noise and SNR."""
    split: Literal["test", "validation"] = "test"
    """The split that speech and noise are taken from. Use `validation` to select settings, never a
    test set."""
    score_rate: Literal[8000, 16000] | None = None
    """Rate in Hz at which all methods are scored, so that models of different rates are comparable;
    methods at 16 kHz also get wide-band PESQ. Default the rate of the test set."""

    @model_validator(mode="before")
    @classmethod
    def _usual_level(cls, given: Any) -> Any:
        return _with_level(given, snr_db=(0.0, 5.0, 10.0, 15.0))
