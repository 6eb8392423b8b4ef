"""The settings of an application to whole recordings."""

from __future__ import annotations

from pydantic import Field

from denoise.core.settings import Settings


class EnhancementSettings(Settings):
    """How a network is applied to whole recordings. Changing it scores again, no more."""

    overlap: float = Field(0.5, ge=0, le=0.9)
    """Share of a window that overlaps with the next."""
