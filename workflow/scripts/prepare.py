"""Decode, select, resample and pack the recordings of one source."""

from pathlib import Path

from denoise.corpora.preparation import PreparationSettings, PreparedFiles, prepare
from denoise.study.jobs import job

with job(snakemake):
    out = snakemake.output
    prepare(
        [Path(path) for path in snakemake.input.indexes],
        PreparationSettings.model_validate_json(snakemake.params.settings),
        PreparedFiles(Path(out.audio), Path(out.index), Path(out.manifest)),
        processes=snakemake.threads,
    )
