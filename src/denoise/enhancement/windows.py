"""One channel through a network that is given whole windows.

A recording is cut into overlapping windows of the length the network was trained on, or four times
that if it takes any; each is enhanced, and the windows are cross-faded.  The ends are padded by
reflection, so that no sample is lost and the first and last windows sound like those the network
was trained on; levels are those of the input.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from denoise.enhancement.stream import OnFrames, check_finite
from denoise.features.codec import Features
from denoise.features.stft import istft, stft

_BATCH, _SMALL_BATCH = 32, 8
LONG = 4
"""Windows of the training that one of a network for any number of frames is as long as."""


def takes_any_length(model: Any) -> bool:
    """Whether a network is built for any number of frames."""
    return model.inputs[0].shape[2] is None


class WindowedRun:
    """One channel through a network that is given whole windows; used as a `Stream` is.

    Parameters
    ----------
    window, hop
        Samples of a window, and between the starts of two.
    reference : np.ndarray [shape=(1, 1, 1)], optional
        Magnitude of 0 dB of the whole recording; default that of each window.
    """

    def __init__(
        self, model: Any, features: Features, window: int, hop: int, reference: np.ndarray | None
    ) -> None:
        self.on_frames: OnFrames | None = None
        self._model, self._features = model, features
        self._stft, self._window, self._hop = features.settings.stft, window, hop
        self._reference = reference
        self._overlap = window - hop
        share = LONG if takes_any_length(model) else 1
        self._sizes = _BATCH // share, _SMALL_BATCH // share
        # Sums to one over the overlap after the division; the ends keep a little weight.
        fade = np.hanning(self._window + 2)[1:-1] if self._overlap else np.ones(self._window)
        self._fade = fade.astype(np.float32)
        self._input = np.zeros(0, np.float32)
        """Padded samples, from a window before the next on."""
        self._next = 0
        """Where in them the next window begins."""
        self._begun = False
        self._tail = np.zeros((2, self._overlap), np.float32)
        """What is to overlap with the next window, and its weight."""
        self._taken = self._given = self._done = 0
        self._skip = self._overlap

    def process(self, samples: np.ndarray) -> np.ndarray:
        """Take the next samples [shape=(n,)]; give those that are ready, float32."""
        self._taken += len(samples)
        self._input = np.concatenate([self._input, samples])
        if not self._begun:
            if self._taken <= 2 * self._window:
                return np.zeros(0, np.float32)
            self._input = np.pad(self._input, (self._overlap, 0), mode="reflect")
            self._begun = True
        large = self._sizes[0]
        ready = [np.zeros(0, np.float32)]
        while len(self._input) - self._next >= (large - 1) * self._hop + self._window:
            ready.append(self._advance(large))
        return self._give(ready)

    def flush(self) -> np.ndarray:
        """The rest, so that as much is given as was taken."""
        if self._taken == 0:
            return np.zeros(0, np.float32)
        count = self._count(self._taken)
        before, after = 0 if self._begun else self._overlap, count * self._hop - self._taken
        self._input = np.pad(self._input, (before, after), mode="reflect")
        left = count - self._done
        ready = [self._advance(size) for size in _batches(left, self._sizes)]
        ready.append(self._tail[0] / self._tail[1])
        missing = self._taken - self._given
        return self._give(ready)[:missing]

    def cut(self, wave: np.ndarray) -> np.ndarray:
        """The windows [shape=(windows, window)] that a whole recording is enhanced in."""
        count = self._count(len(wave))
        after = count * self._hop - len(wave)
        padded = np.pad(wave, (self._overlap, after), mode="reflect")
        return np.lib.stride_tricks.sliding_window_view(padded, self._window)[:: self._hop][:count]

    def _count(self, samples: int) -> int:
        return max(1, math.ceil((samples + self._overlap) / self._hop))

    def _advance(self, count: int) -> np.ndarray:
        """Enhance the next windows; the samples that no later window changes."""
        span = (count - 1) * self._hop + self._window
        part = self._input[self._next : self._next + span]
        windows = np.lib.stride_tricks.sliding_window_view(part, self._window)[:: self._hop]
        spectra = stft(windows, self._stft)
        references = self._reference
        if references is None:
            references = self._features.references(spectra)
        output = self._predict(self._features.encode_input(spectra, references))
        if self.on_frames is not None:
            self.on_frames(spectra, output, references)
        found = istft(self._features.decode(output, spectra, references), self._stft, self._window)
        wave, weight = sums = np.zeros((2, span), np.float32)
        sums[:, : self._overlap] = self._tail
        for number, window in enumerate(found):
            place = slice(number * self._hop, number * self._hop + self._window)
            wave[place] += self._fade * window
            weight[place] += self._fade
        ready = count * self._hop
        self._tail = sums[:, ready:]
        self._done += count
        # A window's length before the next may be needed to reflect the end.
        old = max(0, self._next + ready - self._window)
        self._input = self._input[old:]
        self._next += ready - old
        return wave[:ready] / weight[:ready]

    def _predict(self, inputs: np.ndarray) -> np.ndarray:
        """Outputs of a batch, padded to one of two sizes so that the network is compiled twice."""
        large, small = self._sizes
        size = large if len(inputs) > small else small
        padded = np.zeros((size, *inputs.shape[1:]), np.float32)
        padded[: len(inputs)] = inputs
        return check_finite(np.asarray(self._model.predict_on_batch(padded))[: len(inputs)])

    def _give(self, ready: list[np.ndarray]) -> np.ndarray:
        joined = np.concatenate(ready)
        given = joined[self._skip :]
        self._skip -= len(joined) - len(given)
        self._given += len(given)
        return given


def _batches(count: int, sizes: tuple[int, int]) -> list[int]:
    """Large batches, and small ones for what is left over: few windows are not padded to many."""
    large, small = sizes
    left = count % large
    sizes_left = [min(small, left - start) for start in range(0, left, small)]
    return [large] * (count // large) + sizes_left
