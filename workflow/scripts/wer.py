"""Count the word errors of a recogniser in one method's output for a test set."""

from pathlib import Path

from denoise.evaluation.scoring import Spoken, count_word_errors
from denoise.mixing.files import Utterances
from denoise.study.jobs import job

with job(snakemake):
    given = dict(snakemake.input.items())
    heard = given.pop("heard", None)
    count_word_errors(
        Path(given.pop("enhanced")),
        Utterances(**given),
        Spoken(snakemake.wildcards.recogniser, Path(heard) if heard else None),
        Path(snakemake.output[0]),
        processes=snakemake.threads,
    )
