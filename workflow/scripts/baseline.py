"""Process a test set with one baseline."""

from pathlib import Path

from denoise.baselines import apply_to_test_set
from denoise.jobs import job

with job(snakemake):
    apply_to_test_set(
        snakemake.wildcards.baseline,
        Path(snakemake.input.test_set).parent,
        Path(snakemake.output.enhanced),
    )
