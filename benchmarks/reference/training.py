"""Training as a Keras script has it: all windows in memory, `fit` as it is by default."""

from __future__ import annotations

from typing import Any

import numpy as np


def compile_model(model: Any) -> None:
    """Adam and Huber; Keras decides how the step is compiled."""
    model.compile("adam", "huber", metrics=["mae"])


def fit(model: Any, inputs: np.ndarray, targets: np.ndarray, batch: int) -> None:
    """One epoch."""
    model.fit(inputs, targets, batch_size=batch, epochs=1, shuffle=True, verbose=0)
