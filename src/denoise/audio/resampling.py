"""Resampling, of whole signals and of blocks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import soxr


def resample(audio: np.ndarray, rate: int, new_rate: int) -> np.ndarray:
    """Resample along the first axis with soxr at its high quality; float32."""
    if rate == new_rate:
        return np.ascontiguousarray(audio, dtype=np.float32)
    return soxr.resample(audio, rate, new_rate, quality="HQ").astype(np.float32, copy=False)


def resampled(blocks: Iterable[np.ndarray], rate: int, new_rate: int) -> Iterator[np.ndarray]:
    """Blocks [shape=(samples,)] of what `resample` makes of them joined: the same samples."""
    if rate == new_rate:
        yield from (np.ascontiguousarray(block, dtype=np.float32) for block in blocks)
        return
    stream = soxr.ResampleStream(rate, new_rate, 1, dtype="float32", quality="HQ")
    for block in blocks:
        yield stream.resample_chunk(np.ascontiguousarray(block, dtype=np.float32))
    yield stream.resample_chunk(np.zeros(0, np.float32), last=True)


def rechunked(blocks: Iterable[np.ndarray], size: int) -> Iterator[np.ndarray]:
    """The same samples [shape=(samples,)] in blocks of `size`; the last may be shorter."""
    rest = np.zeros(0, np.float32)
    for block in blocks:
        rest = np.concatenate([rest, block]) if len(rest) else block
        while len(rest) >= size:
            yield rest[:size]
            rest = rest[size:]
    if len(rest):
        yield rest
