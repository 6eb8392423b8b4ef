"""The training losses and metrics, by the name they have in ``config.yaml``.

Each compares target and output spectrograms [shape=(batch, frequency, time, channels)] in the
scaling of the recipe.  To add one, write a function of both with Keras operations that gives a
number for each item of the batch, and name it in `LOSSES` or `METRICS`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from denoise.errors import unknown


def huber(target: Any, output: Any) -> Any:
    """Quadratic below a distance of 1, linear above (Huber, Ann. Math. Statist. 35(1), 1964)."""
    import keras

    return keras.losses.huber(target, output)


def mse(target: Any, output: Any) -> Any:
    """Mean squared error."""
    import keras

    return keras.losses.mean_squared_error(target, output)


def mae(target: Any, output: Any) -> Any:
    """Mean absolute error."""
    import keras

    return keras.losses.mean_absolute_error(target, output)


def log_cosh(target: Any, output: Any) -> Any:
    """Mean logarithm of the hyperbolic cosine of the error."""
    import keras

    return keras.losses.log_cosh(target, output)


def bce(target: Any, output: Any) -> Any:
    """Binary cross-entropy, for targets and outputs from 0 to 1."""
    import keras

    return keras.losses.binary_crossentropy(target, output)


def soft_iou(target: Any, output: Any) -> Any:
    """Intersection over union of two fuzzy sets, for targets and outputs from 0 to 1.

    Sum of the products over the sum of ``t + o - t o`` (Rahman & Wang, ISVC 2016).
    """
    from keras import ops

    axes = tuple(range(1, len(target.shape)))
    both = target * output
    return ops.sum(both, axes) / (ops.sum(target + output - both, axes) + 1e-7)


Measure = Callable[[Any, Any], Any]
LOSSES: dict[str, Measure] = {"huber": huber, "mse": mse, "mae": mae, "log_cosh": log_cosh,
                              "bce": bce}  # fmt: skip
METRICS: dict[str, Measure] = {"mae": mae, "mse": mse, "soft_iou": soft_iou}
FROM_0_TO_1 = frozenset(["bce", "soft_iou"])


def check(name: str) -> str:
    """`name` if it is a loss; else an error that lists them all."""
    if name not in LOSSES:
        raise unknown("loss", name, LOSSES)
    return name


def check_metric(name: str) -> str:
    """`name` if it is a training metric; else an error that lists them all."""
    if name not in METRICS:
        raise unknown("metric", name, METRICS)
    return name
