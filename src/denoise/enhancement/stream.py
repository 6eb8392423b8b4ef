"""Audio as it comes, denoised block by block within a latency of one frame."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from denoise.enhancement.pipeline import Pipeline


class Stream:
    """A stream of audio through a causal network.

    What it gives is what the whole recording gives, whatever the size of the blocks.

    `Enhancer.stream` gives one.

    Parameters
    ----------
    begin
        Gives what takes the audio of a new stream.
    rate
        Of the audio, in Hz.
    channels
        Of the audio; a stream of one takes and gives blocks [shape=(samples,)] as well.
    hop
        Samples of the blocks that are best given: one step of the network.
    latency
        Samples between the arrival of one and the time by which it can be given out.

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
        """Begin a new stream."""
        self._pipeline = self._begin()
        self._flat = True

    def warm_up(self) -> None:
        """Have everything compiled and loaded, so that the first block takes no longer than the
        others."""
        for _ in range(3):
            self.process(np.zeros((self.latency, self.channels), np.float32))
            self.process(np.zeros((self.hop, self.channels), np.float32))
        self.reset()

    def process(self, samples: np.ndarray) -> np.ndarray:
        """Take the next samples; give those that are ready.

        All that was given so far continues without gaps what was given before, and is shorter than
        what was taken by less than `latency` samples.

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
            If it has another number of channels.
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
        """The rest of the stream, so that as much is given as was taken; then a new one begins."""
        rest = self._as_given(self._pipeline.flush())
        self.reset()
        return rest

    def _as_given(self, block: np.ndarray) -> np.ndarray:
        return block[:, 0] if self._flat else block
