"""Write the report."""

import json
from pathlib import Path

from denoise.core.provenance import code_version
from denoise.evaluation.experiment import ExperimentRecord
from denoise.report.build import ReportFiles, ReportInputs, write_report
from denoise.study.jobs import job

with job(snakemake):
    given = snakemake.input
    write_report(
        ExperimentRecord.model_validate_json(snakemake.params.record),
        ReportInputs(
            scores=Path(given.scores),
            leaderboard=Path(given.leaderboard),
            pairwise=Path(given.pairwise),
            prepared=[Path(path) for path in given.prepared],
            splits=[Path(path) for path in given.splits],
            spectrograms=[Path(path) for path in given.spectrograms],
            blind=Path(given.blind[0]) if given.blind else None,
            benchmarks=[
                (rule, about, Path(path))
                for rule, about, path in json.loads(snakemake.params.benchmarks)
            ],
        ),
        {"Code": code_version(), "Lock file (SHA-256)": snakemake.params.lock},
        ReportFiles(**{name: Path(path) for name, path in snakemake.output.items()}),
    )
