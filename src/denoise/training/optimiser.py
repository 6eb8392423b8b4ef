"""The Keras optimiser of a training, and its averaged weights."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from denoise.training.schedule import OptimiserSettings

if TYPE_CHECKING:
    import keras


def optimiser(
    settings: OptimiserSettings, batches: int, accumulate: int = 1
) -> keras.optimizers.Optimizer:
    """The Keras optimiser that `settings` describe.

    Its learning rates are set for an epoch at a time, by `set_learning_rates`: a compiled step
    then finds its own, where assigning one before each step would make it wait for the host.

    Parameters
    ----------
    batches
        Of an epoch.
    accumulate
        It steps once for so many gradients, by their mean.
    """
    import keras
    from keras import ops

    common = {
        "global_clipnorm": settings.clip_norm,
        "use_ema": settings.ema is not None,
        # Keras averages the weights after each gradient, whether it steps or not.
        "ema_momentum": (settings.ema or 0.99) ** (1 / accumulate),
        "gradient_accumulation_steps": accumulate if accumulate > 1 else None,
    }
    if settings.name == "adamw":
        made = keras.optimizers.AdamW(weight_decay=settings.weight_decay, **common)
    else:
        made = keras.optimizers.Adam(**common)
    made.rates = made.add_variable((batches,), name="rates")

    def rate_of_this_step() -> Any:
        # Counts the steps, each of which is made with the last of its gradients.
        batch = made.iterations * accumulate + accumulate - 1
        return ops.take(made.rates, batch % batches)

    made.learning_rate = rate_of_this_step
    return made


def set_learning_rates(made: keras.optimizers.Optimizer, rates: list[float]) -> None:
    """Set the learning rate for each batch of the epoch that begins."""
    made.rates.assign(np.array(rates, np.float32))


@contextlib.contextmanager
def averaged_weights(model: keras.Model, settings: OptimiserSettings) -> Iterator[None]:
    """Within the block, replace the weights by their moving averages, if there are any."""
    if settings.ema is None:
        yield
        return
    variables = model.trainable_variables
    trained = [variable.numpy() for variable in variables]
    model.optimizer.finalize_variable_values(variables)
    # JAX would share the averages' memory with the weights, and give it away in the next call.
    for variable in variables:
        variable.assign(variable.numpy())
    try:
        yield
    finally:
        for variable, value in zip(variables, trained, strict=True):
            variable.assign(value)
