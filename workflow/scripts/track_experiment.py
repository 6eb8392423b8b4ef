"""Put the leaderboard and the report into the experiment's parent run."""

import json
from pathlib import Path

from denoise import tracking
from denoise.jobs import job

with job(snakemake):
    tracking.record_experiment(
        snakemake.params.experiment,
        Path(snakemake.input.report),
        Path(snakemake.input.leaderboard),
        json.loads(snakemake.params.about),
        Path(snakemake.output[0]),
    )
