"""Draw and render one test set."""

import json
from pathlib import Path

from denoise.mixing.files import SplitTables, TestSetFiles
from denoise.mixing.settings import TestSetSettings
from denoise.mixing.test_sets import mix_test_set, take_recordings
from denoise.study.jobs import job

with job(snakemake):
    settings = json.loads(snakemake.params.settings)
    given = (
        SplitTables(*map(Path, snakemake.input.splits)),
        TestSetSettings.model_validate(settings["test_set"]),
        settings["rate"],
        settings["seed"],
        TestSetFiles(**dict(snakemake.output.items())),
    )
    if settings.get("clean") == "none":
        take_recordings(*given)
    else:
        mix_test_set(*given, processes=snakemake.threads)
