"""Divide speakers or noise recordings among the splits."""

import json
from pathlib import Path

from denoise.corpora.splits import PreparedSource, SplitSettings, split
from denoise.study.jobs import job

with job(snakemake):
    settings = json.loads(snakemake.params.settings)
    given = zip(
        map(Path, snakemake.input.indexes),
        map(Path, snakemake.params.packs),
        settings["allowed"],
        settings["shares"],
        strict=True,
    )
    split(
        [PreparedSource(*one) for one in given],
        SplitSettings.model_validate(settings["splits"]),
        settings["seed"],
        Path(snakemake.output[0]),
    )
