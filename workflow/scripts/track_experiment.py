"""Put the leaderboard and the report into the experiment's parent run."""

import json
from pathlib import Path

from denoise.study.jobs import job
from denoise.tracking.record import record_experiment

with job(snakemake):
    record_experiment(
        snakemake.params.experiment,
        Path(snakemake.input.report),
        Path(snakemake.input.leaderboard),
        json.loads(snakemake.params.about),
        Path(snakemake.output[0]),
    )
