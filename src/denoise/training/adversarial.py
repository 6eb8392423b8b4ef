"""Settings of the discriminator, and the choice of the epoch to keep."""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field

from denoise.core.settings import Settings

_MARGIN = 0.3
"""An epoch is kept only if its SI-SDR on the validation windows is within this many dB of the
best."""


class AdversarialSettings(Settings):
    """A discriminator in addition to a waveform loss."""

    kind: Literal["none", "metric", "least_squares"] = "none"
    """`metric`: the discriminator learns to predict the PESQ of the output, and the network is
    trained to raise that prediction; `least_squares`: the discriminator learns to tell clean from
    enhanced speech."""
    weight: float = Field(0.01, gt=0)
    """Weight of the discriminator term in the loss."""
    filters: tuple[int, ...] = Field((16, 32, 64, 64), min_length=1)
    """Filters of its convolutions, each with stride 2 over both axes."""
    learning_rate: float = Field(5e-4, gt=0, le=1)
    """Its learning rate, which is constant."""
    replay: float = Field(0.25, ge=0, le=1)
    """With `metric`: number of outputs of earlier batches on which it is trained again in each
    step, as a share of the batch size."""
    processes: int = Field(2, ge=1)
    """With `metric`: processes that compute PESQ; they do not affect the result."""

    @property
    def active(self) -> bool:
        """Whether there is one."""
        return self.kind != "none"


def best_epoch(history: list[dict[str, float]]) -> int:
    """The index in a history of the epoch to keep.

    That is the epoch with the lowest validation loss; with a discriminator, the one with the
    highest PESQ among those whose SI-SDR is close to the best.
    """
    if "val_pesq" not in history[0]:
        return int(np.argmin([row["val_loss"] for row in history]))
    limit = max(row["val_si_sdr"] for row in history) - _MARGIN
    return int(
        np.argmax([row["val_pesq"] if row["val_si_sdr"] >= limit else -np.inf for row in history])
    )
