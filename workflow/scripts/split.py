"""Divide speakers or noise recordings among the splits."""

import json
from pathlib import Path

from denoise.corpora.splits import PreparedSource, SplitSettings, split
from denoise.study.jobs import job

with job(snakemake):
    settings = json.loads(snakemake.params.settings)
    given = zip(snakemake.input.indexes, snakemake.params.packs, settings["allowed"], strict=True)
    split(
        [PreparedSource(Path(index), Path(pack), allowed) for index, pack, allowed in given],
        SplitSettings.model_validate(settings["splits"]),
        settings["seed"],
        Path(snakemake.output[0]),
    )
