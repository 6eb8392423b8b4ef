"""The settings of the optimiser, and how the learning rate changes."""

from __future__ import annotations

import math
from typing import Literal

from pydantic import Field, model_validator

from denoise.core.settings import Settings


class OptimiserSettings(Settings):
    """The optimiser."""

    name: Literal["adam", "adamw", "muon"] = "adam"
    """`adam`: Kingma & Ba, ICLR 2015; `adamw`: with decoupled weight decay (Loshchilov & Hutter,
    ICLR 2019); `muon`: `adamw` for biases and for the first and the last layer, and orthogonalised
    steps for the kernels between them (Jordan et al., 2024), of the size of AdamW's (Liu et al.,
    arXiv:2502.16982), so that the same learning rates serve."""
    weight_decay: float = Field(0, ge=0, le=1)
    """With `adamw` and `muon`: the decay of a weight per step at a learning rate of 1."""
    clip_norm: float | None = Field(None, gt=0)
    """Gradients are scaled down to this norm over all weights (Pascanu et al., ICML 2013); default
    never."""
    ema: float | None = Field(None, gt=0, lt=1)
    """Validate and keep the exponential moving average of the weights, with this momentum per step,
    such as 0.999 (Polyak & Juditsky, SIAM J. Control Optim. 30(4), 1992); default the weights
    themselves."""

    @model_validator(mode="after")
    def _check(self) -> OptimiserSettings:
        if self.weight_decay and self.name == "adam":
            raise ValueError(
                f"weight_decay {self.weight_decay:g} needs name: adamw or muon, not {self.name}"
            )
        return self


class ScheduleSettings(Settings):
    """How the learning rate changes during the training."""

    kind: Literal["constant", "plateau", "cosine"] = "constant"
    """`constant`; `plateau`: reduced when the validation loss stops falling; `cosine`: half a
    cosine from the initial rate to `minimum` over all epochs (Loshchilov & Hutter, ICLR 2017,
    without restarts)."""
    warmup_epochs: float = Field(0, ge=0)
    """Epochs, or a part of one, over which the learning rate rises from 0."""
    factor: float = Field(0.5, gt=0, lt=1)
    """With `plateau`: factor on the learning rate."""
    patience: int = Field(3, ge=1)
    """With `plateau`: epochs without a better validation loss before a reduction."""
    minimum: float = Field(1e-7, gt=0)
    """The lowest learning rate, except during the warm-up."""


def learning_rate(
    schedule: ScheduleSettings,
    initial: float,
    epochs: int,
    validation_losses: list[float],
    progress: float = 0.0,
) -> float:
    """The learning rate of a step.

    Parameters
    ----------
    initial : float
        Where the schedule starts.
    epochs : int
        How many epochs there will be at most.
    validation_losses : list of float
        Of the epochs before this one.
    progress : float
        Share of this epoch that is done, from 0 to 1.

    Returns
    -------
    float
        From 0, where a warm-up starts, to `initial`.
    """
    done = len(validation_losses) + progress
    if schedule.kind == "cosine":
        share = min(done / epochs, 1.0)
        rate = schedule.minimum
        rate += (initial - schedule.minimum) * (1 + math.cos(math.pi * share)) / 2
    elif schedule.kind == "plateau":
        rate = _plateau(schedule, initial, validation_losses)
    else:
        rate = initial
    return rate * min(1.0, done / schedule.warmup_epochs) if schedule.warmup_epochs else rate


def _plateau(schedule: ScheduleSettings, initial: float, validation_losses: list[float]) -> float:
    rate, best, waited = initial, math.inf, 0
    for loss in validation_losses:
        if loss < best:
            best, waited = loss, 0
            continue
        waited += 1
        if waited >= schedule.patience:
            rate = max(rate * schedule.factor, schedule.minimum)
            waited = 0
    return rate
