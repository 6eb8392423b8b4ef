"""Put the leaderboard and the report into the experiment's parent run."""

from pathlib import Path

from denoise.study.jobs import job
from denoise.tracking.record import ExperimentAbout, ExperimentFiles, record_experiment
from denoise.tracking.store import Store

with job(snakemake):
    given = snakemake.input
    record_experiment(
        Store.of_marker(Path(given.store)),
        ExperimentAbout.model_validate_json(snakemake.params.about),
        ExperimentFiles(
            Path(given.report),
            Path(given.figures),
            Path(given.leaderboard),
            [Path(path) for path in given.runs],
        ),
        Path(snakemake.output[0]),
    )
