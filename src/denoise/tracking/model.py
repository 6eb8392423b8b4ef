"""A trained model in MLflow, with its signature and requirements."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from denoise.core import files
from denoise.core.provenance import PACKAGE, installed
from denoise.networks.card import ModelFolder
from denoise.networks.runtimes import default_of

USES = ("mlflow_model.py",)
_MODEL_NEEDS = ("numpy", "onnxruntime", "pydantic", "soundfile", "soxr", "tqdm")
_KERAS_NEEDS = ("keras", "tensorflow")


def log_model(client: Any, run_id: str, folder: ModelFolder, rate: int) -> None:
    import mlflow
    import numpy as np
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec

    content = files.file_digest(folder.model)[:16]
    if client.get_run(run_id).data.tags.get("denoise.model") == content:
        return
    needs = _MODEL_NEEDS + (_KERAS_NEEDS if default_of(folder) == "keras" else ())
    # Without a name, so that an array can be given as it is.
    audio = Schema([TensorSpec(np.dtype(np.float32), (-1,))])
    with mlflow.start_run(run_id=run_id, log_system_metrics=False):
        mlflow.pyfunc.log_model(
            name="model",
            python_model=str(Path(__file__).with_name("mlflow_model.py")),
            artifacts={"model": str(folder.path)},
            signature=ModelSignature(inputs=audio, outputs=audio),
            code_paths=[str(PACKAGE)],
            pip_requirements=[installed(name) for name in needs],
            metadata={"sample_rate": rate},
        )
    client.set_tag(run_id, "denoise.model", content)
