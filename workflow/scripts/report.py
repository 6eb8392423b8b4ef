"""Write the report."""

import json
from pathlib import Path

from denoise.core.provenance import code_version
from denoise.report.build import write_report
from denoise.study.jobs import job

with job(snakemake):
    given = snakemake.input
    write_report(
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
