"""Draw the training and validation mixtures."""

import json
from pathlib import Path

from denoise.mixing.files import SplitTables
from denoise.mixing.mixtures import mix_windows
from denoise.mixing.settings import MixingSettings
from denoise.study.jobs import job

with job(snakemake):
    settings = json.loads(snakemake.params.settings)
    mix_windows(
        SplitTables(*map(Path, snakemake.input.splits)),
        MixingSettings.model_validate(settings["mixing"]),
        settings["rate"],
        settings["seed"],
        {part: Path(snakemake.output[part]) for part in ("train", "validation")},
        processes=snakemake.threads,
    )
