"""Enhancing audio as it comes, by a causal network that keeps its state.

Every hop of input gives a hop of output, one frame later: the last samples of a frame are needed
before its first can be given.  The result is that of the whole recording at once, whatever the
size of the blocks.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.fft

from denoise.core.errors import UserError
from denoise.features.codec import Features
from denoise.features.stft import hann
from denoise.networks.backend import compiled_call
from denoise.networks.card import ModelCard
from denoise.networks.registry import streaming_network

OnFrames = Callable[[np.ndarray, np.ndarray, np.ndarray], None]


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


class Stream:
    """One stream of mono audio through a causal network.

    Parameters
    ----------
    model : keras.Model
        The trained network.
    card
        Its model card.

    on_frames
        Called with the noisy spectra, the network's output and the references of all frames that
        are enhanced, as `Features` has them.

    Raises
    ------
    UserError
        If the network is not causal.
    """

    def __init__(self, model: Any, card: ModelCard, on_frames: OnFrames | None = None) -> None:
        if not card.causal:
            raise UserError(
                f"model {card.name} looks at later audio and cannot follow a stream: use one "
                "with network.causal, such as the preset stream"
            )
        self.rate = card.rate
        self.features = Features(card.features, card.scales)
        self.n_fft = self.features.settings.stft.n_fft
        self.hop = self.features.settings.stft.hop
        stepped = streaming_network(card.network, model)
        # Compiled for every number of frames it meets, the second would not be worth the time.
        self._step_one, self._step = compiled_call(stepped, xla=True), compiled_call(stepped)
        self._shapes = [(1, *state.shape[1:]) for state in stepped.inputs[1:]]
        self._window = hann(self.n_fft)
        self.on_frames = on_frames
        self.reset()

    @property
    def latency(self) -> int:
        """Samples between the arrival of one and the time by which it can be given out."""
        return self.n_fft

    def reset(self) -> None:
        """Begin a new stream."""
        self._states: list[Any] = [np.zeros(shape, np.float32) for shape in self._shapes]
        half = self.n_fft // 2
        # As in the transform of a whole recording, the first frame is centred on the first sample.
        self._input = np.zeros(half, np.float32)
        self._skip = half
        self._sum = np.zeros(self.n_fft, np.float32)
        self._weight = np.zeros(self.n_fft, np.float64)
        self._taken = self._given = 0

    def new_stream(self) -> Stream:
        """A new stream through the same network, which is not compiled again."""
        other = copy.copy(self)
        other.on_frames = None
        other.reset()
        return other

    def warm_up(self) -> None:
        """Compile for blocks of a hop, so that the first does not take longer than the others."""
        for _ in range(3):
            self.process(np.zeros(self.n_fft, np.float32))
            self.process(np.zeros(self.hop, np.float32))
        self.reset()

    def process(self, samples: np.ndarray) -> np.ndarray:
        """Take the next samples [shape=(n,)] at `rate`; give those that are ready, float32.

        All that was given so far continues without gaps what was given before, and is shorter than
        what was taken by less than `latency` samples.
        """
        self._taken += len(samples)
        return self._give(self._advance(np.asarray(samples, np.float32)))

    def flush(self) -> np.ndarray:
        """The rest of the stream, so that as much is given as was taken; then a new one begins."""
        missing = self._taken - self._given
        # Frames of the padding at the end, as the transform of a whole recording has them.
        padding = np.zeros(self.n_fft // 2, np.float32)
        rest = np.concatenate([self._advance(padding), self._overlapping()])
        rest = rest[self._skip :][:missing]
        self.reset()
        return np.pad(rest, (0, missing - len(rest)))

    def _advance(self, samples: np.ndarray) -> np.ndarray:
        """Enhance all frames that `samples` complete; the samples that no later frame changes."""
        self._input = np.concatenate([self._input, samples])
        count = max(0, 1 + (len(self._input) - self.n_fft) // self.hop)
        if not count:
            return np.zeros(0, np.float32)
        frames = np.lib.stride_tricks.sliding_window_view(self._input, self.n_fft)
        frames = frames[:: self.hop][:count] * self._window
        self._input = self._input[count * self.hop :].copy()
        spectra = scipy.fft.rfft(frames, axis=1).T[None]
        references = self.features.references(spectra)
        encoded = self.features.encode_input(spectra, references)
        # The states stay with the backend: to bring them all here and back would take longer.
        step = self._step_one if count == 1 else self._step
        result, *self._states = step([encoded, *self._states])
        output = check_finite(np.asarray(result))
        if self.on_frames is not None:
            self.on_frames(spectra, output, references)
        enhanced = self.features.decode(output, spectra, references)[0].T
        waves = scipy.fft.irfft(enhanced, n=self.n_fft, axis=1).astype(np.float32) * self._window
        return np.concatenate([self._overlap_add(frame) for frame in waves])

    def _overlap_add(self, frame: np.ndarray) -> np.ndarray:
        self._sum += frame
        self._weight += np.square(self._window, dtype=np.float64)
        ready = self._overlapping()[: self.hop]
        for buffer in (self._sum, self._weight):
            buffer[: -self.hop] = buffer[self.hop :]
            buffer[-self.hop :] = 0
        return ready

    def _overlapping(self) -> np.ndarray:
        return self._sum / np.where(self._weight > 1e-8, self._weight, 1.0).astype(np.float32)

    def _give(self, ready: np.ndarray) -> np.ndarray:
        given = ready[self._skip :]
        self._skip -= len(ready) - len(given)
        self._given += len(given)
        return given
