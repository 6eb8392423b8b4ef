"""Measure the scaling of a recipe on its training windows."""

import json
from pathlib import Path

from denoise.features import cache
from denoise.features.settings import FeatureSettings
from denoise.study.jobs import job

with job(snakemake):
    settings = json.loads(snakemake.params.settings)
    cache.measure(
        Path(snakemake.input.mixtures),
        settings["rate"],
        FeatureSettings.model_validate(settings["features"]),
        Path(snakemake.output[0]),
        processes=snakemake.threads,
    )
