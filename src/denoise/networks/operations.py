"""How much a network computes."""

from __future__ import annotations

import math
from typing import Any


def macs(model: Any, frames: int) -> float:
    """Multiply-accumulate operations (MACs) of the convolutions and dense layers of a Keras model
    for `frames` frames of one recording.  Products of two layer outputs, such as those of
    attention, are not counted."""
    total = 0.0
    for layer in model.layers:
        kernel = getattr(layer, "kernel", None)
        if kernel is None:
            continue
        # Every input position of a transposed convolution, every output position of another.
        transposed = type(layer).__name__.endswith("Transpose")
        shape = (layer.input if transposed else layer.output).shape[1:-1]
        if (equation := getattr(layer, "equation", None)) is not None:
            _, summed, made = equation.replace("->", ",").split(",")
            sizes = dict(zip(made, layer.output.shape, strict=True))
            shape = [sizes[axis] for axis in made[1:] if axis not in summed]
        positions = math.prod(frames if size is None else size for size in shape)
        total += positions * math.prod(kernel.shape)
    return float(total)
