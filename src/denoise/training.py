"""Training one network on a spectrogram cache, resumable at any time.

Resuming is the normal path: a run starts from the newest whole checkpoint if there is one.  What
an epoch does depends only on the checkpoint before it, the seed and the epoch's number (shuffling
and dropout are re-seeded for every epoch, learning rate and stopping follow from the history), so
a run that was killed and resumed gives what an uninterrupted run gives.  One that is told to end,
by SIGTERM or from the keyboard, saves what it has of the epoch first, as it does every ten minutes.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import math
import resource
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from pydantic import Field, field_validator, model_validator

from denoise import backend, data_parallel, files, losses, models
from denoise.adversarial import AdversarialSettings, Adversary, best_epoch
from denoise.augmentation import AugmentationSettings
from denoise.checkpoints import Checkpoints, Progress
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
from denoise.windows import Windows, open_windows

if TYPE_CHECKING:
    import keras

log = logging.getLogger(__name__)

_SAVE_S = 600
_MEMORY_ERRORS = {"ResourceExhaustedError", "OutOfMemoryError", "MemoryError"}


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
    start_share: float = Field(0.0, ge=0, lt=1)
    """Share of the weights that training started from in those it ends with, the rest being what it
    learnt: a mean of both forgets less, and is often better on both old and new data (Wortsman et
    al., arXiv:2109.01903)."""
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
    keep: Literal["best", "last"] = "best"
    """The weights to keep: those with the lowest validation loss, or those of the last epoch, where
    the learning rate has come to rest and the validation loss is not what counts."""
    precision: Literal["auto", "float32", "mixed_bfloat16", "mixed_float16"] = "auto"
    """Number format of the layers' arithmetic; weights stay float32. `auto` is float32 on a CPU and
    mixed on a GPU, in bfloat16 if it has that."""
    xla: bool | Literal["auto"] = "auto"
    """Compile with XLA; `auto` does so on a GPU only (on a CPU it slows these networks), and with
    TensorFlow not over several devices."""
    devices: Literal["one", "all"] = "one"
    """`all`: every batch is divided among all GPUs of the machine, so that one training is faster;
    `one`: trainings side by side, each on a GPU of its own, which wastes nothing. The step is the
    same, save that dropout and batch normalisation may look at the parts."""
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
        if self.devices == "all":
            self._check_devices()
        if self.start_share and self.start_from is None:
            raise ValueError(
                f"start_share {self.start_share:g} needs start_from: the weights to keep a share of"
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

    def _check_devices(self) -> None:
        if self.backend == "torch":
            raise ValueError(
                "devices all needs backend tensorflow or jax: Keras trains with torch on one device"
            )
        if self.adversarial.active:
            raise ValueError("devices all cannot be used with adversarial: use devices one")
        if self.backend == "tensorflow" and self.xla is True:
            raise ValueError("devices all needs xla auto or false with backend tensorflow, or jax")

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
    """Train, and write ``model.keras``, ``history.csv`` and ``card.json``.

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
    if settings.devices == "all" and settings.backend == "jax":
        data_parallel.divide_arrays(backend.devices())
    training = open_windows(cache_folders["train"], settings, augmentation)
    validation = open_windows(cache_folders["validation"], settings)
    adversary = None
    if settings.adversarial.active:
        keras.utils.set_random_seed(item_seed(seed, "judge") % 2**32)
        adversary = Adversary(settings.adversarial, card["rate"])
    keras.utils.set_random_seed(seed)
    model = compiled(network, settings, training, cache_folders["train"], adversary)
    if start is not None:
        _mix_in(start, model)
    _warn_of_slow_averages(model, network, settings.epochs * len(training))
    extra = adversary.variables if adversary else []
    checkpoints = Checkpoints(
        out_folder / "checkpoints", digest(card, 16), extra, list(_random_states(model).values())
    )
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
        row = {"epoch": len(history) + 1, "learning_rate": rate(1.0)}
        saver = _Saver(checkpoints, model, len(history), adversary)
        with saver:
            row |= _train_epoch(model, training, seed, len(history), settings, rate, saver)
            with averaged_weights(model, settings.optimiser):
                row |= _validate(model, validation, len(history), saver)
                better = _kept([*history, row], settings) == len(history)
                if better:
                    checkpoints.keep_best(model)
        row["seconds"] = round(saver.seconds, 2)
        log.info("epoch %d: loss %.5f val_loss %.5f", row["epoch"], row["loss"], row["val_loss"])
        history.append(row)
        checkpoints.save(model, history, better=better)
        on_epoch(row)
    model.set_weights(checkpoints.best_weights())
    kept = history[_kept(history, settings)]
    if start is not None and settings.start_share:
        _mix_in(start, model, settings.start_share)
        epoch = int(kept["epoch"]) - 1
        kept = kept | _validate(
            model, validation, epoch, _Saver(checkpoints, model, epoch, adversary)
        )
    for helper in (training, validation, adversary):
        if helper is not None:
            helper.close()
    card = {**card, "precision": precision(settings)}
    _write_model(model, network, out_folder, history, kept, card, training)
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


def _kept(history: list[dict[str, float]], settings: TrainingSettings) -> int:
    """The place in the history of the epoch whose weights are kept."""
    return len(history) - 1 if settings.keep == "last" else best_epoch(history)


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


class _Saver:
    """Saves an epoch that is under way: every ten minutes, and when the process is told to end.

    A discriminator's memory is not saved: with one, an epoch that is interrupted begins anew.

    Raises
    ------
    UserError
        When the process was told to end.
    """

    def __init__(
        self, checkpoints: Checkpoints, model: keras.Model, epoch: int, adversary: Adversary | None
    ) -> None:
        self.checkpoints, self.model, self.epoch = checkpoints, model, epoch
        self.adversary = adversary
        self._told: str | None = None
        self._handlers: dict[int, Any] = {}
        self._saved = self._started = time.monotonic()
        self._progress: Progress | None = None

    def __enter__(self) -> None:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self._handlers[number] = signal.signal(number, self._tell)

    def __exit__(self, *error: object) -> None:
        self._let_go()

    def _tell(self, number: int, frame: object) -> None:
        self._told = signal.Signals(number).name
        self._let_go()  # a second signal ends it at once
        log.warning("%s: saving the training", self._told)

    def _let_go(self) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers.clear()

    @property
    def seconds(self) -> float:
        """How long the epoch has taken, with what was done of it before an interruption."""
        before = self._progress.seconds if self._progress else 0.0
        return before + time.monotonic() - self._started

    def begin(self) -> Progress | None:
        """What is done of the epoch already; loads its state."""
        if self.adversary is None:
            self._progress = self.checkpoints.restore_part(self.model, self.epoch)
        return self._progress

    def after(self, batches: int, mean: _Mean) -> None:
        """To be called after each batch that was trained with."""
        if self._told or time.monotonic() - self._saved > _SAVE_S:
            self._save(batches, mean)
        self.stop_if_told(f"batch {batches} of epoch {self.epoch + 1}")

    def before_validation(self, batches: int, mean: _Mean) -> None:
        """To be called when an epoch has been trained; saves what took over a minute."""
        if self.seconds > _SAVE_S / 10:
            self._save(batches, mean)

    def _save(self, batches: int, mean: _Mean) -> None:
        if self.adversary is None:
            progress = Progress(batches, mean.sums, mean.items, self.seconds)
            self.checkpoints.save_part(self.model, self.epoch, progress)
            self._saved = time.monotonic()

    def stop_if_told(self, place: str) -> None:
        """End the training if the process was told to end."""
        if self._told:
            raise UserError(
                f"the training was ended by {self._told} after {place}: the same command goes on "
                "from what was saved"
            )


def _train_epoch(
    model: keras.Model,
    windows: Windows,
    seed: int,
    epoch: int,
    settings: TrainingSettings,
    rate: Callable[[float], float],
    saver: _Saver,
) -> dict[str, float]:
    """One pass over the training windows; the means of the loss and the metrics over it."""
    adversary = saver.adversary
    _reseed(model, item_seed(seed, "dropout", epoch))
    if adversary is not None:
        adversary.start_epoch(item_seed(seed, "replay", epoch))
    judged: list[float] = []
    windows.shuffle(item_seed(seed, "shuffle", epoch))
    started = last = time.monotonic()
    steps = len(windows)
    done = saver.begin()
    mean = _Mean() if done is None else _Mean(done.sums, done.items)
    first = 0 if done is None else done.batches
    for step, batch in enumerate(windows.beginning_with(first), first):
        # The first step of a warm-up has a rate above zero, the last reaches the full rate.
        model.optimizer.learning_rate.assign(rate((step + 1) / steps))
        with _memory_errors(settings):
            loss = mean.add(model.train_on_batch(*batch, return_dict=True), len(batch[0]))
        if not math.isfinite(loss):
            raise _not_finite(loss, f"at batch {step + 1} of epoch {epoch + 1}")
        if adversary is not None:
            error = adversary.learn(*_heard(model, batch))
            judged += [] if error is None else [error]
        now = time.monotonic()
        if now - last > 15 or step == steps - 1:
            last = now
            left = settings.epochs - epoch - (step + 1) / steps
            log.info(
                "epoch %d/%d batch %d/%d loss %.5f, at most %s left",
                epoch + 1, settings.epochs, step + 1, steps, mean.values()["loss"],
                _clock((now - started) / (step + 1 - first) * steps * left),
            )  # fmt: skip
        saver.after(step + 1, mean)
    saver.before_validation(steps, mean)
    return mean.values() | ({"judge": float(np.mean(judged))} if judged else {})


@contextlib.contextmanager
def _memory_errors(settings: TrainingSettings) -> Iterator[None]:
    """Say what to lower when the memory of the device is not enough."""
    try:
        yield
    except Exception as error:
        # Each backend has a class of its own for it; JAX only a text.
        name = type(error).__name__
        if name not in _MEMORY_ERRORS and "RESOURCE_EXHAUSTED" not in str(error):
            raise
        raise TrainingFailed(
            f"the memory of the device is not enough ({name}): raise training.accumulate (now "
            f"{settings.accumulate}), which computes a batch of {settings.batch_size} in parts, or "
            "lower training.batch_size, mixing.window or network.filters. What was saved is kept"
        ) from error


def _heard(model: keras.Model, batch: tuple[Any, Any]) -> tuple[np.ndarray, np.ndarray]:
    """The audio of a batch [shape=(batch, samples, 2)] and what the network makes of it."""
    from keras import ops

    noisy, waves = batch
    output = ops.convert_to_tensor(model.predict_on_batch(noisy))
    return ops.convert_to_numpy(waves), ops.convert_to_numpy(model.decode(output, noisy))


def _validate(model: keras.Model, windows: Windows, epoch: int, saver: _Saver) -> dict[str, float]:
    """The means of the loss and the metrics over the validation windows, named ``val_…``; with a
    discriminator also those of PESQ and SI-SDR."""
    mean = _Mean()
    scores: dict[str, list[float]] = {}
    for batch in windows:
        mean.add(model.test_on_batch(*batch, return_dict=True), len(batch[0]))
        if saver.adversary is not None:
            for name, values in saver.adversary.scores(*_heard(model, batch)).items():
                scores.setdefault(name, []).extend(values)
        saver.stop_if_told(f"the last batch of epoch {epoch + 1}")
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

    def __init__(self, sums: dict[str, float] | None = None, items: int = 0) -> None:
        self.sums: dict[str, float] = dict(sums or {})
        self.items = items

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


def _random_states(model: keras.Model) -> dict[int, Any]:
    """The states of the random layers by the number of the layer."""
    generators = [getattr(layer, "seed_generator", None) for layer in _network(model).layers]
    return {number: one.state for number, one in enumerate(generators) if one is not None}


def _reseed(model: keras.Model, seed: int) -> None:
    """Set the state of every random layer, so that an epoch does not depend on those before."""
    for number, state in _random_states(model).items():
        value = np.array([item_seed(seed, number) % 2**31, 0])
        state.assign(value.astype(str(state.dtype)))


def compiled(
    network: NetworkSettings,
    settings: TrainingSettings,
    windows: Windows,
    cache_folder: Path,
    adversary: Adversary | None = None,
) -> keras.Model:
    """The network that `settings` train on the windows of a cache, ready for its first step."""
    import keras

    keras.config.set_dtype_policy(precision(settings))
    model = models.build(network, windows.item_shape, windows.outputs)
    devices = backend.devices() if settings.devices == "all" else []
    divided = data_parallel.over(devices, keras.Model)
    heard = losses.heard(settings.loss)
    if heard:
        measure = losses.on_signals(settings.loss)
        metrics = bool(settings.metrics)
        model = _with_signal_loss(model, measure, cache_folder, adversary, divided, metrics=metrics)
    elif divided is not keras.Model:
        model = divided(model.inputs, model.outputs[0], name=model.name)
    jit = settings.xla
    if jit == "auto":
        jit = settings.backend == "jax" or (backend.has_gpu() and divided is keras.Model)
    model.compile(
        optimizer=optimiser(
            settings.optimiser, settings.initial_learning_rate, settings.accumulate
        ),
        loss=None if heard else losses.LOSSES[str(settings.loss)],
        metrics=[losses.METRICS[name] for name in settings.metrics],
        jit_compile=jit and settings.backend != "torch",
    )
    return model


def precision(settings: TrainingSettings) -> str:
    """The number format that `settings` ask for on the devices at hand."""
    return backend.precision() if settings.precision == "auto" else settings.precision


def _with_signal_loss(
    network: keras.Model,
    measure: losses.Measure,
    cache_folder: Path,
    adversary: Adversary | None,
    model_class: type[keras.Model],
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

    class SignalModel(model_class):
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


def _mix_in(path: Path, model: keras.Model, share: float = 1.0) -> None:
    """Replace this share of a model's weights by those of a ``model.keras``."""
    import keras

    network = _network(model)
    others = keras.saving.load_model(path, compile=False, safe_mode=True).get_weights()
    own = network.get_weights()
    if [weight.shape for weight in others] != [weight.shape for weight in own]:
        raise UserError(
            f"training.start_from: {path} holds another network than the one to be trained: "
            f"{len(others)} arrays of weights of {sum(map(np.size, others)):,} numbers, not "
            f"{len(own)} of {sum(map(np.size, own)):,}, or the same in other shapes"
        )
    network.set_weights(
        [(share * other + (1 - share) * weight) for other, weight in zip(others, own, strict=True)]
    )


def _write_model(
    model: keras.Model,
    network: NetworkSettings,
    out_folder: Path,
    history: list[dict[str, float]],
    kept: dict[str, float],
    card: dict[str, Any],
    training: Windows,
) -> None:
    import keras

    # A fresh network without optimiser state, in float32: smaller, and it runs anywhere.
    keras.config.set_dtype_policy("float32")
    plain = models.build(network, training.item_shape, training.outputs)
    plain.set_weights(_network(model).get_weights())
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
            "best_epoch": kept["epoch"],
            "best_val_loss": kept["val_loss"],
            "wall_time_s": round(sum(row["seconds"] for row in history), 1),
            "code_version": code_version(),
            "software": backend.software(),
            "hardware": backend.hardware(),
        },
    )
