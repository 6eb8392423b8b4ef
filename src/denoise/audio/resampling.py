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


class Resampler:
    """Resamples audio as it comes, into the samples that `resample` makes of it as a whole.

    Parameters
    ----------
    channels
        None for blocks [shape=(samples,)], else of blocks [shape=(samples, channels)].
    """

    def __init__(self, rate: int, new_rate: int, channels: int | None = None) -> None:
        self._empty = np.zeros((0, *([] if channels is None else [channels])), np.float32)
        self._stream = None
        if rate != new_rate:
            self._stream = soxr.ResampleStream(
                rate, new_rate, channels or 1, dtype="float32", quality="HQ"
            )

    def process(self, block: np.ndarray) -> np.ndarray:
        """Process the next samples; returns the finished ones, float32."""
        block = np.ascontiguousarray(block, dtype=np.float32)
        return block if self._stream is None else self._stream.resample_chunk(block)

    def flush(self) -> np.ndarray:
        """The rest."""
        if self._stream is None:
            return self._empty
        return np.asarray(self._stream.resample_chunk(self._empty, last=True))


def resampled(
    blocks: Iterable[np.ndarray], rate: int, new_rate: int, channels: int | None = None
) -> Iterator[np.ndarray]:
    """Blocks of what `resample` makes of them joined: the same samples; see `Resampler`."""
    resampler = Resampler(rate, new_rate, channels)
    yield from map(resampler.process, blocks)
    yield resampler.flush()


def rechunked(blocks: Iterable[np.ndarray], size: int) -> Iterator[np.ndarray]:
    """The same samples along the first axis in blocks of `size`; the last may be shorter."""
    rest: np.ndarray | None = None
    for block in blocks:
        rest = np.concatenate([rest, block]) if rest is not None and len(rest) else block
        while len(rest) >= size:
            yield rest[:size]
            rest = rest[size:]
    if rest is not None and len(rest):
        yield rest
