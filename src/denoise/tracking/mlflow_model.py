"""The model that MLflow loads: audio in, denoised audio out ("models from code", no pickles)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlflow
import numpy as np


class Denoiser(mlflow.pyfunc.PythonModel):
    """Denoises mono audio at the sample rate of its card."""

    def load_context(self, context: Any) -> None:
        """Load the network from the logged model folder."""
        from denoise.enhancement.enhancer import Enhancer

        self.enhancer = Enhancer.load(Path(context.artifacts["model"]))

    def predict(self, context: Any, model_input: np.ndarray, params: Any = None) -> np.ndarray:
        """Denoise audio [shape=(samples,)], float32, nominal range [-1, 1]."""
        audio = np.asarray(model_input, dtype=np.float32).reshape(-1)
        return self.enhancer.enhance(audio)


mlflow.models.set_model(Denoiser())
