"""Calling Snakemake on the study of this folder."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from denoise.core.bundled import bundled
from denoise.core.errors import UserError
from denoise.study.paths import own_config

_OWN = ("Snakefile", "snakefile", "workflow/Snakefile", "workflow/snakefile")
_HOW_MUCH = re.compile(r"(--cores|-c|--jobs|-j|--profile)(=.*|\d*)$|-[cj](all|\d+)$")


def has_snakefile() -> bool:
    """Whether this folder has a workflow of its own, as a clone of the project has."""
    return any(Path(name).is_file() for name in _OWN)


def run_command() -> str:
    """The command that runs the study of this folder."""
    return "snakemake --cores all all" if has_snakefile() else "denoise run"


def snakemake_words(given: Sequence[str]) -> list[str]:
    """The command that runs Snakemake with these arguments in this folder: on its own workflow, or
    else on that of the installed program, on all cores unless `given` says how many.

    Raises
    ------
    UserError
        If there is no study here.
    """
    words = [sys.executable, "-m", "snakemake"]
    if not has_snakefile():
        if own_config() is None and "--configfile" not in given:
            raise UserError(
                "there is no config.yaml here: run this in the folder of a study, or create a "
                "study with `denoise new FOLDER`"
            )
        words += ["--snakefile", str(bundled("Snakefile"))]
    if not any(_HOW_MUCH.match(word) for word in given):
        words += ["--cores", "all"]
    return [*words, *given]


def dry_run(given: Sequence[str]) -> str:
    """Snakemake's dry run.

    Raises
    ------
    UserError
        If it cannot plan, with what it said.
    """
    run = subprocess.run(
        snakemake_words(["--dry-run", *given]),
        capture_output=True,
        text=True,
        env={**os.environ, "NO_COLOR": "1"},
    )
    said = run.stdout + run.stderr
    if run.returncode != 0:
        lines = [line for line in said.splitlines() if line.strip()]
        told = [line for line in lines if line.startswith("error: ")]
        raise UserError((told or lines or ["snakemake failed"])[-1].removeprefix("error: "))
    return said
