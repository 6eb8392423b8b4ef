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
    if settings.name == "muon":
        made = _muon(weight_decay=settings.weight_decay, **common)
    elif settings.name == "adamw":
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


def _muon(weight_decay: float, **options: Any) -> keras.optimizers.Optimizer:
    """Muon for the kernels of convolutions too; the library's is for matrices.

    The first and the last kernel, biases and all else are left to AdamW, as Jordan et al. do.
    """
    import keras
    from keras import ops

    class Muon(keras.optimizers.Muon):
        def build(self, var_list: list[Any]) -> None:
            if not self.built:
                kernels = [each.path for each in var_list if _is_kernel(each)]
                self.inner = set(kernels[1:-1])
            super().build(var_list)

        def _should_use_adamw(self, variable: Any) -> bool:
            return variable.path not in self.inner

        def zeropower_via_newtonschulz5(self, x: Any, steps: int) -> Any:
            matrix = ops.reshape(x, (-1, x.shape[-1]))  # inputs of every place × outputs
            step = super().zeropower_via_newtonschulz5(matrix, steps)
            # The mean square of AdamW's steps: then its learning rates serve (Liu et al., eq. 4).
            return ops.reshape(step, x.shape) * (0.2 * max(matrix.shape) ** 0.5)

    return Muon(weight_decay=weight_decay, adam_weight_decay=weight_decay, rms_rate=None, **options)


def _is_kernel(variable: Any) -> bool:
    return "kernel" in variable.name and len(variable.shape) > 1


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
