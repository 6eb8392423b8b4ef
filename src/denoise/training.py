"""Training one network on a spectrogram cache, resumable at any time.

Resuming is the normal path: a run starts from the newest whole checkpoint if there is one.  What
an epoch does depends only on the checkpoint before it, the seed and the epoch's number (shuffling
and dropout are re-seeded for every epoch, learning rate and stopping follow from the history), so
a run that was killed and resumed gives what an uninterrupted run gives.
"""

from __future__ import annotations

import abc
import functools
import logging
import math
import multiprocessing
import resource
import shutil
import time
import zipfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from pydantic import Field, field_validator, model_validator

from denoise import backend, files, losses, models
from denoise.adversarial import AdversarialSettings, Adversary, best_epoch
from denoise.augmentation import AugmentationSettings, Mixer
from denoise.differentiable import Decoder, Encoder
from denoise.errors import UserError
from denoise.features import Features, FeatureSettings
from denoise.models import NetworkSettings
from denoise.optimisation import (
    OptimiserSettings,
    ScheduleSettings,
    averaged_weights,
    learning_rate,
    optimiser,
)
from denoise.provenance import code_version
from denoise.settings import Settings, digest, item_seed
from denoise.spectrogram import stft

if TYPE_CHECKING:
    import keras

log = logging.getLogger(__name__)

_MAP_BATCHES = 64
_SIDES = ("input", "target")


class TrainingSettings(Settings):
    """How a network is trained. Changing these trains again, but mixes nothing."""

    backend: Literal["tensorflow", "jax", "torch"] = "tensorflow"
    """The library that Keras computes with."""
    loss: str | dict[str, float] = "huber"
    """One of the losses listed at the end, or a sum of those on the waveform by their weights, e.g.
    `{compressed_spectral: 1, si_sdr: 0.01}`."""
    adversarial: AdversarialSettings = AdversarialSettings()
    """A discriminator beside the loss."""
    start_from: str | None = None
    """The weights to start from: another variant of the experiment, or a model folder such as
    `pretrained/best`, of the same network and features; default random ones."""
    metrics: tuple[str, ...] = ("mae",)
    """What is followed beside the loss: metrics listed at the end."""
    optimiser: OptimiserSettings = OptimiserSettings()
    """The optimiser."""
    learning_rate: float = Field(1e-3, gt=0, le=1)
    """At the start."""
    learning_rate_batch: int | None = Field(None, ge=1)
    """The batch size that `learning_rate` is meant for: with others it changes in proportion (Goyal
    et al., arXiv:1706.02677); default it is used as it is."""
    schedule: ScheduleSettings = ScheduleSettings()
    """How the learning rate changes."""
    epochs: int = Field(10, ge=1)
    """At most this many passes over the training windows."""
    batch_size: int = Field(20, ge=1)
    """Windows of a step."""
    loaders: int = Field(0, ge=0, le=256)
    """With losses on the waveform: processes that mix windows beside the training, which do not
    change the result; 0 for a thread, which keeps up with two cores but not with a GPU."""
    accumulate: int = Field(1, ge=1)
    """Parts that a batch is computed in, whose gradients are averaged: the step is the same with
    less memory, but batch normalisation looks at a part. What an epoch leaves over goes into the
    first step of the next."""
    early_stopping: int | None = Field(None, ge=1)
    """Stop after this many epochs without a better validation loss; default never."""
    precision: Literal["float32", "mixed_bfloat16", "mixed_float16"] = "float32"
    """Number format of the layers' arithmetic; weights stay float32."""
    xla: bool | Literal["auto"] = "auto"
    """Compile with XLA; `auto` does so on a GPU only (on a CPU it slows these networks)."""
    deterministic: bool = True
    """Use only operations that give the same result every time."""
    low_memory: bool = False
    """Give freed memory back to the system at once and, on a CPU, compute without oneDNN, which
    keeps scratch memory for every convolution: slower, but half a gigabyte less for the widest
    recipe."""
    threads: int = Field(2, ge=1, le=256)
    """CPU threads of the arithmetic. Part of the settings because the order of sums depends on
    it: with more cores granted the result stays the same."""

    @field_validator("loss")
    @classmethod
    def _check_loss(cls, loss: str | dict[str, float]) -> str | dict[str, float]:
        return losses.check(loss)

    @field_validator("metrics")
    @classmethod
    def _check_metrics(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(losses.check_metric(name) for name in names)

    @model_validator(mode="after")
    def _check(self) -> TrainingSettings:
        if self.adversarial.active and not losses.heard(self.loss):
            raise ValueError(
                f"adversarial.kind {self.adversarial.kind} listens to audio, which loss "
                f"{self.loss} does not make: use one or more of {', '.join(losses.SIGNAL_LOSSES)}"
            )
        if self.schedule.warmup_epochs > self.epochs:
            raise ValueError(
                f"schedule.warmup_epochs {self.schedule.warmup_epochs:g} must be at most epochs "
                f"{self.epochs}: the learning rate would never be reached"
            )
        falling = self.schedule.kind != "constant"
        if falling and self.schedule.minimum > self.initial_learning_rate:
            raise ValueError(
                f"schedule.minimum {self.schedule.minimum:g} must be at most the learning rate at "
                f"the start, {self.initial_learning_rate:g}"
            )
        if self.batch_size % self.accumulate:
            raise ValueError(
                f"accumulate {self.accumulate} must divide batch_size {self.batch_size}"
            )
        return self

    @property
    def initial_learning_rate(self) -> float:
        """The learning rate that the schedule starts from."""
        return self.learning_rate * self.batch_size / (self.learning_rate_batch or self.batch_size)


class TrainingFailed(UserError):
    """Training cannot go on; the last good checkpoint is kept."""


def train(
    cache_folders: dict[str, Path],
    network: NetworkSettings,
    settings: TrainingSettings,
    seed: int,
    out_folder: Path,
    card: dict[str, Any],
    *,
    augmentation: AugmentationSettings | None = None,
    start: Path | None = None,
    on_epoch: Callable[[dict[str, float]], None] = lambda row: None,
) -> None:
    """Train, and write ``model.keras`` (best on validation), ``history.csv`` and ``card.json``.

    Checkpoints live in ``<out_folder>/checkpoints`` until the model is written.

    Parameters
    ----------
    cache_folders
        Folders ``train`` and ``validation`` as `cache.write` wrote them.
    network
        Settings of one of `models.NETWORKS`.
    seed
        Decides the initial weights, the shuffling and the dropout.
    card
        What the model is made of, to be kept with it; a checkpoint of another card is deleted.
    augmentation
        How the training windows are varied if they are not cached.
    start
        A ``model.keras`` whose weights to start from.
    on_epoch
        Called with each row of the history as it comes (and for those a resumed run has already).

    Raises
    ------
    TrainingFailed
        If a loss is not finite.
    UserError
        If `start` holds another network.
    """
    backend.start(
        settings.backend,
        threads=settings.threads,
        deterministic=settings.deterministic,
        low_memory=settings.low_memory,
    )
    import keras

    _allow_many_open_files()
    training = open_windows(cache_folders["train"], settings, augmentation)
    validation = open_windows(cache_folders["validation"], settings)
    adversary = None
    if settings.adversarial.active:
        keras.utils.set_random_seed(item_seed(seed, "judge") % 2**32)
        adversary = Adversary(settings.adversarial, card["rate"])
    keras.utils.set_random_seed(seed)
    model = compiled(network, settings, training, cache_folders["train"], adversary)
    if start is not None:
        _start_from(start, model)
    _warn_of_slow_averages(model, network, settings.epochs * len(training))
    extra = adversary.variables if adversary else []
    checkpoints = Checkpoints(out_folder / "checkpoints", digest(card, 16), extra)
    history = checkpoints.restore(model)
    for row in history:
        on_epoch(row)
    while not should_stop(settings, [row["val_loss"] for row in history]):
        losses_so_far = [row["val_loss"] for row in history]
        rate = functools.partial(
            learning_rate,
            settings.schedule,
            settings.initial_learning_rate,
            settings.epochs,
            losses_so_far,
        )
        started = time.monotonic()
        row = {"epoch": len(history) + 1, "learning_rate": rate(1.0)}
        row |= _train_epoch(model, training, seed, len(history), settings, rate, adversary)
        with averaged_weights(model, settings.optimiser):
            row |= _validate(model, validation, len(history), adversary)
            better = best_epoch([*history, row]) == len(history)
            if better:
                checkpoints.keep_best(model)
        row["seconds"] = round(time.monotonic() - started, 2)
        log.info("epoch %d: loss %.5f val_loss %.5f", row["epoch"], row["loss"], row["val_loss"])
        history.append(row)
        checkpoints.save(model, history, better=better)
        on_epoch(row)
    for helper in (training, validation, adversary):
        if helper is not None:
            helper.close()
    model.set_weights(checkpoints.best_weights())
    _write_model(model, network, out_folder, history, card, training)
    shutil.rmtree(checkpoints.folder)


def _warn_of_slow_averages(model: keras.Model, network: NetworkSettings, updates: int) -> None:
    import keras

    momentum = getattr(network, "norm_momentum", 0.0)
    rest = momentum**updates
    layers = _network(model).layers
    normalised = any(isinstance(layer, keras.layers.BatchNormalization) for layer in layers)
    if normalised and rest > 0.01:
        log.warning(
            "after all %d updates, batch normalisation's running averages will still hold %.0f %% "
            "of what they started from, so that validation and use differ from training: lower "
            "network.norm_momentum from %g to %.2g, or train longer",
            updates, 100 * rest, momentum, max(0.5, math.floor(1e-4 ** (1 / updates) * 100) / 100),
        )  # fmt: skip


def should_stop(settings: TrainingSettings, validation_losses: list[float]) -> bool:
    """Whether the validation losses so far ask for an end."""
    if len(validation_losses) >= settings.epochs:
        return True
    if settings.early_stopping is None or not validation_losses:
        return False
    return len(validation_losses) - 1 - int(np.argmin(validation_losses)) >= settings.early_stopping


def _allow_many_open_files() -> None:
    """Every mapped shard holds a file descriptor, and the usual soft limit is 1,024."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def open_windows(
    folder: Path, settings: TrainingSettings, augmentation: AugmentationSettings | None = None
) -> Windows:
    """The windows of a cache folder, as audio if the loss hears it.

    Those that were not cached are rendered, and varied by `augmentation` when they are shuffled.
    """
    manifest = files.read_json(folder / "manifest.json")
    batch_size = settings.batch_size // settings.accumulate
    heard = losses.heard(settings.loss)
    if manifest["shards"] and not heard:
        shards = [tuple(folder / shard[side] for side in _SIDES) for shard in manifest["shards"]]
        return CachedWindows(shards, batch_size)
    features = Features(FeatureSettings.model_validate(manifest["features"]), manifest["scales"])
    make = functools.partial(_mixer, manifest["mixtures"], manifest["rate"], augmentation)
    if heard:
        return HeardWindows(features, batch_size, make, settings.loaders)
    return RenderedWindows(features, batch_size, make())


def _mixer(table: str, rate: int, augmentation: AugmentationSettings | None) -> Mixer:
    return Mixer(files.read_table(table), rate, augmentation)


class Windows(abc.ABC):
    """Training or validation windows, served in batches in an order given by a seed."""

    item_shape: tuple[int, int, int]
    """Shape of a network's input: frequencies, frames and channels."""
    outputs: int
    """Channels of a network's output."""

    def __init__(self, count: int, batch_size: int) -> None:
        self.count, self.batch_size = count, batch_size
        self.order = np.arange(count)
        self.turn: int | None = None

    def shuffle(self, seed: int) -> None:
        """Serve the windows in the order, and with the variations, that `seed` gives."""
        self.order = np.random.default_rng(seed).permutation(self.count)
        self.turn = seed

    def __len__(self) -> int:
        return -(-self.count // self.batch_size)

    def chosen(self, number: int) -> np.ndarray:
        """Which windows make the batch `number` of this turn."""
        return self.order[number * self.batch_size : (number + 1) * self.batch_size]

    @abc.abstractmethod
    def batch(self, number: int) -> tuple[Any, Any]:
        """What the model is trained with, as tensors: those who compute with the target would else
        be given arrays by some backends."""

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        """All batches of a turn; another thread makes the next while one is computed with."""
        with ThreadPoolExecutor(1) as thread:
            yield from _ahead(thread, self.batch, range(len(self)), 1)

    def close(self) -> None:  # noqa: B027 - most have nothing to close
        """End the processes that make batches, if there are any."""


def _ahead(pool: Executor, make: Callable[[Any], Any], items: Iterable[Any], ahead: int) -> Any:
    """The results for all items in order, of which `ahead` are made beforehand."""
    waiting: deque[Future[Any]] = deque()
    for item in items:
        waiting.append(pool.submit(make, item))
        if len(waiting) > ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


class CachedWindows(Windows):
    """Input and target spectrograms [shape=(batch, frequency, time, channels)], float32, of a
    memory-mapped cache.

    Parameters
    ----------
    paths
        Input and target of each shard.
    """

    def __init__(self, paths: list[tuple[Path, ...]], batch_size: int) -> None:
        self.paths = paths
        self._map()
        lengths = [len(shard) for shard, _ in self.maps]
        super().__init__(sum(lengths), batch_size)
        self.shards = np.repeat(np.arange(len(lengths)), lengths)
        self.rows = np.concatenate([np.arange(length) for length in lengths])
        self.item_shape = self.maps[0][0].shape[1:]
        self.outputs = self.maps[0][1].shape[-1]

    def _map(self) -> None:
        self.maps = [(files.load_array(one), files.load_array(two)) for one, two in self.paths]

    def batch(self, number: int) -> tuple[Any, Any]:
        """Input and target of a batch."""
        from keras import ops

        if number % _MAP_BATCHES == 0:
            # Until it is mapped anew, every page that was read counts as memory of this process.
            self._map()
        chosen = self.chosen(number)
        places = list(zip(self.shards[chosen], self.rows[chosen], strict=True))
        inputs, targets = (
            np.stack([self.maps[shard][side][row] for shard, row in places]).astype(np.float32)
            for side in (0, 1)
        )
        return ops.convert_to_tensor(inputs), ops.convert_to_tensor(targets)


class RenderedWindows(Windows):
    """The same of windows whose audio and spectrograms are made when they are asked for."""

    def __init__(self, features: Features, batch_size: int, mixer: Mixer) -> None:
        super().__init__(len(mixer.rows), batch_size)
        self.features, self.mixer = features, mixer
        self.item_shape, self.outputs = _shapes(features, mixer)

    def batch(self, number: int) -> tuple[Any, Any]:
        """Input and target of a batch."""
        from keras import ops

        waves = self.mixer.batch(self.chosen(number), self.turn)
        inputs, targets = _spectrograms(self.features, waves)
        return ops.convert_to_tensor(inputs), ops.convert_to_tensor(targets)


class HeardWindows(Windows):
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
        self.item_shape, self.outputs = _shapes(features, self.mixer)
        self.processes, self._make = processes, make
        self._pool: ProcessPoolExecutor | None = None

    def batch(self, number: int) -> tuple[Any, Any]:
        """Noisy, and noisy with clean, of a batch."""
        return self._tensors(self.mixer.batch(self.chosen(number), self.turn))

    def _tensors(self, waves: np.ndarray) -> tuple[Any, Any]:
        from keras import ops

        return ops.convert_to_tensor(waves[..., 0]), ops.convert_to_tensor(waves)

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        """All batches of a turn, made beforehand by other processes if there are any."""
        if not self.processes:
            yield from super().__iter__()
            return
        if self._pool is None:
            # Forked, they would share what the backend holds.
            self._pool = ProcessPoolExecutor(
                self.processes,
                mp_context=multiprocessing.get_context("spawn"),
                initializer=_start_loader,
                initargs=(self._make,),
            )
        jobs = ((self.chosen(number), self.turn) for number in range(len(self)))
        for waves in _ahead(self._pool, _load, jobs, 2 * self.processes):
            yield self._tensors(waves)

    def close(self) -> None:
        """End the processes."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
            self._pool = None


_loader: list[Mixer] = []
"""What renders windows in a process of its own."""


def _start_loader(make: Callable[[], Mixer]) -> None:
    _loader[:] = [make()]


def _load(job: tuple[np.ndarray, int | None]) -> np.ndarray:
    return _loader[0].batch(*job)


def _spectrograms(features: Features, waves: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Input and target of noisy and clean windows [shape=(batch, samples, 2)]."""
    noisy, clean = (stft(waves[..., side], features.settings.stft) for side in (0, 1))
    references = features.references(noisy)
    return (
        features.encode_input(noisy, references),
        features.encode_target(noisy, clean, references),
    )


def _shapes(features: Features, mixer: Mixer) -> tuple[tuple[int, int, int], int]:
    """The shape of an input, and the channels of a target."""
    inputs, targets = _spectrograms(features, mixer.batch(np.zeros(1, int)))
    return inputs.shape[1:], targets.shape[-1]


def _train_epoch(
    model: keras.Model,
    windows: Windows,
    seed: int,
    epoch: int,
    settings: TrainingSettings,
    rate: Callable[[float], float],
    adversary: Adversary | None = None,
) -> dict[str, float]:
    """One pass over the training windows; the means of the loss and the metrics over it."""
    _reseed(model, item_seed(seed, "dropout", epoch))
    if adversary is not None:
        adversary.start_epoch(item_seed(seed, "replay", epoch))
    judged: list[float] = []
    windows.shuffle(item_seed(seed, "shuffle", epoch))
    started = last = time.monotonic()
    steps = len(windows)
    mean = _Mean()
    for step, batch in enumerate(windows):
        # The first step of a warm-up has a rate above zero, the last reaches the full rate.
        model.optimizer.learning_rate.assign(rate((step + 1) / steps))
        loss = mean.add(model.train_on_batch(*batch, return_dict=True), len(batch[0]))
        if not math.isfinite(loss):
            raise _not_finite(loss, f"at batch {step + 1} of epoch {epoch + 1}")
        if adversary is not None:
            error = adversary.learn(*_heard(model, batch))
            judged += [] if error is None else [error]
        now = time.monotonic()
        if now - last > 15 or step == steps - 1:
            last = now
            done = epoch + (step + 1) / steps
            pace = (now - started) / (step + 1) * steps
            log.info(
                "epoch %d/%d batch %d/%d loss %.5f, at most %s left",
                epoch + 1, settings.epochs, step + 1, steps, mean.values()["loss"],
                _clock(pace * (settings.epochs - done)),
            )  # fmt: skip
    return mean.values() | ({"judge": float(np.mean(judged))} if judged else {})


def _heard(model: keras.Model, batch: tuple[Any, Any]) -> tuple[np.ndarray, np.ndarray]:
    """The audio of a batch [shape=(batch, samples, 2)] and what the network makes of it."""
    from keras import ops

    noisy, waves = batch
    output = ops.convert_to_tensor(model.predict_on_batch(noisy))
    return ops.convert_to_numpy(waves), ops.convert_to_numpy(model.decode(output, noisy))


def _validate(
    model: keras.Model, windows: Windows, epoch: int, adversary: Adversary | None = None
) -> dict[str, float]:
    """The means of the loss and the metrics over the validation windows, named ``val_…``; with a
    discriminator also those of PESQ and SI-SDR."""
    mean = _Mean()
    scores: dict[str, list[float]] = {}
    for batch in windows:
        mean.add(model.test_on_batch(*batch, return_dict=True), len(batch[0]))
        if adversary is not None:
            for name, values in adversary.scores(*_heard(model, batch)).items():
                scores.setdefault(name, []).extend(values)
    row = {f"val_{name}": value for name, value in mean.values().items()}
    if not math.isfinite(row["val_loss"]):
        raise _not_finite(row["val_loss"], f"on the validation windows of epoch {epoch + 1}")
    return row | {f"val_{name}": float(np.mean(values)) for name, values in scores.items()}


def _not_finite(loss: float, where: str) -> TrainingFailed:
    return TrainingFailed(
        f"the loss is {loss} {where}: lower training.learning_rate, or use precision: float32. "
        "The weights of the epochs before are kept"
    )


class _Mean:
    """Means over an epoch; Keras gives the values of each batch by itself."""

    def __init__(self) -> None:
        self.sums: dict[str, float] = {}
        self.items = 0

    def add(self, values: dict[str, Any], items: int) -> float:
        """Add the mean values of a batch of `items`; returns its loss."""
        self.items += items
        for name, value in values.items():
            self.sums[name] = self.sums.get(name, 0.0) + items * float(value)
        return float(values["loss"])

    def values(self) -> dict[str, float]:
        return {name: total / self.items for name, total in self.sums.items()}


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes // 60:d}:{minutes % 60:02d}:{seconds:02d}"


def _reseed(model: keras.Model, seed: int) -> None:
    """Set the state of every random layer, so that an epoch does not depend on those before."""
    for number, layer in enumerate(_network(model).layers):
        generator = getattr(layer, "seed_generator", None)
        if generator is not None:
            state = np.array([item_seed(seed, number) % 2**31, 0])
            generator.state.assign(state.astype(str(generator.state.dtype)))


def compiled(
    network: NetworkSettings,
    settings: TrainingSettings,
    windows: Windows,
    cache_folder: Path,
    adversary: Adversary | None = None,
) -> keras.Model:
    """The network that `settings` train on the windows of a cache, ready for its first step."""
    import keras

    keras.config.set_dtype_policy(settings.precision)
    model = models.build(network, windows.item_shape, windows.outputs)
    heard = losses.heard(settings.loss)
    if heard:
        measure = losses.on_signals(settings.loss)
        metrics = bool(settings.metrics)
        model = _with_signal_loss(model, measure, cache_folder, adversary, metrics=metrics)
    jit = settings.xla
    if jit == "auto":
        jit = backend.has_gpu() or settings.backend == "jax"
    model.compile(
        optimizer=optimiser(
            settings.optimiser, settings.initial_learning_rate, settings.accumulate
        ),
        loss=None if heard else losses.LOSSES[str(settings.loss)],
        metrics=[losses.METRICS[name] for name in settings.metrics],
        jit_compile=jit and settings.backend != "torch",
    )
    return model


def _with_signal_loss(
    network: keras.Model,
    measure: losses.Measure,
    cache_folder: Path,
    adversary: Adversary | None,
    *,
    metrics: bool,
) -> keras.Model:
    """A model from noisy audio to the network's output, trained by what that sounds like."""
    import keras
    from keras import ops

    manifest = files.read_json(cache_folder / "manifest.json")
    features = Features(FeatureSettings.model_validate(manifest["features"]), manifest["scales"])
    encoder, decode = Encoder(features), Decoder(features, manifest["samples"])
    decode.prepare()

    class Encode(keras.layers.Layer):
        def call(self, noisy: Any) -> Any:
            return encoder.input(noisy)

        def compute_output_shape(self, shape: Any) -> Any:
            return (None, *network.inputs[0].shape[1:])

    class SignalModel(keras.Model):
        def compute_loss(
            self, x: Any = None, y: Any = None, y_pred: Any = None, *rest: Any, **options: Any
        ) -> Any:
            noisy, clean = y[..., 0], y[..., 1]
            enhanced = decode(y_pred, noisy)
            loss = ops.mean(measure(clean, enhanced)) + sum(self.losses)
            return loss if adversary is None else loss + adversary.loss(clean, noisy, enhanced)

        def compute_metrics(self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None) -> Any:
            target = encoder.target(y[..., 0], y[..., 1]) if metrics else y_pred
            return super().compute_metrics(x, target, y_pred, sample_weight)

    noisy = keras.Input((manifest["samples"],), dtype="float32")
    seen = Encode(dtype="float32")(noisy)
    trained = SignalModel(noisy, network(seen), name=network.name)
    trained.network, trained.decode = network, decode
    if adversary is not None:
        trained.judge = adversary.judge
    return trained


def _network(model: keras.Model) -> keras.Model:
    """The network alone of a model that is trained, without what hears and judges it."""
    return getattr(model, "network", model)


def _start_from(path: Path, model: keras.Model) -> None:
    import keras

    weights = keras.saving.load_model(path, compile=False, safe_mode=True).get_weights()
    try:
        _network(model).set_weights(weights)
    except ValueError as error:
        raise UserError(
            f"training.start_from: {path} holds another network than the one to be trained "
            f"({' '.join(str(error).split())})"
        ) from None


class Checkpoints:
    """Checkpoints of one training, of which the newest whole one counts.

    Each is a folder ``epoch-<n>`` with the weights and the optimiser's variables (``state.npz``),
    the best weights so far and the history; it gets its name only when it is complete, and the one
    before is kept in case the newest cannot be read.
    """

    def __init__(self, folder: Path, fingerprint: str, extra: list[Any] | None = None) -> None:
        self.folder, self.fingerprint, self.extra = folder, fingerprint, extra or []

    def _existing(self) -> list[Path]:
        return sorted(self.folder.glob("epoch-*"), reverse=True)

    @property
    def _kept(self) -> Path:
        return self.folder / "best.npz"

    def keep_best(self, model: keras.Model) -> None:
        """Write the weights of `model`, the best so far, for the next `save` to take over."""
        self.folder.mkdir(parents=True, exist_ok=True)
        _save_arrays(self._kept, (weight.numpy() for weight in model.weights))

    def save(self, model: keras.Model, history: list[dict[str, float]], *, better: bool) -> None:
        """Write the state after the last epoch of `history`; remove all but the one before.

        If this epoch is the best so far, `keep_best` has written its weights.
        """
        with files.replacing(self.folder / f"epoch-{len(history):05d}") as temporary:
            temporary.mkdir(parents=True)
            _save_arrays(temporary / "state.npz", (item.numpy() for item in self._state(model)))
            if better:
                self._kept.replace(temporary / "best.npz")
            else:
                shutil.copy(self._existing()[0] / "best.npz", temporary)
            files.write_json(
                temporary / "state.json", {"fingerprint": self.fingerprint, "history": history}
            )
        for old in self._existing()[2:]:
            shutil.rmtree(old)

    def restore(self, model: keras.Model) -> list[dict[str, float]]:
        """Load the newest checkpoint into a compiled `model`; its history, empty if none."""
        model.optimizer.build(model.trainable_variables)
        for folder in self._existing():
            try:
                state = files.read_json(folder / "state.json")
                if state["fingerprint"] != self.fingerprint:
                    log.warning("%s belongs to another configuration; starting afresh", folder)
                    shutil.rmtree(self.folder)
                    return []
                saved = _load_arrays(folder / "state.npz")
                _load_arrays(folder / "best.npz")
            except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
                log.warning("%s cannot be read (%s); trying the one before", folder, error)
                shutil.rmtree(folder)
                continue
            for variable, value in zip(self._state(model), saved, strict=True):
                variable.assign(value)
            log.info("resuming after epoch %d", len(state["history"]))
            return list(state["history"])
        return []

    def _state(self, model: keras.Model) -> list[Any]:
        """All variables that the next step depends on, but those of the random layers."""
        return [*model.weights, *model.optimizer.variables, *self.extra]

    def best_weights(self) -> list[np.ndarray]:
        """The weights with the lowest validation loss."""
        return _load_arrays(self._existing()[0] / "best.npz")


def _save_arrays(path: Path, arrays: Iterable[np.ndarray]) -> None:
    """As ``numpy.savez``, which would hold all arrays in memory at once."""
    with zipfile.ZipFile(path, "w", allowZip64=True) as package:
        for number, array in enumerate(arrays):
            with package.open(f"arr_{number}.npy", "w", force_zip64=True) as file:
                np.lib.format.write_array(file, np.asanyarray(array), allow_pickle=False)


def _load_arrays(path: Path) -> list[np.ndarray]:
    with np.load(path, allow_pickle=False) as saved:
        return [saved[f"arr_{number}"] for number in range(len(saved.files))]


def _write_model(
    model: keras.Model,
    network: NetworkSettings,
    out_folder: Path,
    history: list[dict[str, float]],
    card: dict[str, Any],
    training: Windows,
) -> None:
    import keras

    # A fresh network without optimiser state, in float32: smaller, and it runs anywhere.
    keras.config.set_dtype_policy("float32")
    plain = models.build(network, training.item_shape, training.outputs)
    plain.set_weights(_network(model).get_weights())
    best = history[best_epoch(history)]
    with files.replacing(out_folder / "model.keras") as temporary:
        plain.save(temporary)
    files.write_table(out_folder / "history.csv", pd.DataFrame(history))
    files.write_json(
        out_folder / "card.json",
        {
            **card,
            "parameters": plain.count_params(),
            "input_shape": list(training.item_shape),
            "training_windows": training.count,
            "best_epoch": best["epoch"],
            "best_val_loss": best["val_loss"],
            "wall_time_s": round(sum(row["seconds"] for row in history), 1),
            "code_version": code_version(Path(__file__).parent),
            "software": backend.software(),
            "hardware": backend.hardware(),
        },
    )
