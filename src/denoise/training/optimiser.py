"""The Keras optimiser of a training, and its averaged weights."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from denoise.training.schedule import OptimiserSettings

if TYPE_CHECKING:
    import keras


def optimiser(
    settings: OptimiserSettings, initial: float, accumulate: int = 1
) -> keras.optimizers.Optimizer:
    """The Keras optimiser that `settings` describe, with the learning rate `initial`.

    It steps once for every `accumulate` gradients, by their mean.
    """
    import keras

    common = {
        "learning_rate": initial,
        "global_clipnorm": settings.clip_norm,
        "use_ema": settings.ema is not None,
        # Keras averages the weights after each gradient, whether it steps or not.
        "ema_momentum": (settings.ema or 0.99) ** (1 / accumulate),
        "gradient_accumulation_steps": accumulate if accumulate > 1 else None,
    }
    if settings.name == "adamw":
        return keras.optimizers.AdamW(weight_decay=settings.weight_decay, **common)
    return keras.optimizers.Adam(**common)


@contextlib.contextmanager
def averaged_weights(model: keras.Model, settings: OptimiserSettings) -> Iterator[None]:
    """Put the moving averages of a trained model's weights, if it has any, in their place."""
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
