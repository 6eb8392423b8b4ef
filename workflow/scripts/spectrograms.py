"""Cache the spectrograms of one split's windows."""

import json
from pathlib import Path

from denoise import cache
from denoise.jobs import job
from denoise.spectrogram import FeatureSettings

with job(snakemake):
    settings = json.loads(snakemake.params.settings)
    cache.write(
        Path(snakemake.input.mixtures),
        settings["rate"],
        FeatureSettings.model_validate(settings["features"]),
        Path(snakemake.output[0]).parent,
        processes=snakemake.threads,
    )
