"""Enhance a test set with one trained model."""

import json
from pathlib import Path

from denoise import backend
from denoise.devices import one_gpu
from denoise.enhancement import EnhancementSettings, enhance_test_set
from denoise.jobs import job

with job(snakemake), one_gpu(Path("results/locks")):
    settings = EnhancementSettings.model_validate_json(snakemake.params.settings)
    training = json.loads(snakemake.params.training)["training"]
    backend.start(
        training["backend"],
        threads=training["threads"],
        deterministic=training["deterministic"],
    )
    enhance_test_set(
        Path(snakemake.input.model).parent,
        Path(snakemake.input.test_set).parent,
        settings,
        Path(snakemake.output.enhanced),
    )
