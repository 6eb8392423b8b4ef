"""Live audio, denoised block by block with a latency of one frame."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from denoise.enhancement.pipeline import Pipeline


class Stream:
    """A stream of audio through a causal network.

    The output equals that for the whole recording, for any size of the blocks. `denoise.stream`
    makes one.

    Parameters
    ----------
    begin
        Makes the pipeline of a new stream.
    rate
        Sample rate of the audio in Hz.
    channels
        Number of channels; with one, blocks may also be [shape=(samples,)].
    hop
        The most efficient block size in samples: one step of the network.
    latency
        Latency in samples, at most.

    Example
    -------
    >>> stream = denoise.stream("stream", 48_000)
    >>> for block in blocks:
    ...     play(stream.process(block))
    >>> play(stream.flush())
    """

    def __init__(
        self, begin: Callable[[], Pipeline], rate: int, channels: int, hop: int, latency: int
    ) -> None:
        self._begin, self.rate, self.channels = begin, rate, channels
        self.hop, self.latency = hop, latency
        self.reset()

    def reset(self) -> None:
        """Discard the state and begin a new stream."""
        self._pipeline = self._begin()
        self._flat = True

    def warm_up(self) -> None:
        """Compile and load everything, so that the first block is as fast as the others."""
        for _ in range(3):
            self.process(np.zeros((self.latency, self.channels), np.float32))
            self.process(np.zeros((self.hop, self.channels), np.float32))
        self.reset()

    def process(self, samples: np.ndarray) -> np.ndarray:
        """Process the next samples, and return those that are finished.

        The outputs of successive calls follow each other without gaps; in total, fewer than
        `latency` samples are pending.

        Parameters
        ----------
        samples : np.ndarray [shape=(n, channels), or (n,) of one channel]
            Nominal range [-1, 1].

        Returns
        -------
        np.ndarray [shape=(m, channels), or (m,)], float32

        Raises
        ------
        ValueError
            If the block has another number of channels.

        Example
        -------
        >>> stream = denoise.stream("stream", 48_000)
        >>> finished = stream.process(noisy[: stream.hop])
        """
        self._flat = np.ndim(samples) == 1
        block = samples[:, None] if self._flat else samples
        if np.ndim(block) != 2 or block.shape[1] != self.channels:
            raise ValueError(
                f"a block [shape={np.shape(samples)}] must have {self.channels} channels, as "
                f"[shape=(samples, {self.channels})]"
            )
        return self._as_given(self._pipeline.process(block))

    def flush(self) -> np.ndarray:
        """Return the pending samples, so that the output is as long as the input, and begin a new
        stream.

        Example
        -------
        >>> stream = denoise.stream("stream", 48_000)
        >>> first = stream.process(noisy)
        >>> len(first) + len(stream.flush()) == len(noisy)
        True
        """
        rest = self._as_given(self._pipeline.flush())
        self.reset()
        return rest

    def _as_given(self, block: np.ndarray) -> np.ndarray:
        return block[:, 0] if self._flat else block
