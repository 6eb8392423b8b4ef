"""Objective metrics of denoised speech: against the clean reference, and without one.

>>> pesq = denoise.metrics.score(clean, enhanced, rate)["pesq_wb"]
>>> overall = denoise.metrics.dnsmos(enhanced, rate)["dnsmos_ovrl"]

They need what ``pip install 'denoise[score]'`` installs.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from denoise.metrics.opinion import dnsmos
    from denoise.metrics.registry import score_utterance as score

__all__ = ["dnsmos", "score"]
_FROM = {"dnsmos": ("denoise.metrics.opinion", "dnsmos"),
         "score": ("denoise.metrics.registry", "score_utterance")}  # fmt: skip


def __getattr__(name: str) -> Any:
    """Import a metric when it is used, because some imports take a second."""
    if name not in _FROM:
        raise AttributeError(f"module 'denoise.metrics' has no attribute '{name}'")
    module, function = _FROM[name]
    return getattr(importlib.import_module(module), function)
