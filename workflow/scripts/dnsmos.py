"""Predict listeners' opinions of every utterance of one method's output for a test set."""

from pathlib import Path

from denoise.evaluation.scoring import predict_opinions
from denoise.mixing.files import Utterances
from denoise.study.jobs import job

with job(snakemake):
    given = dict(snakemake.input.items())
    predict_opinions(
        Path(given.pop("enhanced")),
        Utterances(**given),
        Path(snakemake.output[0]),
        processes=snakemake.threads,
    )
