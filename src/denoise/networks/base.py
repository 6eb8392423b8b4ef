"""Settings that all networks have in common."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from denoise.core.settings import Settings


class NetworkSettings(Settings):
    """A network. Changing it trains again."""

    name: str
    """The name of the network."""
    filters: tuple[int, ...] = Field(min_length=1)
    """Filters of each level."""
    output_activation: Literal["tanh", "sigmoid", "linear"] = "tanh"
    """Activation of the last convolution; it must reach the range of the scaled target."""

    @field_validator("filters")
    @classmethod
    def _check_filters(cls, filters: tuple[int, ...]) -> tuple[int, ...]:
        if min(filters) < 1:
            raise ValueError(f"filters {list(filters)} must be positive numbers")
        return filters

    @property
    def steps(self) -> tuple[int, int]:
        """The sides of a spectrogram, frequency and time, must be multiples of these."""
        return 1, 1


class OtherNetwork(NetworkSettings, extra="allow"):
    """A network of a study's extension, read from a model card without that extension.  This is
    enough to apply the model, because its file contains the layers."""

    filters: tuple[int, ...] = ()


class NormalisedSettings(NetworkSettings):
    """A network with batch normalisation."""

    norm_momentum: float = Field(0.99, gt=0, lt=1)
    """Momentum of the running means and variances of batch normalisation, which start at 0 and 1. A
    training of a few hundred steps needs a lower one, such as 0.9."""
