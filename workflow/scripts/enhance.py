"""Enhance a test set with one trained model."""

import json
from pathlib import Path

from denoise.enhancement.settings import EnhancementSettings
from denoise.enhancement.test_sets import OutputFiles, enhance_test_set
from denoise.mixing.files import TestSetFiles
from denoise.networks import backend
from denoise.study import paths
from denoise.study.jobs import job
from denoise.training.devices import one_gpu

with job(snakemake), one_gpu(paths.GPU_LOCKS):
    settings = json.loads(snakemake.params.settings)
    backend.start(
        settings["backend"], threads=settings["threads"], deterministic=settings["deterministic"]
    )
    given = dict(snakemake.input.items())
    enhance_test_set(
        Path(given.pop("model")).parent,
        TestSetFiles(**{name: path for name, path in given.items() if name != "card"}),
        EnhancementSettings.model_validate(settings["enhancement"]),
        OutputFiles(**{name: Path(path) for name, path in snakemake.output.items()}),
    )
