"""Create the MLflow store and the experiment before any training opens it."""

from pathlib import Path

from denoise import tracking
from denoise.jobs import job

with job(snakemake):
    tracking.initialise(snakemake.config["experiment"], Path(snakemake.output[0]))
