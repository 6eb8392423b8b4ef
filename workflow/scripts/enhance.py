"""Enhance a test set with one trained model."""

import json
from pathlib import Path

from denoise.devices import one_gpu
from denoise.enhancement import EnhancementSettings, enhance_test_set
from denoise.jobs import job
from denoise.training import TrainingSettings, start_backend

with job(snakemake), one_gpu(Path("results/locks")):
    settings = EnhancementSettings.model_validate_json(snakemake.params.settings)
    training = json.loads(snakemake.params.training)["training"]
    start_backend(TrainingSettings.model_validate(training))
    enhance_test_set(
        Path(snakemake.input.model).parent,
        Path(snakemake.input.test_set).parent,
        settings,
        Path(snakemake.output.enhanced),
    )
