"""Enhancing a recording with a causal network, which keeps its state.

Every hop of input gives a hop of output one frame later, because a frame is complete only with its
last sample. The result does not depend on the size of the blocks.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from denoise.core.errors import UserError
from denoise.enhancement.gains import Gains
from denoise.features.stft import hann
from denoise.networks.runtimes import Runtime

OnFrames = Callable[[np.ndarray, np.ndarray, np.ndarray], None]
"""Called with the noisy spectra, the network's output and the references of all frames that are
enhanced, as `Features` has them."""


def check_finite(output: np.ndarray) -> np.ndarray:
    """The output of a network, unless it is not finite.

    Raises
    ------
    UserError
        If a value is NaN or infinite; written as audio, it would be full scale.
    """
    if not np.isfinite(output).all():
        raise UserError(
            "the network gives values that are not finite: its weights are damaged, or the input "
            "is far beyond full scale"
        )
    return output


class CausalRun:
    """Enhances all channels of one recording with a causal network, at a multiple of the network's
    rate.

    Parameters
    ----------
    network
        A causal network.
    gains
        Of the recording.
    """

    def __init__(self, network: Runtime, gains: Gains, on_frames: OnFrames | None = None) -> None:
        self._network, self._gains, self.on_frames = network, gains, on_frames
        self._features = gains.features
        self._n_fft, self._hop = gains.stft.n_fft, gains.stft.hop
        self._window = hann(self._n_fft)
        self._power = np.square(self._window, dtype=np.float64)
        channels = gains.channels
        self._states: list[Any] = [
            np.zeros((channels, *shape), np.float32) for shape in network.states
        ]
        self._above: np.ndarray | None = None
        half = self._n_fft // 2
        # As in the transform of a whole recording, the first frame is centred on the first sample.
        self._input = np.zeros((channels, half), np.float32)
        self._skip = half
        self._sum = np.zeros((2 * channels, self._n_fft), np.float32)
        self._weight = np.zeros((1, self._n_fft), np.float64)
        self._taken = self._given = 0

    def process(self, samples: np.ndarray) -> np.ndarray:
        """Take the next samples [shape=(channels, n)]; give those that are ready, float32.

        The outputs of successive calls follow each other without gaps.  In total, they are less
        than a frame shorter than the input so far.

        Returns
        -------
        np.ndarray [shape=(2 channels, m)]
            The enhanced channels, and for each of its samples the gain above the network's band.
        """
        self._taken += samples.shape[1]
        return self._give(self._advance(np.asarray(samples, np.float32)))

    def flush(self) -> np.ndarray:
        """The remaining samples, so that the output is as long as the input."""
        missing = self._taken - self._given
        # Frames of the padding at the end, as the transform of a whole recording has them.
        padding = np.zeros((len(self._input), self._n_fft // 2), np.float32)
        rest = np.concatenate([self._advance(padding), self._overlapping()], axis=1)
        rest = rest[:, self._skip :][:, :missing]
        return np.pad(rest, ((0, 0), (0, missing - rest.shape[1])))

    def _advance(self, samples: np.ndarray) -> np.ndarray:
        """Enhance all frames that `samples` complete; returns the finished samples."""
        self._input = np.concatenate([self._input, samples], axis=1)
        count = max(0, 1 + (self._input.shape[1] - self._n_fft) // self._hop)
        if not count:
            return np.zeros((len(self._sum), 0), np.float32)
        frames = np.lib.stride_tricks.sliding_window_view(self._input, self._n_fft, axis=1)
        frames = frames[:, :: self._hop][:, :count] * self._window
        self._input = self._input[:, count * self._hop :].copy()
        spectra = np.swapaxes(np.fft.rfft(frames, axis=2), 1, 2)
        seen = self._gains.seen(spectra)
        references = self._features.references(seen)
        encoded = self._features.encode_input(seen, references)
        output, self._states = self._network.step(encoded, self._states)
        check_finite(output)
        if self.on_frames is not None:
            self.on_frames(seen, output, references)
        in_band = self._gains.in_band(output, seen, references)
        above, self._above = self._gains.above(in_band, seen, self._above)
        enhanced = np.swapaxes(self._gains.apply(spectra, in_band, above), 1, 2)
        waves = np.fft.irfft(enhanced, n=self._n_fft, axis=2).astype(np.float32) * self._window
        gains = above[:, :, None] * self._power.astype(np.float32)
        ready, self._sum = self._overlap_add(self._sum, np.concatenate([waves, gains]))
        powers = np.broadcast_to(self._power, (1, count, self._n_fft))
        weight, self._weight = self._overlap_add(self._weight, powers)
        return _normalised(ready, weight)

    def _overlap_add(self, before: np.ndarray, frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The sums that the next frames complete, and those that later ones go on with.

        Every sample sums its frames from the first to the last, however many come at once.

        Parameters
        ----------
        before : np.ndarray [shape=(rows, n_fft)]
        frames : np.ndarray [shape=(rows, count, n_fft)]
        """
        rows, count, n_fft = frames.shape
        parts = -(-n_fft // self._hop)
        if missing := parts * self._hop - n_fft:
            frames = np.pad(frames, ((0, 0), (0, 0), (0, missing)))
        frames = frames.reshape(rows, count, parts, self._hop)
        total = np.zeros((rows, (count + parts) * self._hop), before.dtype)
        total[:, :n_fft] = before
        hops = total.reshape(rows, count + parts, self._hop)
        for part in reversed(range(parts)):
            hops[:, part : part + count] += frames[:, :, part]
        done = count * self._hop
        return total[:, :done], total[:, done : done + n_fft]

    def _overlapping(self) -> np.ndarray:
        return _normalised(self._sum, self._weight)

    def _give(self, ready: np.ndarray) -> np.ndarray:
        given = ready[:, self._skip :]
        self._skip -= ready.shape[1] - given.shape[1]
        self._given += given.shape[1]
        return given


def _normalised(sums: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Sums of frames divided by those of their windows."""
    return sums / np.where(weights > 1e-8, weights, 1.0).astype(np.float32)
