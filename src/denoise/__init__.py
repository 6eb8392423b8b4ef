"""Speech denoisers: apply them, train them, compare them.

>>> import denoise
>>> noisy, rate = denoise.read("talk.wav")
>>> model = denoise.load("best")
>>> enhanced = model.enhance(noisy, rate, max_attenuation_db=20)
>>> denoise.write("talk.enhanced.wav", enhanced, rate)

``load`` and ``stream`` give a model for recordings and for live audio, ``read`` and ``write`` are
for files, ``metrics.score`` compares with clean speech, and ``metrics.dnsmos`` does without it.

The packages stand in the order of the data: ``corpora``, ``mixing``, ``features``, ``networks``,
``training``, ``enhancement``, ``evaluation``, then ``report`` and ``tracking``;
``docs/architecture.md`` says what each holds.  None of them knows of Snakemake.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from denoise import metrics
    from denoise.api import Model, load, read, stream, write
    from denoise.core.errors import UserError

__version__ = "0.1.0"
__all__ = ["Model", "UserError", "load", "metrics", "read", "stream", "write"]
_FROM = {"UserError": "denoise.core.errors"}


def __getattr__(name: str) -> Any:
    """Import what is asked for, so that the command and the workflow import no more than they
    use."""
    if name not in __all__:
        raise AttributeError(f"module 'denoise' has no attribute '{name}'")
    if name == "metrics":
        return importlib.import_module("denoise.metrics")
    return getattr(importlib.import_module(_FROM.get(name, "denoise.api")), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
