"""Scalings between dB and the numbers of a network.

Some depend on the training windows and are then part of the model.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from denoise.features.settings import FeatureSettings, ScalingSettings


class Scale(NamedTuple):
    """``(dB + add) / divide``, between `low` and `high`; `add` and `divide` may be arrays."""

    add: Any
    divide: Any
    low: float = -np.inf
    high: float = np.inf

    def apply(self, level: Any, xp: Any = np) -> Any:
        """Scaled values of levels in dB; `xp` is the namespace of array functions."""
        return self._limited((level + self.add) / self.divide, xp)

    def undo(self, scaled: Any, xp: Any = np) -> Any:
        """Levels in dB of scaled values."""
        return self._limited(scaled, xp) * self.divide - self.add

    def _limited(self, scaled: Any, xp: Any) -> Any:
        ends = self.low, self.high
        return xp.clip(scaled, *ends) if np.isfinite(ends).any() else scaled


def between(lowest: Any, highest: Any, ends: tuple[float, float], xp: Any = np) -> Scale:
    """The scale that turns the levels `lowest` and `highest` into `ends`."""
    divide = xp.maximum(highest - lowest, 1e-3) / (ends[1] - ends[0])
    return Scale(ends[0] * divide - lowest, divide, *ends)


class Statistics:
    """Lowest and highest level, mean and standard deviation, accumulated batch by batch."""

    def __init__(self) -> None:
        self.count, self.total, self.squares = 0, 0.0, 0.0
        self.lowest, self.highest = np.inf, -np.inf

    def add(self, levels: np.ndarray) -> None:
        """Add levels [shape=any] in dB."""
        self.count += levels.size
        self.total += float(levels.sum(dtype=np.float64))
        self.squares += float(np.square(levels, dtype=np.float64).sum())
        self.lowest = min(self.lowest, float(levels.min()))
        self.highest = max(self.highest, float(levels.max()))

    def merge(self, other: Statistics) -> None:
        """Add the levels of another."""
        self.count += other.count
        self.total += other.total
        self.squares += other.squares
        self.lowest = min(self.lowest, other.lowest)
        self.highest = max(self.highest, other.highest)

    def scale(self, settings: ScalingSettings) -> Scale:
        """The scale of `settings` for these levels."""
        if settings.kind == "standard":
            mean = self.total / self.count
            deviation = np.sqrt(max(self.squares / self.count - mean**2, 1e-12))
            return Scale(-mean, float(deviation))
        return between(self.lowest, self.highest, settings.range)


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
