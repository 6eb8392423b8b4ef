"""Training one network on a spectrogram cache, resumable at any time.

Resuming is the normal path: a run starts from the newest whole checkpoint if there is one.  What
an epoch does depends only on the checkpoint before it, the seed and the epoch's number (shuffling
and dropout are re-seeded for every epoch, learning rate and stopping follow from the history), so
a run that was killed and resumed gives what an uninterrupted run gives.
"""

from __future__ import annotations

import functools
import logging
import math
import os
import platform
import resource
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from pydantic import Field, field_validator

from denoise import files, losses, models
from denoise.errors import UserError
from denoise.provenance import code_version
from denoise.settings import Settings, digest, item_seed

if TYPE_CHECKING:
    import keras

log = logging.getLogger(__name__)


class ScheduleSettings(Settings):
    """How the learning rate changes during the training."""

    kind: Literal["plateau", "cosine"] = "plateau"
    """`plateau`: reduced when the validation loss stops falling; `cosine`: half a cosine from the
    start to `minimum` over all epochs (Loshchilov & Hutter, ICLR 2017, without restarts)."""
    warmup_epochs: float = Field(0, ge=0)
    """Epochs, or a part of one, over which the learning rate rises from 0."""
    factor: float = Field(0.5, gt=0, le=1)
    """With `plateau`: factor on the learning rate; 1 keeps it."""
    patience: int = Field(3, ge=1)
    """With `plateau`: epochs without a better validation loss before a reduction."""
    minimum: float = Field(1e-7, gt=0)
    """The learning rate never falls below this, but while warming up."""


class TrainingSettings(Settings):
    """How a network is trained. Changing these trains again, but mixes nothing."""

    backend: Literal["tensorflow", "jax", "torch"] = "tensorflow"
    """The library that Keras computes with."""
    loss: str = "huber"
    """`huber`, `mse`, `mae` or `log_cosh`."""
    learning_rate: float = Field(1e-3, gt=0, le=1)
    """Of Adam, at the start."""
    schedule: ScheduleSettings = ScheduleSettings()
    """How the learning rate changes."""
    epochs: int = Field(10, ge=1)
    """At most this many passes over the training windows."""
    batch_size: int = Field(20, ge=1)
    """Windows of a step."""
    early_stopping: int | None = Field(None, ge=1)
    """Stop after this many epochs without a better validation loss; default never."""
    precision: Literal["float32", "mixed_bfloat16", "mixed_float16"] = "float32"
    """Number format of the layers' arithmetic; weights stay float32."""
    xla: bool | Literal["auto"] = "auto"
    """Compile with XLA; `auto` does so on a GPU only (on a CPU it slows these networks)."""
    deterministic: bool = True
    """Use only operations that give the same result every time."""
    threads: int = Field(2, ge=1, le=256)
    """CPU threads of the arithmetic. Part of the settings because the order of sums depends on
    it: with more cores granted the result stays the same."""

    @field_validator("loss")
    @classmethod
    def _check_loss(cls, name: str) -> str:
        return losses.check(name)


class TrainingFailed(UserError):
    """Training cannot go on; the last good checkpoint is kept."""


def start_backend(settings: TrainingSettings) -> None:
    """Choose the backend, its threads and determinism; to be called before Keras is imported."""
    loaded = sys.modules.get("keras")
    if loaded is not None and loaded.backend.backend() != settings.backend:
        raise UserError(
            f"training.backend is {settings.backend}, but this process already uses "
            f"{loaded.backend.backend()}: start a new one"
        )
    os.environ["KERAS_BACKEND"] = settings.backend
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        if settings.backend == "tensorflow":
            import tensorflow as tf

            if loaded is None:
                _configure_tensorflow(tf, settings)
        elif settings.backend == "torch":
            import torch

            torch.set_num_threads(settings.threads)
            torch.use_deterministic_algorithms(settings.deterministic, warn_only=True)
        else:
            # The size of XLA's thread pool on a CPU.
            os.environ["NPROC"] = str(settings.threads)
            os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
            flags = os.environ.get("XLA_FLAGS", "")
            os.environ["XLA_FLAGS"] = f"{flags} --xla_gpu_deterministic_ops=true".strip()
            import jax  # noqa: F401
    except ImportError as error:
        raise UserError(
            f"training.backend {settings.backend} is not installed ({error}): "
            f"run make install EXTRA={settings.backend}"
        ) from None


def _configure_tensorflow(tf: Any, settings: TrainingSettings) -> None:
    tf.config.threading.set_intra_op_parallelism_threads(settings.threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    for device in tf.config.list_physical_devices("GPU"):
        tf.config.experimental.set_memory_growth(device, True)
    if settings.deterministic:
        tf.config.experimental.enable_op_determinism()


def learning_rate(
    settings: TrainingSettings, validation_losses: list[float], progress: float = 0.0
) -> float:
    """The learning rate of a step.

    Parameters
    ----------
    validation_losses : list of float
        Of the epochs before this one.
    progress : float
        Share of this epoch that is done, from 0 to 1.

    Returns
    -------
    float
        From 0, where a warm-up starts, to ``settings.learning_rate``.
    """
    schedule = settings.schedule
    done = len(validation_losses) + progress
    if schedule.kind == "cosine":
        share = min(done / settings.epochs, 1.0)
        span = settings.learning_rate - schedule.minimum
        rate = schedule.minimum + span * (1 + math.cos(math.pi * share)) / 2
    else:
        rate = _plateau(settings, validation_losses)
    return rate * min(1.0, done / schedule.warmup_epochs) if schedule.warmup_epochs else rate


def _plateau(settings: TrainingSettings, validation_losses: list[float]) -> float:
    rate, best, waited = settings.learning_rate, math.inf, 0
    for loss in validation_losses:
        if loss < best:
            best, waited = loss, 0
            continue
        waited += 1
        if waited >= settings.schedule.patience:
            rate = max(rate * settings.schedule.factor, settings.schedule.minimum)
            waited = 0
    return rate


def should_stop(settings: TrainingSettings, validation_losses: list[float]) -> bool:
    """Whether the validation losses so far ask for an end."""
    if len(validation_losses) >= settings.epochs:
        return True
    if settings.early_stopping is None or not validation_losses:
        return False
    return len(validation_losses) - 1 - int(np.argmin(validation_losses)) >= settings.early_stopping


def train(
    cache_folders: dict[str, Path],
    network: Settings,
    settings: TrainingSettings,
    seed: int,
    out_folder: Path,
    card: dict[str, Any],
    *,
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
    on_epoch
        Called with each row of the history as it comes (and for those a resumed run has already).

    Raises
    ------
    TrainingFailed
        If a loss is not finite.
    """
    start_backend(settings)
    import keras

    keras.config.set_dtype_policy(settings.precision)
    keras.utils.set_random_seed(seed)
    _allow_many_open_files()
    training, validation = (
        _open(cache_folders[name], settings.batch_size) for name in ("train", "validation")
    )
    model = models.build(network, training.item_shape)
    _compile(model, settings)
    checkpoints = Checkpoints(out_folder / "checkpoints", digest(card, 16))
    history = checkpoints.restore(model)
    for row in history:
        on_epoch(row)
    keeper = _Epoch(training, validation)
    while not should_stop(settings, [row["val_loss"] for row in history]):
        losses_so_far = [row["val_loss"] for row in history]
        rate = functools.partial(learning_rate, settings, losses_so_far)
        row = keeper.run(model, seed, len(history), settings, rate)
        history.append({"epoch": len(history) + 1, "learning_rate": rate(1.0), **row})
        row = history[-1]
        checkpoints.save(model, history)
        on_epoch(row)
    checkpoints.load_best(model)
    _write_model(model, network, settings, out_folder, history, card, training)
    shutil.rmtree(checkpoints.folder)


def _allow_many_open_files() -> None:
    """Every mapped shard holds a file descriptor, and the usual soft limit is 1,024."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _open(folder: Path, batch_size: int) -> Windows:
    shards = files.read_json(folder / "manifest.json")["shards"]
    inputs, targets = (
        [files.load_array(folder / shard[side]) for shard in shards] for side in ("input", "target")
    )
    return Windows(inputs, targets, batch_size)


class Windows:
    """Windows of a memory-mapped cache, served in batches in an order given by a seed."""

    def __init__(
        self, inputs: list[np.ndarray], targets: list[np.ndarray], batch_size: int
    ) -> None:
        self.inputs, self.targets, self.batch_size = inputs, targets, batch_size
        self.shards = np.repeat(np.arange(len(inputs)), [len(shard) for shard in inputs])
        self.rows = np.concatenate([np.arange(len(shard)) for shard in inputs])
        self.order = np.arange(len(self.rows))
        self.item_shape: tuple[int, int, int] = inputs[0].shape[1:]

    def shuffle(self, seed: int) -> None:
        """Serve the windows in the order that `seed` gives."""
        self.order = np.random.default_rng(seed).permutation(len(self.rows))

    def __len__(self) -> int:
        return -(-len(self.rows) // self.batch_size)

    def batch(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Input and target [shape=(batch, frequency, time, channels)], float32."""
        chosen = self.order[number * self.batch_size : (number + 1) * self.batch_size]
        places = list(zip(self.shards[chosen], self.rows[chosen], strict=True))
        return tuple(
            np.stack([side[shard][row] for shard, row in places]).astype(np.float32)
            for side in (self.inputs, self.targets)
        )  # type: ignore[return-value]


class _Epoch:
    """One pass over the training windows and one over the validation windows."""

    def __init__(self, training: Windows, validation: Windows) -> None:
        self.training, self.validation = training, validation

    def run(
        self,
        model: keras.Model,
        seed: int,
        epoch: int,
        settings: TrainingSettings,
        rate: Callable[[float], float],
    ) -> dict[str, float]:
        started = time.monotonic()
        _reseed(model, item_seed(seed, "dropout", epoch))
        self.training.shuffle(item_seed(seed, "shuffle", epoch))
        last = time.monotonic()
        steps = len(self.training)
        mean = _Mean()
        for step in range(steps):
            batch = self.training.batch(step)
            # The first step of a warm-up has a rate above zero, the last reaches the full rate.
            model.optimizer.learning_rate.assign(rate((step + 1) / steps))
            loss = mean.add(model.train_on_batch(*batch, return_dict=True), len(batch[0]))
            if not math.isfinite(loss):
                raise _not_finite(loss, f"at batch {step + 1} of epoch {epoch + 1}")
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
        row = mean.values()
        mean = _Mean()
        for step in range(len(self.validation)):
            batch = self.validation.batch(step)
            mean.add(model.test_on_batch(*batch, return_dict=True), len(batch[0]))
        row |= {f"val_{name}": value for name, value in mean.values().items()}
        if not math.isfinite(row["val_loss"]):
            raise _not_finite(row["val_loss"], f"on the validation windows of epoch {epoch + 1}")
        seconds = time.monotonic() - started
        log.info("epoch %d: loss %.5f val_loss %.5f", epoch + 1, row["loss"], row["val_loss"])
        return {**row, "seconds": round(seconds, 2)}


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
    for number, layer in enumerate(model.layers):
        generator = getattr(layer, "seed_generator", None)
        if generator is not None:
            state = np.array([item_seed(seed, number) % 2**31, 0])
            generator.state.assign(state.astype(str(generator.state.dtype)))


def _compile(model: keras.Model, settings: TrainingSettings) -> None:
    import keras

    on_gpu = any("gpu" in device.lower() or "cuda" in device.lower() for device in _devices())
    jit = settings.xla if settings.xla != "auto" else on_gpu or settings.backend == "jax"
    model.compile(
        optimizer=keras.optimizers.Adam(settings.learning_rate),
        loss=losses.get(settings.loss),
        metrics=["mae"],
        jit_compile=bool(jit) and settings.backend != "torch",
    )


def _devices() -> list[str]:
    import keras

    if keras.backend.backend() == "torch":  # for which Keras cannot list them
        import torch

        return [f"cuda:{number}" for number in range(torch.cuda.device_count())] or ["cpu:0"]
    return list(keras.distribution.list_devices())


class Checkpoints:
    """Checkpoints of one training, of which the newest whole one counts.

    Each is a folder ``epoch-<n>`` with the weights and optimiser state (``state.keras``), the
    best weights so far and the history; it gets its name only when it is complete, and the one
    before is kept in case the newest cannot be read.
    """

    def __init__(self, folder: Path, fingerprint: str) -> None:
        self.folder, self.fingerprint = folder, fingerprint

    def _existing(self) -> list[Path]:
        return sorted(self.folder.glob("epoch-*"), reverse=True)

    def save(self, model: keras.Model, history: list[dict[str, float]]) -> None:
        """Write the state after the last epoch of `history`; remove all but the one before."""
        target = self.folder / f"epoch-{len(history):05d}"
        losses_so_far = [row["val_loss"] for row in history]
        with files.replacing(target) as temporary:
            temporary.mkdir(parents=True)
            # A model file rather than weights: it holds the optimiser's state too.
            model.save(temporary / "state.keras")
            if (
                losses_so_far[-1] == min(losses_so_far)
                and losses_so_far.index(losses_so_far[-1]) == len(history) - 1
            ):
                model.save_weights(temporary / "best.weights.h5")
            else:
                shutil.copy(self._existing()[0] / "best.weights.h5", temporary)
            files.write_json(
                temporary / "state.json", {"fingerprint": self.fingerprint, "history": history}
            )
        for old in self._existing()[2:]:
            shutil.rmtree(old)

    def restore(self, model: keras.Model) -> list[dict[str, float]]:
        """Load the newest checkpoint into a compiled `model`; its history, empty if none."""
        import keras

        for folder in self._existing():
            try:
                state = files.read_json(folder / "state.json")
                if state["fingerprint"] != self.fingerprint:
                    log.warning("%s belongs to another configuration; starting afresh", folder)
                    shutil.rmtree(self.folder)
                    return []
                saved = keras.saving.load_model(folder / "state.keras", safe_mode=True)
                model.optimizer.build(model.trainable_variables)
                model.set_weights(saved.get_weights())
                for mine, theirs in zip(
                    model.optimizer.variables, saved.optimizer.variables, strict=True
                ):
                    mine.assign(theirs)
            except (OSError, ValueError, KeyError, EOFError) as error:
                log.warning("%s cannot be read (%s); trying the one before", folder, error)
                shutil.rmtree(folder)
                continue
            log.info("resuming after epoch %d", len(state["history"]))
            return list(state["history"])
        return []

    def load_best(self, model: keras.Model) -> None:
        """Load the weights with the lowest validation loss."""
        model.load_weights(self._existing()[0] / "best.weights.h5")


def _write_model(
    model: keras.Model,
    network: Settings,
    settings: TrainingSettings,
    out_folder: Path,
    history: list[dict[str, float]],
    card: dict[str, Any],
    training: Windows,
) -> None:
    import keras

    # A fresh network without optimiser state, in float32: smaller, and it runs anywhere.
    keras.config.set_dtype_policy("float32")
    plain = models.build(network, training.item_shape)
    plain.set_weights(model.get_weights())
    best = min(history, key=lambda row: row["val_loss"])
    with files.replacing(out_folder / "model.keras") as temporary:
        plain.save(temporary)
    files.write_table(out_folder / "history.csv", pd.DataFrame(history))
    files.write_json(
        out_folder / "card.json",
        {
            **card,
            "parameters": plain.count_params(),
            "input_shape": list(training.item_shape),
            "training_windows": len(training.rows),
            "best_epoch": best["epoch"],
            "best_val_loss": best["val_loss"],
            "wall_time_s": round(sum(row["seconds"] for row in history), 1),
            "code_version": code_version(Path(__file__).parent),
            "software": {
                "python": platform.python_version(),
                "keras": keras.__version__,
                settings.backend: _backend_version(settings.backend),
            },
            "hardware": hardware(),
        },
    )


def _backend_version(backend: str) -> str:
    return str(sys.modules[backend].__version__)


def hardware() -> dict[str, object]:
    """The processor, its cores and the devices that Keras sees."""
    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = [line for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        name = lines[0].split(":", 1)[1].strip() if lines else name
    return {"processor": name, "cores": os.cpu_count(), "devices": _devices()}
