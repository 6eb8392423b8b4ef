"""A recording through a network that is given whole windows.

It is cut into overlapping windows of the length the network was trained on, or four times that if
it takes any; each is enhanced, and the windows are cross-faded.  The ends are padded by reflection,
so that no sample is lost and the first and last windows sound like those the network was trained
on; levels are those of the input.
"""

from __future__ import annotations

import math

import numpy as np

from denoise.enhancement.causal import OnFrames, check_finite
from denoise.enhancement.gains import Gains
from denoise.features.stft import gain_over_time, istft, spectrogram_shape, stft
from denoise.networks.runtimes import Runtime

_BATCH, _SMALL_BATCH = 32, 8
LONG = 4
"""Length of a window for a network with any number of frames, in training windows."""


class WindowedRun:
    """All channels of one recording through a network that is given whole windows, at a multiple of
    its rate; used as a `CausalRun` is.

    Parameters
    ----------
    gains
        Of the recording.
    window, hop
        Samples of a window, and between the starts of two, at the network's rate.
    reference : np.ndarray [shape=(channels, 1, 1)], optional
        Magnitude of 0 dB of the whole recording; default that of each window.
    """

    def __init__(
        self,
        network: Runtime,
        gains: Gains,
        window: int,
        hop: int,
        reference: np.ndarray | None = None,
        on_frames: OnFrames | None = None,
    ) -> None:
        self._network, self._gains, self.on_frames = network, gains, on_frames
        self._features, self._reference = gains.features, reference
        self._stft, self._channels = gains.stft, gains.channels
        self._window, self._hop = window * gains.multiple, hop * gains.multiple
        self._frames = spectrogram_shape(window, gains.features.settings.stft)[1]
        self._overlap = self._window - self._hop
        share = gains.channels * (LONG if network.frames is None else 1)
        self._sizes = max(1, _BATCH // share), max(1, _SMALL_BATCH // share)
        # Sums to one over the overlap after the division; the ends keep a little weight.
        fade = np.hanning(self._window + 2)[1:-1] if self._overlap else np.ones(self._window)
        self._fade = fade.astype(np.float32)
        self._input = np.zeros((self._channels, 0), np.float32)
        """Padded samples, starting one window before the next."""
        self._next = 0
        """Start of the next window in them."""
        self._begun = False
        self._tail = np.zeros((2 * self._channels + 1, self._overlap), np.float32)
        """The part that overlaps with the next window, and its weight."""
        self._taken = self._given = self._done = 0
        self._skip = self._overlap

    def process(self, samples: np.ndarray) -> np.ndarray:
        """See `CausalRun.process`."""
        self._taken += samples.shape[1]
        self._input = np.concatenate([self._input, samples], axis=1)
        if not self._begun:
            if self._taken <= 2 * self._window:
                return self._nothing()
            self._input = self._padded(self._overlap, 0)
            self._begun = True
        large = self._sizes[0]
        ready = [self._nothing()]
        while self._input.shape[1] - self._next >= (large - 1) * self._hop + self._window:
            ready.append(self._advance(large))
        return self._give(ready)

    def flush(self) -> np.ndarray:
        """See `CausalRun.flush`."""
        if self._taken == 0:
            return self._nothing()
        count = self._count(self._taken)
        before, after = 0 if self._begun else self._overlap, count * self._hop - self._taken
        self._input = self._padded(before, after)
        left = count - self._done
        ready = [self._advance(size) for size in _batches(left, self._sizes)]
        ready.append(self._tail[:-1] / self._tail[-1])
        missing = self._taken - self._given
        return self._give(ready)[:, :missing]

    def cut(self, wave: np.ndarray) -> np.ndarray:
        """The windows [shape=(windows, window)] of one whole channel."""
        count = self._count(len(wave))
        after = count * self._hop - len(wave)
        padded = np.pad(wave, (self._overlap, after), mode="reflect")
        return np.lib.stride_tricks.sliding_window_view(padded, self._window)[:: self._hop][:count]

    def _nothing(self) -> np.ndarray:
        return np.zeros((2 * self._channels, 0), np.float32)

    def _padded(self, before: int, after: int) -> np.ndarray:
        return np.pad(self._input, ((0, 0), (before, after)), mode="reflect")

    def _count(self, samples: int) -> int:
        return max(1, math.ceil((samples + self._overlap) / self._hop))

    def _advance(self, count: int) -> np.ndarray:
        """Enhance the next windows; returns the finished samples."""
        span = (count - 1) * self._hop + self._window
        part = self._input[:, self._next : self._next + span]
        windows = np.lib.stride_tricks.sliding_window_view(part, self._window, axis=1)
        windows = np.swapaxes(windows[:, :: self._hop], 0, 1).reshape(-1, self._window)
        enhanced, above = self._enhanced(windows)
        by_window = (count, self._channels, self._window)
        rows = np.concatenate([enhanced.reshape(by_window), above.reshape(by_window)], axis=1)
        sums = np.zeros((2 * self._channels + 1, span), np.float32)
        sums[:, : self._overlap] = self._tail
        for number, window in enumerate(rows):
            place = slice(number * self._hop, number * self._hop + self._window)
            sums[:-1, place] += self._fade * window
            sums[-1, place] += self._fade
        ready = count * self._hop
        self._tail = sums[:, ready:]
        self._done += count
        # A window's length before the next may be needed to reflect the end.
        old = max(0, self._next + ready - self._window)
        self._input = self._input[:, old:]
        self._next += ready - old
        return sums[:-1, :ready] / sums[-1, :ready]

    def _enhanced(self, windows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Enhanced windows [shape=(windows x channels, window)], and for each sample the gain above
        the network's band."""
        # An odd frame becomes an even one at an even multiple of the rate, and one more fits in.
        spectra = stft(windows, self._stft)[:, :, : self._frames]
        seen = self._gains.seen(spectra)
        references = self._reference
        if references is None:
            references = self._features.references(seen)
        else:
            references = np.tile(references, (len(windows) // self._channels, 1, 1))
        encoded = self._features.encode_input(seen, references)
        output = check_finite(self._network.predict(encoded))
        if self.on_frames is not None:
            self.on_frames(seen, output, references)
        in_band = self._gains.in_band(output, seen, references)
        above, _ = self._gains.above(in_band, seen)
        enhanced = istft(self._gains.apply(spectra, in_band, above), self._stft, self._window)
        return enhanced, gain_over_time(above, self._stft, self._window)

    def _give(self, ready: list[np.ndarray]) -> np.ndarray:
        joined = np.concatenate(ready, axis=1)
        given = joined[:, self._skip :]
        self._skip -= joined.shape[1] - given.shape[1]
        self._given += given.shape[1]
        return given


def _batches(count: int, sizes: tuple[int, int]) -> list[int]:
    """Large batches, and small ones for the rest, so that few windows are not padded to many."""
    large, small = sizes
    left = count % large
    sizes_left = [min(small, left - start) for start in range(0, left, small)]
    return [large] * (count // large) + sizes_left
