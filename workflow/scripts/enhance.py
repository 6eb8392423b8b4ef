"""Enhance a test set with one trained model."""

import json
from pathlib import Path

from denoise.enhancement.settings import EnhancementSettings
from denoise.enhancement.test_sets import enhance_test_set
from denoise.networks import backend
from denoise.study.jobs import job
from denoise.training.devices import one_gpu

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
