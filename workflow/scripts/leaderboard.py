"""Compare all variants and baselines."""

import json
from pathlib import Path

from denoise.evaluation.leaderboard import write_leaderboard
from denoise.evaluation.scores import join_scores
from denoise.study.jobs import job

with job(snakemake):
    about = json.loads(snakemake.params.tables)
    write_leaderboard(
        join_scores(zip(about, map(Path, snakemake.input.scores), strict=True)),
        snakemake.params.variants,
        Path(snakemake.output.leaderboard),
        Path(snakemake.output.pairwise),
        Path(snakemake.output.scores),
    )
