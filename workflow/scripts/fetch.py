"""Download one archive and verify it."""

from pathlib import Path

from denoise import corpora
from denoise.fetch import DownloadSettings, obtain
from denoise.jobs import job

with job(snakemake):
    wanted = snakemake.wildcards
    archives = {
        archive.name: archive
        for subset in corpora.get(wanted.corpus).subsets.values()
        for archive in subset
    }
    obtain(
        archives[wanted.archive],
        wanted.corpus,
        Path(snakemake.output[0]),
        DownloadSettings.model_validate(snakemake.config["download"]),
    )
