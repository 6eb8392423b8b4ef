"""Compare all variants and baselines."""

from pathlib import Path

from denoise.evaluation.leaderboard import write_leaderboard
from denoise.study.jobs import job

with job(snakemake):
    write_leaderboard(
        [Path(path) for path in snakemake.input.scores],
        snakemake.params.variants,
        Path(snakemake.output.leaderboard),
        Path(snakemake.output.pairwise),
        Path(snakemake.output.scores),
    )
