"""Bring the MLflow run of one trained model up to date."""

import itertools
import json
from pathlib import Path

from denoise.evaluation.scores import join_scores
from denoise.mixing.files import TestSetFiles
from denoise.report.tracked import TrackedOutput, write_examples
from denoise.study.jobs import job
from denoise.tracking.notes import RunAbout
from denoise.tracking.record import RunFiles, record
from denoise.tracking.store import Store

with job(snakemake):
    given = snakemake.input
    about = RunAbout.model_validate_json(snakemake.params.about)
    tables = iter(map(Path, given.scores))
    outputs = {
        name: TrackedOutput(
            about.variant,
            Path(given.enhanced[number]),
            join_scores(({}, path) for path in itertools.islice(tables, count)),
            TestSetFiles(
                **{
                    side: given[sides][number]
                    for side, sides in (
                        ("manifest", "manifests"), ("mixtures", "mixtures"),
                        ("noisy", "noisy"), ("clean", "clean"),
                    )
                }
            ),
        )
        for number, (name, count) in enumerate(json.loads(snakemake.params.tables))
    }  # fmt: skip
    note = Path(snakemake.output[0])
    made = RunFiles(
        Path(given.card).parent,
        {name: output.scores for name, output in outputs.items()},
        {part: Path(given[part]) for part in ("train", "validation")},
        write_examples(outputs, note.with_suffix("")),
    )
    record(Store.of_marker(Path(snakemake.input.store)), about, made, note)
