"""Download one archive and verify it."""

from pathlib import Path

from denoise.corpora.download import DownloadSettings, obtain
from denoise.corpora.registry import find_corpus
from denoise.study.jobs import job

with job(snakemake):
    wanted = snakemake.wildcards
    archives = {
        archive.name: archive
        for subset in find_corpus(wanted.corpus).subsets.values()
        for archive in subset
    }
    obtain(
        archives[wanted.archive],
        wanted.corpus,
        Path(snakemake.output[0]),
        DownloadSettings.model_validate(snakemake.config["download"]),
    )
