"""Put the leaderboard and the report into the experiment's parent run."""

from pathlib import Path

from denoise.study import paths
from denoise.study.jobs import job
from denoise.tracking.record import ExperimentAbout, record_experiment
from denoise.tracking.store import Store

with job(snakemake):
    record_experiment(
        Store(paths.TRACKING_STORE),
        ExperimentAbout.model_validate_json(snakemake.params.about),
        Path(snakemake.input.report),
        Path(snakemake.input.figures),
        Path(snakemake.input.leaderboard),
        Path(snakemake.output[0]),
    )
