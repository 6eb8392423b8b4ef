"""How long a denoiser takes for a test set, and how much it computes."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from denoise.core import files


class Stopwatch:
    """Times utterances; the first is left out of the sum if there are others, because it includes
    compilation, loading and allocation."""

    def __init__(self) -> None:
        self._times: list[tuple[float, float]] = []

    @contextlib.contextmanager
    def utterance(self, audio_s: float) -> Iterator[None]:
        """Time the processing of an utterance of `audio_s` seconds."""
        began = time.perf_counter()
        yield
        self._times.append((time.perf_counter() - began, audio_s))

    def write(self, path: Path, **facts: Any) -> None:
        """Write JSON: ``seconds`` taken for ``audio_s`` of audio, and `facts` of the machine."""
        counted = self._times[1:] or self._times
        seconds = sum(taken for taken, _ in counted)
        audio_s = sum(length for _, length in counted)
        files.write_json(path, {"seconds": seconds, "audio_s": audio_s, **facts})


def operations(paths: list[Path]) -> float:
    """Multiply-accumulate operations (MACs) per second of audio, mean over runs; NaN if unknown."""
    told = [files.read_made(path).get("macs_a_second") for path in paths if path.exists()]
    known = [float(one) for one in told if one is not None]
    return sum(known) / len(known) if known else float("nan")


def real_time_factor(paths: list[Path]) -> float:
    """Computing time / duration, the mean over runs; NaN if none of them was timed."""
    told = [files.read_made(path) for path in paths if path.exists()]
    factors = [one["seconds"] / one["audio_s"] for one in told if one["audio_s"] > 0]
    return sum(factors) / len(factors) if factors else float("nan")
