"""Compare all variants and baselines."""

from pathlib import Path

from denoise import comparison
from denoise.jobs import job

with job(snakemake):
    comparison.write(
        [Path(path) for path in snakemake.input.scores],
        snakemake.params.variants,
        Path(snakemake.output.leaderboard),
        Path(snakemake.output.pairwise),
        Path(snakemake.output.scores),
    )
