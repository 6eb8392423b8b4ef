"""Divide speakers or noise recordings among the splits."""

import json
from pathlib import Path

from denoise.corpora.splits import SplitSettings, split
from denoise.study.jobs import job

with job(snakemake):
    settings = json.loads(snakemake.params.settings)
    folders = [Path(path).parent for path in snakemake.input.manifests]
    split(
        list(zip(folders, settings["uses"], strict=True)),
        SplitSettings.model_validate(settings["splits"]),
        settings["seed"],
        Path(snakemake.output[0]),
    )
