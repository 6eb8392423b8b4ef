"""Create the MLflow store and the experiment before any training opens it."""

from pathlib import Path

from denoise.study.jobs import job
from denoise.tracking.store import initialise

with job(snakemake):
    initialise(snakemake.config["experiment"], Path(snakemake.output[0]))
