"""Cache the spectrograms of one split's windows."""

import json
from pathlib import Path

from denoise.core import files
from denoise.features import cache
from denoise.features.codec import Features
from denoise.features.settings import FeatureSettings
from denoise.study.jobs import job

with job(snakemake):
    settings = json.loads(snakemake.params.settings)
    scales = files.read_made(snakemake.input.scaling[0]) if snakemake.input.scaling else {}
    cache.write(
        Path(snakemake.input.mixtures),
        settings["rate"],
        Features(FeatureSettings.model_validate(settings["features"]), scales),
        cache.CacheFiles(Path(snakemake.output.manifest), Path(snakemake.output.shards)),
        processes=snakemake.threads,
    )
