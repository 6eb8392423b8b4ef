"""Process a test set with one baseline."""

from pathlib import Path

from denoise.evaluation.baselines import apply_to_test_set
from denoise.mixing.files import TestSetFiles
from denoise.study.jobs import job

with job(snakemake):
    apply_to_test_set(
        snakemake.wildcards.baseline,
        TestSetFiles(**dict(snakemake.input.items())),
        Path(snakemake.output.enhanced),
        Path(snakemake.output.speed),
    )
