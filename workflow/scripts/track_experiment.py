"""Put the leaderboard and the report into the experiment's parent run."""

from pathlib import Path

from denoise import tracking
from denoise.jobs import job

with job(snakemake):
    tracking.record_experiment(
        snakemake.params.experiment,
        Path(snakemake.input.report),
        Path(snakemake.input.leaderboard),
        Path(snakemake.output[0]),
    )
