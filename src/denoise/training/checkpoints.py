"""Checkpoints, from which an interrupted training resumes."""

from __future__ import annotations

import logging
import shutil
import zipfile
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from denoise.core import files

if TYPE_CHECKING:
    import keras

log = logging.getLogger(__name__)

_UNREADABLE = (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile)


@dataclass(frozen=True)
class Progress:
    """Progress within an epoch."""

    batches: int
    """Number of batches trained so far."""
    sums: dict[str, float]
    items: int
    """Number of windows in the means so far."""
    seconds: float


class Checkpoints:
    """Checkpoints of one training, of which the newest whole one counts.

    Each is a folder ``epoch-<n>`` with the weights and the optimiser's variables (``state.npz``),
    the best weights so far and the history; it gets its name only when it is complete, and the one
    before is kept in case the newest cannot be read.  ``part`` is the same, less what is best, in
    the middle of the epoch after the newest.

    Parameters
    ----------
    folder
        Where they lie.
    fingerprint
        Of the configuration: a checkpoint of another is deleted.
    extra
        Variables beside those of the model and its optimiser.
    random
        The states of random layers, which begin anew in each epoch.
    """

    def __init__(
        self,
        folder: Path,
        fingerprint: str,
        extra: list[Any] | None = None,
        random: list[Any] | None = None,
    ) -> None:
        self.folder, self.fingerprint = folder, fingerprint
        self.extra, self.random = extra or [], random or []

    def _existing(self) -> list[Path]:
        return sorted(self.folder.glob("epoch-*"), reverse=True)

    @property
    def _kept(self) -> Path:
        return self.folder / "best.npz"

    def keep_best(self, model: keras.Model) -> None:
        """Write the weights of `model`, the best so far; the next `save` includes them."""
        self.folder.mkdir(parents=True, exist_ok=True)
        _save_arrays(self._kept, (weight.numpy() for weight in model.weights))

    def save(self, model: keras.Model, history: list[dict[str, float]], *, better: bool) -> None:
        """Write the state after the last epoch of `history`; remove all but the one before.

        If this epoch is the best so far, `keep_best` has written its weights.
        """
        with files.replacing(self.folder / f"epoch-{len(history):05d}", "state.json") as temporary:
            temporary.mkdir(parents=True)
            _save_arrays(temporary / "state.npz", (item.numpy() for item in self._state(model)))
            if better:
                self._kept.replace(temporary / "best.npz")
            else:
                shutil.copy(self._existing()[0] / "best.npz", temporary)
            files.write_json(
                temporary / "state.json", {"fingerprint": self.fingerprint, "history": history}
            )
        for old in [*self._existing()[2:], self._part]:
            shutil.rmtree(old, ignore_errors=True)

    def restore(self, model: keras.Model) -> list[dict[str, float]]:
        """Load the newest checkpoint into a compiled `model`; its history, empty if none."""
        model.optimizer.build(model.trainable_variables)
        for folder in self._existing():
            try:
                state = files.read_json(folder / "state.json")
                if state["fingerprint"] != self.fingerprint:
                    log.warning("%s belongs to another configuration; starting again", folder)
                    shutil.rmtree(self.folder)
                    return []
                saved = _load_arrays(folder / "state.npz")
                _load_arrays(folder / "best.npz")
            except _UNREADABLE as error:
                log.warning("%s cannot be read (%s); trying the previous one", folder, error)
                shutil.rmtree(folder)
                continue
            for variable, value in zip(self._state(model), saved, strict=True):
                variable.assign(value)
            log.info("resuming after epoch %d", len(state["history"]))
            return list(state["history"])
        return []

    @property
    def _part(self) -> Path:
        return self.folder / "part"

    def save_part(self, model: keras.Model, epochs: int, progress: Progress) -> None:
        """Write the state in the middle of the epoch after `epochs`."""
        with files.replacing(self._part, "state.json") as temporary:
            temporary.mkdir(parents=True)
            state = [*self._state(model), *self.random]
            _save_arrays(temporary / "state.npz", (item.numpy() for item in state))
            about = {"fingerprint": self.fingerprint, "epochs": epochs, **asdict(progress)}
            files.write_json(temporary / "state.json", about)

    def restore_part(self, model: keras.Model, epochs: int) -> Progress | None:
        """Load the state in the middle of the epoch after `epochs`, if there is one."""
        try:
            about = files.read_json(self._part / "state.json")
            if about.pop("fingerprint") != self.fingerprint or about.pop("epochs") != epochs:
                return None
            saved = _load_arrays(self._part / "state.npz")
        except FileNotFoundError:
            return None
        except _UNREADABLE as error:
            log.warning("%s cannot be read (%s); the epoch starts again", self._part, error)
            return None
        for variable, value in zip([*self._state(model), *self.random], saved, strict=True):
            variable.assign(value)
        progress = Progress(**about)
        log.info("resuming after batch %d of epoch %d", progress.batches, epochs + 1)
        return progress

    def _state(self, model: keras.Model) -> list[Any]:
        """All variables that the next step depends on, except those of the random layers."""
        return [*model.weights, *model.optimizer.variables, *self.extra]

    def best_weights(self) -> list[np.ndarray]:
        """The weights of the epoch to keep: those that `keep_best` wrote last."""
        return _load_arrays(self._existing()[0] / "best.npz")


def _save_arrays(path: Path, arrays: Iterable[np.ndarray]) -> None:
    """Like ``numpy.savez``, but with one array in memory at a time."""
    with zipfile.ZipFile(path, "w", allowZip64=True) as package:
        for number, array in enumerate(arrays):
            with package.open(f"arr_{number}.npy", "w", force_zip64=True) as file:
                np.lib.format.write_array(file, np.asanyarray(array), allow_pickle=False)


def _load_arrays(path: Path) -> list[np.ndarray]:
    with np.load(path, allow_pickle=False) as saved:
        return [saved[f"arr_{number}"] for number in range(len(saved.files))]
