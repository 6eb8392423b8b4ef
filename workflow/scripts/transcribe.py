"""Write down what a recogniser hears in the clean recordings of a test set."""

from pathlib import Path

from denoise.evaluation.scoring import transcribe
from denoise.mixing.files import References
from denoise.study.jobs import job

with job(snakemake):
    transcribe(
        References(**dict(snakemake.input.items())),
        snakemake.wildcards.recogniser,
        Path(snakemake.output[0]),
        processes=snakemake.threads,
    )
