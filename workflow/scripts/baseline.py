"""Process a test set with one baseline."""

from pathlib import Path

from denoise.evaluation.baselines import apply_to_test_set
from denoise.study.jobs import job

with job(snakemake):
    apply_to_test_set(
        snakemake.wildcards.baseline,
        Path(snakemake.input.test_set).parent,
        Path(snakemake.output.enhanced),
    )
