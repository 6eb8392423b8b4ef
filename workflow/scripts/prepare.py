"""Decode, select, resample and pack the recordings of one source."""

import json
from pathlib import Path

from denoise.corpora.preparation import prepare
from denoise.corpora.selection import AudioSettings, SelectionSettings
from denoise.study.jobs import job

with job(snakemake):
    settings = json.loads(snakemake.params.settings)
    prepare(
        [Path(path) for path in snakemake.input.indexes],
        settings["corpus"],
        settings["role"],
        SelectionSettings.model_validate(settings["selection"]),
        AudioSettings.model_validate(settings["audio"]),
        settings["seed"],
        Path(snakemake.output.manifest).parent,
        processes=snakemake.threads,
    )
