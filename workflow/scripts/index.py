"""Extract (or make, or list) one subset of a corpus and index its recordings."""

import json
from pathlib import Path

from denoise.corpora.download import DownloadSettings, obtain
from denoise.corpora.indexing import index_folder, index_layout, index_pairs, index_subset
from denoise.corpora.registry import find_corpus
from denoise.study.jobs import job

with job(snakemake):
    settings = json.loads(snakemake.params.settings)
    target = Path(snakemake.output[0])
    if settings["corpus"] == "folder":
        index_folder(Path(settings["path"]), settings["speaker_level"], target)
    elif settings["corpus"] == "pairs":
        index_pairs(
            Path(settings["path"]),
            Path(settings["noisy"]),
            settings["patterns"],
            settings["speaker_level"],
            target,
        )
    elif "path" in settings:
        index_layout(settings["corpus"], settings["part"], Path(settings["path"]), target)
    else:
        archives = [Path(path) for path in snakemake.input.archives]
        # A study that shares them may be about to download them again.
        published = find_corpus(settings["corpus"]).subsets[settings["subset"]]
        named = {archive.name: archive for archive in published}
        download = DownloadSettings.model_validate(snakemake.config["download"])
        for path in archives:
            obtain(named[path.name], settings["corpus"], path, download)
        index_subset(
            settings["corpus"], settings["subset"], archives, target, snakemake.params.code
        )
