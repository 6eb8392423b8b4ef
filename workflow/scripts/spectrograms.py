"""Cache the spectrograms of one split's windows."""

import json
from pathlib import Path

from denoise.core import files
from denoise.features import cache
from denoise.features.settings import FeatureSettings
from denoise.study.jobs import job

with job(snakemake):
    settings = json.loads(snakemake.params.settings)
    cache.write(
        Path(snakemake.input.mixtures),
        settings["rate"],
        FeatureSettings.model_validate(settings["features"]),
        files.read_json(snakemake.input.scaling) if snakemake.input.scaling else {},
        Path(snakemake.output.manifest).parent,
        processes=snakemake.threads,
    )
