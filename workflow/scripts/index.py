"""Extract (or make, or list) one subset of a corpus and index its recordings."""

import json
from pathlib import Path

from denoise.corpora import index_folder, index_subset
from denoise.jobs import job

with job(snakemake):
    settings = json.loads(snakemake.params.settings)
    target = Path(snakemake.output[0])
    if settings["corpus"] == "folder":
        index_folder(Path(settings["path"]), settings["speaker_level"], target)
    else:
        index_subset(
            settings["corpus"],
            settings["subset"],
            [Path(path) for path in snakemake.input.archives],
            target,
        )
