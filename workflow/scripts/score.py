"""Score every utterance of one method's output for a test set."""

from pathlib import Path

from denoise.evaluation.scoring import score_test_set
from denoise.study.jobs import job

with job(snakemake):
    score_test_set(
        Path(snakemake.input.enhanced),
        Path(snakemake.input.test_set).parent,
        snakemake.params.bandwidth,
        Path(snakemake.output[0]),
        processes=snakemake.threads,
    )
