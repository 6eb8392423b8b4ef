"""Create the MLflow store and the experiment before any training opens it."""

from pathlib import Path

from denoise.study import paths
from denoise.study.jobs import job
from denoise.tracking.store import Store, initialise

with job(snakemake):
    initialise(
        Store(paths.TRACKING_STORE), snakemake.config["experiment"], Path(snakemake.output[0])
    )
