"""Audio of any rate through a network, block by block.

A recording whose rate is no multiple of the network's is resampled to the next multiple and back.
What the filters of that remove just below half of its rate is given back from the recording itself,
with the gain that all frequencies above the network's band have.
"""

from __future__ import annotations

import itertools

import numpy as np

from denoise import audio
from denoise.enhancement.causal import CausalRun
from denoise.enhancement.windows import WindowedRun


class Pipeline:
    """Enhances one recording or stream.

    Parameters
    ----------
    run
        Through the network.
    rate, inner_rate
        Of the audio, and of the run.
    channels
        Of the audio.
    keep_all
        Whether frequencies above the network's band are kept.
    """

    def __init__(
        self,
        run: CausalRun | WindowedRun,
        rate: int,
        inner_rate: int,
        channels: int,
        *,
        keep_all: bool,
    ) -> None:
        self._run, self._channels = run, channels
        self._in = audio.Resampler(rate, inner_rate, channels)
        self._out = audio.Resampler(inner_rate, rate, channels)
        self._rest = None
        if keep_all and rate != inner_rate:
            self._rest = _Rest(rate, inner_rate, channels)
        self._taken = self._given = 0

    def process(self, block: np.ndarray) -> np.ndarray:
        """Take the next samples [shape=(n, channels)]; give those that are ready, float32."""
        self._taken += len(block)
        inner = self._in.process(block)
        if self._rest is not None:
            self._rest.take(block, inner)
        given = self._resampled_back(self._run.process(inner.T))
        self._given += len(given)
        return given

    def flush(self) -> np.ndarray:
        """The rest, so that as much is given as was taken."""
        inner = self._in.flush()
        if self._rest is not None:
            self._rest.take(np.zeros((0, self._channels), np.float32), inner)
        parts = [
            self._resampled_back(self._run.process(inner.T)),
            self._resampled_back(self._run.flush(), last=True),
        ]
        missing = self._taken - self._given
        # Rounding to and fro may add samples at the end, or leave some out.
        given = np.concatenate(parts)[:missing]
        return np.pad(given, ((0, missing - len(given)), (0, 0)))

    def _resampled_back(self, rows: np.ndarray, *, last: bool = False) -> np.ndarray:
        wave, above = rows[: self._channels].T, rows[self._channels :].T
        if self._rest is not None:
            wave = self._rest.without(wave, above)
        given = self._out.process(wave)
        if last:
            given = np.concatenate([given, self._out.flush()])
        return given if self._rest is None else self._rest.given_back(given)


class _Rest:
    """What resampling to and fro removes of a recording, with the gain of the high frequencies.

    With the enhanced signal e, the recording x, resampled x', and the gain g, e - g x' is
    resampled back and g x is added, so that e = g x' gives g x over all frequencies.
    """

    def __init__(self, rate: int, inner_rate: int, channels: int) -> None:
        self._step = inner_rate / rate
        self._own = np.zeros((0, channels), np.float32)
        self._inner = np.zeros((0, channels), np.float32)
        self._gains = np.ones((0, channels), np.float32)
        self._first = 0
        """Index of the inner sample of the first gain."""
        self._given = 0

    def take(self, own: np.ndarray, inner: np.ndarray) -> None:
        """Store new samples of the recording and their resampled version."""
        self._own = np.concatenate([self._own, np.asarray(own, np.float32)])
        self._inner = np.concatenate([self._inner, inner])

    def without(self, wave: np.ndarray, gains: np.ndarray) -> np.ndarray:
        """The next enhanced samples without the part that is added after resampling."""
        inner, self._inner = self._inner[: len(wave)], self._inner[len(wave) :]
        self._gains = np.concatenate([self._gains, gains])
        return wave - gains * inner

    def given_back(self, wave: np.ndarray) -> np.ndarray:
        """Samples at the recording's rate, with the part of the recording added."""
        count = min(len(wave), len(self._own))
        if not count:
            return wave[:0]
        own, self._own = self._own[:count], self._own[count:]
        places = (self._given + np.arange(count)) * self._step - self._first
        self._given += count
        known = np.arange(len(self._gains))
        columns = zip(own.T, self._gains.T, strict=True)
        added = [column * np.interp(places, known, one) for column, one in columns]
        old = min(int(self._given * self._step) - self._first, len(self._gains) - 1)
        if old > 0:
            self._gains, self._first = self._gains[old:], self._first + old
        return wave[:count] + np.stack(added, axis=1).astype(np.float32)


def resampling_delay(rate: int, inner_rate: int, block: int) -> int:
    """Largest delay of resampling there and back for blocks of this size, in samples."""
    if rate == inner_rate:
        return 0
    there, back = audio.Resampler(rate, inner_rate), audio.Resampler(inner_rate, rate)
    taken = given = most = 0
    for _ in itertools.repeat(None, 2 * rate // block):
        taken += block
        given += len(back.process(there.process(np.zeros(block, np.float32))))
        most = max(most, taken - given)
    return most
