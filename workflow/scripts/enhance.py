"""Enhance a test set with one trained model."""

import json
from pathlib import Path

from denoise.enhancement.settings import EnhancementSettings
from denoise.enhancement.test_sets import OutputFiles, enhance_test_set
from denoise.mixing.files import TestSetFiles
from denoise.networks import backend
from denoise.networks.card import ModelFolder
from denoise.networks.runtimes import default_of
from denoise.study import paths
from denoise.study.jobs import job
from denoise.training.devices import one_gpu

MODEL = ("model", "onnx", "card")

with job(snakemake), one_gpu(paths.GPU_LOCKS):
    settings = json.loads(snakemake.params.settings)
    given = dict(snakemake.input.items())
    model = Path(given["card"]).parent
    if default_of(ModelFolder(model)) == "keras":
        backend.start(
            settings["backend"],
            threads=settings["threads"],
            deterministic=settings["deterministic"],
        )
    enhance_test_set(
        model,
        TestSetFiles(**{name: path for name, path in given.items() if name not in MODEL}),
        EnhancementSettings.model_validate(settings["enhancement"]),
        OutputFiles(**{name: Path(path) for name, path in snakemake.output.items()}),
        settings["threads"],
    )
