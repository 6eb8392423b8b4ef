"""Create the MLflow store, the experiment and its parent run before any training opens it."""

from pathlib import Path

from denoise import tracking
from denoise.jobs import job

with job(snakemake):
    tracking.initialise(snakemake.wildcards.experiment, Path(snakemake.output[0]))
