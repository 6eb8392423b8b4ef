"""One epoch of training or validation, saved when it is interrupted."""

from __future__ import annotations

import contextlib
import logging
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from denoise.core.errors import UserError
from denoise.core.settings import item_seed
from denoise.training.batches import Batches
from denoise.training.checkpoints import Checkpoints, Progress
from denoise.training.discriminator import Discriminator
from denoise.training.model import network_of
from denoise.training.settings import TrainingSettings

if TYPE_CHECKING:
    import keras

log = logging.getLogger(__name__)

_SAVE_S = 600
_MEMORY_ERRORS = {"ResourceExhaustedError", "OutOfMemoryError", "MemoryError"}


class TrainingFailed(UserError):
    """Training cannot go on; the last good checkpoint is kept."""


class EpochSaver:
    """Saves an epoch that is under way: every ten minutes, and when the process is told to end.

    A discriminator's memory is not saved: with one, an epoch that is interrupted begins anew.

    Raises
    ------
    UserError
        When the process was told to end.
    """

    def __init__(
        self,
        checkpoints: Checkpoints,
        model: keras.Model,
        epoch: int,
        discriminator: Discriminator | None,
    ) -> None:
        self.checkpoints, self.model, self.epoch = checkpoints, model, epoch
        self.discriminator = discriminator
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
        if self.discriminator is None:
            self._progress = self.checkpoints.restore_part(self.model, self.epoch)
        return self._progress

    def after(self, batches: int, mean: EpochMean) -> None:
        """To be called after each batch that was trained with."""
        if self._told or time.monotonic() - self._saved > _SAVE_S:
            self._save(batches, mean)
        self.stop_if_told(f"batch {batches} of epoch {self.epoch + 1}")

    def before_validation(self, batches: int, mean: EpochMean) -> None:
        """To be called when an epoch has been trained; saves what took over a minute."""
        if self.seconds > _SAVE_S / 10:
            self._save(batches, mean)

    def _save(self, batches: int, mean: EpochMean) -> None:
        if self.discriminator is None:
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
    if discriminator is not None:
        discriminator.start_epoch(item_seed(seed, "replay", epoch))
    errors: list[float] = []
    windows.shuffle(item_seed(seed, "shuffle", epoch))
    started = last = time.monotonic()
    steps = len(windows)
    done = saver.begin()
    mean = EpochMean() if done is None else EpochMean(done.sums, done.items)
    first = 0 if done is None else done.batches
    for step, batch in enumerate(windows.iterate_from(first), first):
        # The first step of a warm-up has a rate above zero, the last reaches the full rate.
        model.optimizer.learning_rate.assign(rate((step + 1) / steps))
        with _memory_errors(settings):
            loss = mean.add(model.train_on_batch(*batch, return_dict=True), len(batch[0]))
        if not math.isfinite(loss):
            raise _not_finite(loss, f"at batch {step + 1} of epoch {epoch + 1}")
        if discriminator is not None:
            error = discriminator.learn(*_enhanced(model, batch))
            errors += [] if error is None else [error]
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
    return mean.values() | ({"discriminator": float(np.mean(errors))} if errors else {})


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
            "lower training.batch_size, mixing.segment or network.filters. What was saved is kept"
        ) from error


def _enhanced(model: keras.Model, batch: tuple[Any, Any]) -> tuple[np.ndarray, np.ndarray]:
    """The audio of a batch [shape=(batch, samples, 2)] and what the network makes of it."""
    from keras import ops

    noisy, waves = batch
    output = ops.convert_to_tensor(model.predict_on_batch(noisy))
    return ops.convert_to_numpy(waves), ops.convert_to_numpy(model.decode(output, noisy))


def validate(windows: Batches, saver: EpochSaver) -> dict[str, float]:
    """The means of the loss and the metrics over the validation windows, named ``val_…``; with a
    discriminator also those of PESQ and SI-SDR."""
    model, epoch = saver.model, saver.epoch
    mean = EpochMean()
    scores: dict[str, list[float]] = {}
    for batch in windows:
        mean.add(model.test_on_batch(*batch, return_dict=True), len(batch[0]))
        if saver.discriminator is not None:
            for name, values in saver.discriminator.scores(*_enhanced(model, batch)).items():
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


class EpochMean:
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


def random_states(model: keras.Model) -> dict[int, Any]:
    """The states of the random layers by the number of the layer."""
    generators = [getattr(layer, "seed_generator", None) for layer in network_of(model).layers]
    return {number: one.state for number, one in enumerate(generators) if one is not None}


def _reseed(model: keras.Model, seed: int) -> None:
    """Set the state of every random layer, so that an epoch does not depend on those before."""
    for number, state in random_states(model).items():
        value = np.array([item_seed(seed, number) % 2**31, 0])
        state.assign(value.astype(str(state.dtype)))
