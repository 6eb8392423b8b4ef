"""Training one network, resumable at any time.

Resuming is the normal path: a run starts from the newest whole checkpoint if there is one.  What
an epoch does depends only on the checkpoint before it, the seed and the epoch's number (shuffling
and dropout are re-seeded for every epoch, learning rate and stopping follow from the history), so
a run that was killed and resumed gives what an uninterrupted run gives.  One that is told to end,
by SIGTERM or from the keyboard, saves what it has of the epoch first, as it does every ten minutes.
"""

from __future__ import annotations

import functools
import math
import resource
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from denoise.core import files
from denoise.core.errors import UserError
from denoise.core.provenance import code_version
from denoise.core.settings import digest, item_seed
from denoise.core.tables import write_table
from denoise.mixing.augmentation import AugmentationSettings
from denoise.networks import backend
from denoise.networks.base import NetworkSettings
from denoise.networks.card import ModelCard, ModelFolder, write_card
from denoise.networks.export import write_onnx
from denoise.networks.registry import build_network
from denoise.training import data_parallel
from denoise.training.adversarial import best_epoch
from denoise.training.batches import Batches, open_batches
from denoise.training.checkpoints import Checkpoints
from denoise.training.discriminator import Discriminator
from denoise.training.epochs import log, random_states, train_epoch, validate
from denoise.training.model import compiled, interpolate_weights, network_of, precision
from denoise.training.optimiser import averaged_weights
from denoise.training.saver import EpochSaver
from denoise.training.schedule import learning_rate
from denoise.training.settings import TrainingSettings
from denoise.training.teacher import Teacher

if TYPE_CHECKING:
    import keras


_STANDSTILL = 3
"""This many epochs with equal validation loss are taken as a standstill."""


@dataclass(frozen=True)
class TrainingData:
    """Input files of a training."""

    train: Path
    """The manifest of the training windows, as `cache.write` wrote it."""
    validation: Path
    """That of the validation windows."""
    start: Path | None = None
    """The weights to start from, a ``model.keras``; default random ones."""
    teacher: Path | None = None
    """The folder of the model that the settings name as teacher."""


def train(
    card: ModelCard,
    settings: TrainingSettings,
    data: TrainingData,
    out: ModelFolder,
    *,
    augmentation: AugmentationSettings | None = None,
    on_epoch: Callable[[dict[str, float]], None] = lambda row: None,
) -> None:
    """Train the network of a card, and write the files of a model folder.

    Where the network cannot be converted to ONNX, ``model.onnx`` is empty, with a warning.

    Checkpoints live in ``checkpoints/`` beside the model until it is written.

    Parameters
    ----------
    card
        What the model is made of, to be kept with it; a checkpoint of another card is deleted.  Its
        seed decides the initial weights, the shuffling and the dropout.
    augmentation
        How the training windows are varied if they are not cached.
    on_epoch
        Called with each row of the history as it comes (and for those a resumed run has already).

    Raises
    ------
    TrainingFailed
        If a loss is not finite, or the device runs out of memory.
    UserError
        If the weights to start from are those of another network, or the teacher is none.
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
    training = open_batches(data.train, settings, augmentation)
    validation = open_batches(data.validation, settings)
    discriminator = None
    if settings.adversarial.active:
        keras.utils.set_random_seed(item_seed(card.seed, "judge") % 2**32)
        discriminator = Discriminator(settings.adversarial, card.rate)
    teacher = _load_teacher(data.teacher, card, settings)
    keras.utils.set_random_seed(card.seed)
    model = compiled(card.network, settings, training, discriminator, teacher)
    if data.start is not None:
        interpolate_weights(data.start, model)
    _warn_of_slow_averages(model, card.network, settings.epochs * len(training))
    checkpoints = Checkpoints(
        out.checkpoints,
        digest(card.model_dump(mode="json"), 16),
        discriminator.variables if discriminator else [],
        list(random_states(model).values()),
    )
    history = checkpoints.restore(model)
    for row in history:
        on_epoch(row)
    while not should_stop(settings, [row["val_loss"] for row in history]):
        rate = functools.partial(
            learning_rate,
            settings.schedule,
            settings.initial_learning_rate,
            settings.epochs,
            [row["val_loss"] for row in history],
        )
        row = {"epoch": len(history) + 1, "learning_rate": rate(1.0)}
        saver = EpochSaver(checkpoints, model, len(history), discriminator)
        with saver:
            row |= train_epoch(training, card.seed, settings, rate, saver)
            with averaged_weights(model, settings.optimiser):
                row |= validate(validation, saver)
                better = _kept([*history, row], settings) == len(history)
                if better:
                    checkpoints.keep_best(model)
        row["seconds"] = round(saver.seconds, 2)
        log.info("epoch %d: loss %.5f val_loss %.5f", row["epoch"], row["loss"], row["val_loss"])
        history.append(row)
        _warn_of_standstill([row["val_loss"] for row in history])
        checkpoints.save(model, history, better=better)
        on_epoch(row)
    model.set_weights(checkpoints.best_weights())
    kept = history[_kept(history, settings)]
    if data.start is not None and settings.initial_weight_share:
        interpolate_weights(data.start, model, settings.initial_weight_share)
        epoch = int(kept["epoch"]) - 1
        kept = kept | validate(validation, EpochSaver(checkpoints, model, epoch, discriminator))
    for helper in (training, validation, discriminator):
        if helper is not None:
            helper.close()
    card = card.model_copy(update={"precision": precision(settings)})
    _write_model(model, training, history, kept, card, out)
    shutil.rmtree(checkpoints.folder)


def _load_teacher(
    folder: Path | None, card: ModelCard, settings: TrainingSettings
) -> Teacher | None:
    import keras

    keras.config.set_dtype_policy(precision(settings))
    return None if folder is None else Teacher(folder, card.rate, card.segment)


def _warn_of_slow_averages(model: keras.Model, network: NetworkSettings, updates: int) -> None:
    import keras

    momentum = getattr(network, "norm_momentum", 0.0)
    rest = momentum**updates
    layers = network_of(model).layers
    normalised = any(isinstance(layer, keras.layers.BatchNormalization) for layer in layers)
    if normalised and rest > 0.01:
        log.warning(
            "after all %d updates, batch normalisation's running averages will still hold %.0f %% "
            "of what they started from, so that validation and use differ from training: lower "
            "network.norm_momentum from %g to %.2g, or train longer",
            updates, 100 * rest, momentum, max(0.5, math.floor(1e-4 ** (1 / updates) * 100) / 100),
        )  # fmt: skip


def _warn_of_standstill(validation_losses: list[float]) -> None:
    last = validation_losses[-_STANDSTILL:]
    if len(last) == _STANDSTILL and max(last) - min(last) <= 1e-6 * abs(last[0]):
        log.warning(
            "the validation loss has been %g for %d epochs: the network may have died, so that its "
            "output is always the same; if it stays so, lower training.learning_rate",
            last[0], _STANDSTILL,
        )  # fmt: skip


def _kept(history: list[dict[str, float]], settings: TrainingSettings) -> int:
    """The index in the history of the epoch whose weights are kept."""
    return len(history) - 1 if settings.keep == "last" else best_epoch(history)


def should_stop(settings: TrainingSettings, validation_losses: list[float]) -> bool:
    """Whether training stops after the validation losses so far."""
    if len(validation_losses) >= settings.epochs:
        return True
    if settings.early_stopping is None or not validation_losses:
        return False
    return len(validation_losses) - 1 - int(np.argmin(validation_losses)) >= settings.early_stopping


def _allow_many_open_files() -> None:
    """Raise the limit of open files: every memory-mapped shard needs one, and the usual limit is
    1,024."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _compress(archive: Path) -> None:
    """Compress the members of a zip archive; Keras writes them uncompressed."""
    with zipfile.ZipFile(archive) as stored:
        members = [(member, stored.read(member)) for member in stored.infolist()]
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as compressed:
        for member, content in members:
            compressed.writestr(member, content, zipfile.ZIP_DEFLATED)


def _write_model(
    model: keras.Model,
    training: Batches,
    history: list[dict[str, float]],
    kept: dict[str, float],
    card: ModelCard,
    out: ModelFolder,
) -> None:
    import keras

    # A fresh network without optimiser state, in float32: smaller, and it runs anywhere.
    keras.config.set_dtype_policy("float32")
    plain = build_network(card.network, training.item_shape, training.outputs)
    plain.set_weights(network_of(model).get_weights())
    with files.replacing(out.model) as temporary:
        plain.save(temporary)
        _compress(temporary)
    write_table(out.history, pd.DataFrame(history))
    found = {
        "parameters": plain.count_params(),
        "input_shape": training.item_shape,
        "training_windows": training.count,
        "best_epoch": int(kept["epoch"]),
        "best_val_loss": kept["val_loss"],
        "wall_time_s": round(sum(row["seconds"] for row in history), 1),
        "code_version": code_version(),
        "software": backend.software(),
        "hardware": backend.hardware(backend.devices()),
        "weights": files.file_digest(out.model),
    }
    write_card(out.card, card.model_copy(update=found))
    try:
        write_onnx(out)
    except UserError as error:
        log.warning("the model will run in Keras, not in ONNX Runtime: %s", error)
        files.write_text(out.onnx, "")
