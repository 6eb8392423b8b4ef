"""Draw and render the mixtures of one test set."""

import json
from pathlib import Path

from denoise.mixing.mixtures import mix_test_set
from denoise.mixing.settings import TestSetSettings
from denoise.study.jobs import job

with job(snakemake):
    settings = json.loads(snakemake.params.settings)
    speech, *noise = (Path(path) for path in snakemake.input.splits)
    mix_test_set(
        speech,
        noise[0] if noise else None,
        TestSetSettings.model_validate(settings["test_set"]),
        settings["rate"],
        settings["seed"],
        Path(snakemake.output.manifest).parent,
        processes=snakemake.threads,
    )
