"""One epoch of training or validation, saved when it is interrupted."""

from __future__ import annotations

import contextlib
import logging
import math
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from denoise.core.errors import UserError
from denoise.core.settings import item_seed
from denoise.networks import backend
from denoise.training.batches import Batch, Batches
from denoise.training.checkpoints import Progress
from denoise.training.discriminator import Discriminator
from denoise.training.model import network_of
from denoise.training.optimiser import set_learning_rates
from denoise.training.saver import EpochMean, EpochSaver
from denoise.training.settings import TrainingSettings

if TYPE_CHECKING:
    import keras

log = logging.getLogger(__name__)

_READ_S = 1.0
_SHOW_S = 15.0
_MEMORY_ERRORS = {"ResourceExhaustedError", "OutOfMemoryError", "MemoryError"}


class TrainingFailed(UserError):
    """Training cannot go on; the last good checkpoint is kept."""


def train_epoch(
    windows: Batches,
    seed: int,
    settings: TrainingSettings,
    rate: Callable[[float], float],
    saver: EpochSaver,
) -> dict[str, float]:
    """One pass of the saver's model over the training windows; the means of the loss and the
    metrics over it.

    Parameters
    ----------
    rate
        The learning rate after a share of the epoch, from 0 to 1.
    """
    model, epoch, discriminator = saver.model, saver.epoch, saver.discriminator
    _reseed(model, item_seed(seed, "dropout", epoch))
    windows.shuffle(item_seed(seed, "shuffle", epoch))
    steps = len(windows)
    done = saver.begin()
    # The first step of a warm-up has a rate above zero, the last reaches the full rate.
    set_learning_rates(model.optimizer, [rate((step + 1) / steps) for step in range(steps)])
    monitor = _Monitor(settings, steps, saver, done)
    with _memory_errors(settings):
        if discriminator is None:
            _fit(windows, monitor, saver)
            found: dict[str, float] = {}
        else:
            discriminator.start_epoch(item_seed(seed, "replay", epoch))
            found = _alternate(windows, monitor, saver, discriminator)
    saver.before_validation(steps, monitor.mean)
    return monitor.mean.values() | found


class _Monitor:
    """Runs after each batch: checks whether to stop, and reads the loss now and then, because
    reading waits for the device.

    Parameters
    ----------
    done
        What was done of the epoch before it was interrupted.
    """

    def __init__(
        self, settings: TrainingSettings, steps: int, saver: EpochSaver, done: Progress | None
    ) -> None:
        self.settings, self.steps, self.saver = settings, steps, saver
        self.first = 0 if done is None else done.batches
        self.mean = EpochMean() if done is None else EpochMean(done.sums, done.items)
        self._before = self.mean
        self._started = self._read = self._told = time.monotonic()

    def after_batch(self, step: int, means: Any, windows: Batches) -> None:
        """To be called after batch `step`, with the `means` of loss and metrics since the first."""
        now = time.monotonic()
        last = step == self.steps - 1
        if not (last or self.saver.is_due or now - self._read > _READ_S):
            return
        self._read = now
        self.mean = self._before.plus(
            {name: float(each) for name, each in means.items()},
            windows.windows_of(self.first, step + 1),
        )
        self.show(step, last)
        self.saver.after(step + 1, self.mean)

    def show(self, step: int, last: bool) -> None:
        """Log the progress, at most every 15 seconds."""
        epoch = self.saver.epoch
        loss = self.mean.values()["loss"]
        if not math.isfinite(loss):
            raise _not_finite(loss, f"by batch {step + 1} of epoch {epoch + 1}")
        now = time.monotonic()
        if last or now - self._told > _SHOW_S:
            self._told = now
            left = self.settings.epochs - epoch - (step + 1) / self.steps
            log.info(
                "epoch %d/%d batch %d/%d loss %.5f, at most %s left",
                epoch + 1, self.settings.epochs, step + 1, self.steps, loss,
                _clock((now - self._started) / (step + 1 - self.first) * self.steps * left),
            )  # fmt: skip


def _fit(windows: Batches, monitor: _Monitor, saver: EpochSaver) -> None:
    """Train the rest of an epoch in the backend's own loop, which does not wait for each step."""
    model, first, last = saver.model, monitor.first, _loop_batches(windows)
    mean = EpochMean()
    if first < last:
        trained: list[np.ndarray] = []

        def keep_trained() -> None:
            # The loop puts the moving averages of the weights, if there are any, in their place.
            if model.optimizer.use_ema:
                trained.extend(variable.numpy() for variable in model.trainable_variables)

        history = model.fit(
            loop_input(windows, first),
            steps_per_epoch=last - first,
            shuffle=False,
            verbose=0,
            callbacks=_callbacks(
                model,
                lambda step, means: monitor.after_batch(first + step, means, windows),
                keep_trained,
            ),
        )
        if trained:
            for variable, value in zip(model.trainable_variables, trained, strict=True):
                variable.assign(value)
        means = {name: values[0] for name, values in history.history.items()}
        mean = mean.plus(means, windows.windows_of(first, last))
    for step in range(max(first, last), len(windows)):
        batch = windows.batch(step)
        mean = mean.plus(model.train_on_batch(*_tensors(batch), return_dict=True), len(batch[0]))
        monitor.after_batch(step, mean.values(), windows)


def loop_input(windows: Batches, first: int = 0) -> Any:
    """Batches in the form that the backend's own loop takes.

    With TensorFlow, Keras would put a buffer of unknown size behind a generator, which costs up to
    10 ms per step.
    """
    if backend.name() != "tensorflow":
        return windows.iterate_from(first)
    import tensorflow as tf

    signature = tuple(tf.TensorSpec((None, *shape), tf.float32) for shape in windows.shapes)
    made = tf.data.Dataset.from_generator(
        lambda: windows.iterate_from(first), output_signature=signature
    )
    return made.prefetch(2)


def _loop_batches(windows: Batches) -> int:
    """Number of batches for the backend's own loop.

    With several devices, JAX divides all batches like the first one, which fails for a smaller last
    batch.
    """
    import keras

    uneven = windows.count % windows.batch_size > 0
    return len(windows) - (uneven and keras.distribution.distribution() is not None)


def _callbacks(
    model: keras.Model,
    after_batch: Callable[[int, Any], None],
    after_epoch: Callable[[], None] = lambda: None,
) -> keras.callbacks.CallbackList:
    """For `fit` and `evaluate`: Keras's own list of callbacks reads the loss after each batch."""
    import keras

    class Callbacks(keras.callbacks.CallbackList):
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            after_batch(batch, logs)

        def on_test_batch_end(self, batch: int, logs: Any = None) -> None:
            after_batch(batch, logs)

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            super().on_epoch_end(epoch, logs)
            after_epoch()

    return Callbacks(add_history=True, model=model)


def _alternate(
    windows: Batches, monitor: _Monitor, saver: EpochSaver, discriminator: Discriminator
) -> dict[str, float]:
    """Train an epoch in which the discriminator learns from the network's output for each batch."""
    model, errors = saver.model, []
    means = EpochMean()
    for step, batch in enumerate(windows):
        given = _tensors(batch)
        means = means.plus(model.train_on_batch(*given, return_dict=True), len(batch[0]))
        monitor.after_batch(step, means.values(), windows)
        error = discriminator.learn(*_enhanced(model, batch))
        errors += [] if error is None else [error]
    return {"discriminator": float(np.mean(errors))} if errors else {}


def _tensors(batch: Batch) -> list[Any]:
    """Tensors of a batch; some backends would pass NumPy arrays to the loss."""
    from keras import ops

    return [ops.convert_to_tensor(array) for array in batch]


@contextlib.contextmanager
def _memory_errors(settings: TrainingSettings) -> Iterator[None]:
    """If the memory of the device is not enough, raise an error that says which settings to
    lower."""
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
            "lower training.batch_size, mixing.segment or network.filters. What was saved is kept"
        ) from error


def _enhanced(model: keras.Model, batch: Batch) -> tuple[np.ndarray, np.ndarray]:
    """Noisy and clean audio of a batch [shape=(batch, samples, 2)] and the network's output."""
    from keras import ops

    noisy, waves = batch
    output = ops.convert_to_tensor(model.predict_on_batch(noisy))
    return waves, ops.convert_to_numpy(model.decode(output, ops.convert_to_tensor(noisy)))


def validate(windows: Batches, saver: EpochSaver) -> dict[str, float]:
    """The means of the loss and the metrics over the validation windows, named ``val_…``; with a
    discriminator also those of PESQ and SI-SDR."""
    model, epoch = saver.model, saver.epoch
    scores: dict[str, list[float]] = {}

    def after_batch(*_: Any) -> None:
        saver.stop_if_told(f"the last batch of epoch {epoch + 1}")

    mean, looped = EpochMean(), 0
    if saver.discriminator is None and (looped := _loop_batches(windows)):
        means = model.evaluate(
            loop_input(windows), steps=looped, verbose=0, return_dict=True,
            callbacks=_callbacks(model, after_batch),
        )  # fmt: skip
        mean = mean.plus(means, windows.windows_of(0, looped))
    for batch in windows.iterate_from(looped):
        given = _tensors(batch)
        mean = mean.plus(model.test_on_batch(*given, return_dict=True), len(batch[0]))
        if saver.discriminator is not None:
            for name, values in saver.discriminator.scores(*_enhanced(model, batch)).items():
                scores.setdefault(name, []).extend(values)
        after_batch()
    row = {f"val_{name}": float(value) for name, value in mean.values().items()}
    if not math.isfinite(row["val_loss"]):
        raise _not_finite(row["val_loss"], f"on the validation windows of epoch {epoch + 1}")
    return row | {f"val_{name}": float(np.mean(values)) for name, values in scores.items()}


def _not_finite(loss: float, where: str) -> TrainingFailed:
    return TrainingFailed(
        f"the loss is {loss} {where}: lower training.learning_rate, or use training.precision: "
        "float32. The weights of the previous epochs are kept"
    )


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes // 60:d}:{minutes % 60:02d}:{seconds:02d}"


def random_states(model: keras.Model) -> dict[int, Any]:
    """States of the random layers by layer number."""
    generators = [getattr(layer, "seed_generator", None) for layer in network_of(model).layers]
    return {number: one.state for number, one in enumerate(generators) if one is not None}


def _reseed(model: keras.Model, seed: int) -> None:
    """Set the state of every random layer, so that an epoch does not depend on those before."""
    for number, state in random_states(model).items():
        value = np.array([item_seed(seed, number) % 2**31, 0])
        state.assign(value.astype(str(state.dtype)))
