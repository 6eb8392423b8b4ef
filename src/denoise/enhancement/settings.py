"""The settings of an application to whole recordings."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from denoise.core.settings import Settings


class EnhancementSettings(Settings):
    """How a network is applied to whole recordings. Changing it scores again, no more."""

    overlap: float = Field(0.5, ge=0, le=0.9)
    """Share of a window that overlaps with the next."""
    strength: float = Field(1.0, ge=0, le=1)
    """Share of the enhanced signal in the output; the rest is the input."""
    max_attenuation_db: float | None = Field(None, ge=0, le=200)
    """Attenuation limit: no bin of the spectrum is lowered by more dB than this; default none."""
    bandwidth: Literal["full", "model"] = "full"
    """`full`: what a recording has above the model's band is kept, with the gain of the highest
    frequencies in that band; `model`: the output ends at half the model's rate."""
    link_channels: bool = True
    """One gain for all channels of a recording, which keeps the stereo image; otherwise each
    channel is enhanced by itself."""
