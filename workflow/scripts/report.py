"""Write the report."""

import json
from pathlib import Path

from denoise import report
from denoise.jobs import job
from denoise.provenance import code_version

with job(snakemake):
    given = snakemake.input
    report.build(
        json.loads(snakemake.params.settings),
        [Path(path) for path in given.scores],
        [Path(path) for path in given.cards],
        {
            name: [Path(path) for path in given.get(name)]
            for name in ("audio", "test_sets", "spectrograms", "splits")
        },
        Path(given.leaderboard),
        Path(given.pairwise),
        {"Code": code_version(), "Lock file (SHA-256)": snakemake.params.lock},
        Path(snakemake.output.report),
    )
