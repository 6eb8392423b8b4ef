"""Saving an epoch while it is running."""

from __future__ import annotations

import logging
import signal
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from denoise.core.errors import UserError
from denoise.training.checkpoints import Checkpoints, Progress
from denoise.training.discriminator import Discriminator

if TYPE_CHECKING:
    import keras

log = logging.getLogger(__name__)

_SAVE_S = 600


@dataclass(frozen=True)
class EpochMean:
    """Means over the windows of an epoch so far."""

    sums: dict[str, float] = field(default_factory=dict)
    items: int = 0

    def plus(self, means: dict[str, float], items: int) -> EpochMean:
        """New means that include the `means` over `items` more windows."""
        sums = {name: self.sums.get(name, 0.0) + items * mean for name, mean in means.items()}
        return EpochMean(sums, self.items + items)

    def values(self) -> dict[str, float]:
        return {name: total / self.items for name, total in self.sums.items()}


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
        """Duration of the epoch, including the part before an interruption."""
        before = self._progress.seconds if self._progress else 0.0
        return before + time.monotonic() - self._started

    def begin(self) -> Progress | None:
        """Load the state of an interrupted epoch and return its progress."""
        if self.discriminator is None:
            self._progress = self.checkpoints.restore_part(self.model, self.epoch)
        return self._progress

    @property
    def is_due(self) -> bool:
        """Whether `after` has something to do."""
        return bool(self._told) or time.monotonic() - self._saved > _SAVE_S

    def after(self, batches: int, mean: EpochMean) -> None:
        """Save the state after `batches`, if due, and stop if the process was told to."""
        if self.is_due:
            if hasattr(self.model, "jax_state_sync"):
                self.model.jax_state_sync()
            self._save(batches, mean)
        self.stop_if_told(f"batch {batches} of epoch {self.epoch + 1}")

    def before_validation(self, batches: int, mean: EpochMean) -> None:
        """Save the trained epoch before validation, if it took more than a minute."""
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
                f"the training was ended by {self._told} after {place}: run the same command again "
                "to resume from what was saved"
            )
