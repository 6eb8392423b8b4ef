"""Bring the MLflow run of one trained model up to date."""

from pathlib import Path

from denoise.mixing.files import TestSetFiles
from denoise.report.tracked import TrackedOutput, write_examples
from denoise.study.jobs import job
from denoise.tracking.notes import RunAbout
from denoise.tracking.record import RunFiles, record
from denoise.tracking.store import Store

with job(snakemake):
    given = snakemake.input
    about = RunAbout.model_validate_json(snakemake.params.about)
    outputs = {
        name: TrackedOutput(
            about.variant,
            Path(given.enhanced[number]),
            Path(given.scores[number]),
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
        for number, name in enumerate(snakemake.params.test_sets)
    }  # fmt: skip
    note = Path(snakemake.output[0])
    made = RunFiles(
        Path(given.card).parent,
        {name: output.scores for name, output in outputs.items()},
        {part: Path(given[part]) for part in ("train", "validation")},
        write_examples(outputs, note.with_suffix("")),
    )
    record(Store.of_marker(Path(snakemake.input.store)), about, made, note)
