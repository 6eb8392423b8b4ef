"""Settings for enhancing whole recordings."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from denoise.core.settings import Settings


class EnhancementSettings(Settings):
    """How a network is applied to whole recordings. Changing it repeats enhancement and scoring,
    not training."""

    overlap: float = Field(0.5, ge=0, le=0.9)
    """Share of a window that overlaps with the next one."""
    strength: float = Field(1.0, ge=0, le=1)
    """Share of the enhanced signal in the output; the rest is the input."""
    max_attenuation_db: float | None = Field(None, ge=0, le=200)
    """Attenuation limit: no bin is attenuated by more than this many dB; default none."""
    bandwidth: Literal["full", "model"] = "full"
    """`full`: frequencies above the model's band are kept, with the gain of 75 to 90 % of
    the band; `model`: they are removed."""
    link_channels: bool = True
    """Use the same gains for all channels of a recording, which keeps the stereo image; otherwise
    each channel is enhanced on its own."""
