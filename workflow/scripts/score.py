"""Score every utterance of one method's output for a test set."""

from pathlib import Path

from denoise.evaluation.scoring import MethodOutput, score_test_set
from denoise.mixing.files import References
from denoise.study.jobs import job

with job(snakemake):
    given = dict(snakemake.input.items())
    enhanced, spectral = Path(given.pop("enhanced")), list(map(Path, given.pop("spectral")))
    score_test_set(
        MethodOutput(enhanced, spectral[0] if spectral else None, snakemake.params.bandwidth),
        References(**given),
        Path(snakemake.output[0]),
        processes=snakemake.threads,
    )
