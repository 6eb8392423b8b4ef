"""The training losses, by the name they have in ``config.yaml``.

Each compares output and target spectrograms [shape=(batch, frequency, time, channels)] in the
scaling of the recipe.  To add one, write it with Keras operations and name it in `LOSSES`.
"""

from __future__ import annotations

from typing import Any

from denoise.errors import unknown

LOSSES = {
    "huber": "quadratic below a distance of 1, linear above (Huber, 1964)",
    "mse": "mean squared error",
    "mae": "mean absolute error",
    "log_cosh": "logarithm of the hyperbolic cosine of the error",
}


def check(name: str) -> str:
    """`name` if it is a loss; else an error that lists them all."""
    if name not in LOSSES:
        raise unknown("loss", name, LOSSES)
    return name


def get(name: str) -> Any:
    """The Keras loss called `name`."""
    import keras

    classes = {
        "huber": keras.losses.Huber,
        "mse": keras.losses.MeanSquaredError,
        "mae": keras.losses.MeanAbsoluteError,
        "log_cosh": keras.losses.LogCosh,
    }
    return classes[check(name)]()
