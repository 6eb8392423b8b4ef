"""Bring the MLflow run of one trained model up to date."""

import json
from pathlib import Path

from denoise.report.build import tracked_examples
from denoise.study.jobs import job
from denoise.tracking.record import record

with job(snakemake):
    wanted = snakemake.wildcards
    scores = {Path(path).stem: Path(path) for path in snakemake.input.scores}
    examples = Path(snakemake.output[0]).with_suffix("")
    figures = [
        path
        for test_set, stage in json.loads(snakemake.params.test_sets).items()
        for path in tracked_examples(
            test_set, stage, wanted.variant, int(wanted.seed), [scores[test_set]], examples
        )
    ]
    record(
        snakemake.params.experiment,
        Path(snakemake.input.card).parent,
        scores,
        {part: Path(snakemake.input[part]) for part in ("train", "validation")},
        figures,
        json.loads(snakemake.params.about),
        Path(snakemake.output[0]),
    )
