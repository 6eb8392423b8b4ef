"""Batches of training and validation windows, in an order given by a seed."""

from __future__ import annotations

import abc
import contextlib
import ctypes
import functools
import math
import multiprocessing
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.fft

from denoise.core import files
from denoise.core.arrays import ArrayReader
from denoise.core.pools import prefetch, start_worker, worker_arguments
from denoise.core.tables import read_table
from denoise.features.codec import Features
from denoise.features.settings import FeatureSettings
from denoise.features.stft import stft
from denoise.mixing.augmentation import AugmentationSettings, Mixer
from denoise.training import losses

if TYPE_CHECKING:
    from denoise.training.settings import TrainingSettings

_SIDES = ("input", "target")
Batch = tuple[np.ndarray, np.ndarray]


def open_batches(
    manifest_path: Path,
    settings: TrainingSettings,
    augmentation: AugmentationSettings | None = None,
) -> Batches:
    """The batches of a cache, given by its manifest; audio for a waveform loss.

    Windows that are not cached are rendered, and varied by `augmentation` in shuffled order.
    """
    manifest = files.read_made(manifest_path)
    batch_size = settings.batch_size // settings.accumulate
    waveforms = losses.is_waveform_loss(settings.loss)
    if manifest["shards"] and not waveforms:
        shards = [
            tuple(manifest_path.parent / shard[side] for side in _SIDES)
            for shard in manifest["shards"]
        ]
        return SpectrogramBatches(shards, batch_size)
    features = Features(FeatureSettings.model_validate(manifest["features"]), manifest["scales"])
    make = functools.partial(_mixer, manifest["mixtures"], manifest["rate"], augmentation)
    if waveforms:
        return WaveformBatches(features, batch_size, make, settings.loaders)
    return RenderedBatches(features, batch_size, make())


def _mixer(table: str, rate: int, augmentation: AugmentationSettings | None) -> Mixer:
    return Mixer(read_table(table), rate, augmentation)


class Batches(abc.ABC):
    """Training or validation windows, served in batches in an order given by a seed."""

    item_shape: tuple[int, int, int]
    """Shape of a network's input: frequencies, frames and channels."""
    outputs: int
    """Channels of a network's output."""

    def __init__(self, count: int, batch_size: int) -> None:
        self.count, self.batch_size = count, batch_size
        self.order = np.arange(count)
        self.epoch_seed: int | None = None

    @property
    def shapes(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Shapes of a window's model input and of its target."""
        return self.item_shape, (*self.item_shape[:2], self.outputs)

    def shuffle(self, seed: int) -> None:
        """Set the order and the variations of the next epoch by `seed`."""
        self.order = np.random.default_rng(seed).permutation(self.count)
        self.epoch_seed = seed

    def __len__(self) -> int:
        return -(-self.count // self.batch_size)

    def windows_of(self, first: int, last: int) -> int:
        """Number of windows in the batches from `first` up to but not including `last`."""
        return min(last * self.batch_size, self.count) - first * self.batch_size

    def chosen(self, number: int) -> np.ndarray:
        """The windows of batch `number` of this epoch."""
        return self.order[number * self.batch_size : (number + 1) * self.batch_size]

    @abc.abstractmethod
    def batch(self, number: int) -> Batch:
        """Model input and target of a batch."""

    def __iter__(self) -> Iterator[Batch]:
        """All batches of an epoch."""
        return self.iterate_from(0)

    def iterate_from(self, first: int) -> Iterator[Batch]:
        """The batches of an epoch from `first` on; a thread prepares the next one meanwhile."""
        with ThreadPoolExecutor(1) as thread:
            yield from prefetch(thread, self.batch, range(first, len(self)), 1)

    def close(self) -> None:  # noqa: B027 - most have nothing to close
        """Stop the loader processes, if there are any."""


class SpectrogramBatches(Batches):
    """Input and target spectrograms [shape=(batch, frequency, time, channels)], float32, of a
    cache on disk.

    Parameters
    ----------
    paths
        Input and target of each shard.
    """

    def __init__(self, paths: list[tuple[Path, ...]], batch_size: int) -> None:
        self.readers = [tuple(ArrayReader(path) for path in shard) for shard in paths]
        lengths = [len(shard[0]) for shard in self.readers]
        super().__init__(sum(lengths), batch_size)
        self.shards = np.repeat(np.arange(len(lengths)), lengths)
        self.rows = np.concatenate([np.arange(length) for length in lengths])
        self.item_shape = self.readers[0][0].shape[1:]
        self.outputs = self.readers[0][1].shape[-1]

    def batch(self, number: int) -> Batch:
        """Input and target of a batch."""
        chosen = self.chosen(number)
        sides = []
        for side, reader in enumerate(self.readers[0]):
            rows = np.empty((len(chosen), *reader.shape[1:]), reader.dtype)
            for shard, row, out in zip(self.shards[chosen], self.rows[chosen], rows, strict=True):
                self.readers[shard][side].read(row, out)
            sides.append(rows.astype(np.float32, copy=False))
        return sides[0], sides[1]


class RenderedBatches(Batches):
    """Input and target spectrograms, computed when they are needed."""

    def __init__(self, features: Features, batch_size: int, mixer: Mixer) -> None:
        super().__init__(len(mixer.rows), batch_size)
        self.features, self.mixer = features, mixer
        self.item_shape, self.outputs = _shapes(features, mixer)

    def batch(self, number: int) -> Batch:
        """Input and target of a batch."""
        return _spectrograms(self.features, self.mixer.batch(self.chosen(number), self.epoch_seed))


class WaveformBatches(Batches):
    """The audio of windows: noisy [shape=(batch, samples)], and noisy and clean [shape=(batch,
    samples, 2)], float32.

    Parameters
    ----------
    features
        What the network will see of them.
    make
        Gives what renders them.
    processes
        How many render batches beforehand; with 0 a thread does.
    """

    def __init__(
        self, features: Features, batch_size: int, make: Callable[[], Mixer], processes: int = 0
    ) -> None:
        self.mixer = make()
        super().__init__(len(self.mixer.rows), batch_size)
        self.features, self.samples = features, int(self.mixer.rows[0]["samples"])
        self.item_shape, self.outputs = _shapes(features, self.mixer)
        self.processes, self._make = processes, make
        self._pool: ProcessPoolExecutor | None = None
        self._slots = np.empty(0, np.float32)
        self._made: Generator[Batch, None, None] | None = None

    @property
    def shapes(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Shapes of the noisy audio, and of noisy and clean together."""
        return (self.samples,), (self.samples, 2)

    def batch(self, number: int) -> Batch:
        """The noisy audio of a batch, and noisy and clean together."""
        waves = self.mixer.batch(self.chosen(number), self.epoch_seed)
        return waves[..., 0], waves

    def iterate_from(self, first: int) -> Iterator[Batch]:
        """The batches of an epoch from `first` on, prepared by the loader processes if there are
        any."""
        if not self.processes:
            return super().iterate_from(first)
        if self._made is not None:
            # Batches of an epoch that was left early would be written to slots of this one.
            self._made.close()
        self._made = self._loaded(first)
        return self._made

    def _loaded(self, first: int) -> Generator[Batch, None, None]:
        ahead = 2 * self.processes
        if self._pool is None:
            self._start(ahead + 1)
        assert self._pool is not None
        jobs = (
            (number % len(self._slots), self.chosen(number), self.epoch_seed)
            for number in range(first, len(self))
        )
        with contextlib.closing(prefetch(self._pool, _load, jobs, ahead)) as loaded:
            for slot, count in loaded:
                # Copied, as the backend may still read a batch when its slot is written again.
                waves = self._slots[slot, :count].copy()
                yield waves[..., 0], waves

    def _start(self, slots: int) -> None:
        """Start the loader processes, with shared memory for `slots` batches: sending batches
        through pipes would limit a training on a GPU."""
        # Forked, they would share what the backend holds.
        context = multiprocessing.get_context("spawn")
        shape = (slots, self.batch_size, self.samples, 2)
        shared = context.RawArray(ctypes.c_float, math.prod(shape))
        self._slots = _as_slots(shared, shape)
        self._pool = ProcessPoolExecutor(
            self.processes,
            mp_context=context,
            initializer=_start_loader,
            initargs=(worker_arguments(), self._make, shared, shape),
        )

    def close(self) -> None:
        """Stop the processes."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
            self._pool = None


_loader: list[tuple[Mixer, np.ndarray]] = []
"""In a loader process: what renders windows, and the shared memory that they are written to."""


def _start_loader(
    worker: tuple[Any, ...], make: Callable[[], Mixer], shared: Any, shape: tuple[int, ...]
) -> None:
    start_worker(*worker)
    _loader[:] = [(make(), _as_slots(shared, shape))]


def _as_slots(shared: Any, shape: tuple[int, ...]) -> np.ndarray:
    return np.frombuffer(shared, np.float32).reshape(shape)


def _load(job: tuple[int, np.ndarray, int | None]) -> tuple[int, int]:
    """Render a batch into a slot; returns the slot and the number of windows."""
    slot, chosen, epoch_seed = job
    mixer, slots = _loader[0]
    slots[slot, : len(chosen)] = mixer.batch(chosen, epoch_seed)
    return slot, len(chosen)


def _spectrograms(features: Features, waves: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Input and target of noisy and clean windows [shape=(batch, samples, 2)]."""
    noisy, clean = (
        stft(waves[..., side], features.settings.stft, scipy.fft.rfft) for side in (0, 1)
    )
    return features.encode(noisy, clean, features.references(noisy))


def _shapes(features: Features, mixer: Mixer) -> tuple[tuple[int, int, int], int]:
    """The shape of an input, and the channels of a target."""
    inputs, targets = _spectrograms(features, mixer.batch(np.zeros(1, int)))
    return inputs.shape[1:], targets.shape[-1]
