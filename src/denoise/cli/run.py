"""``denoise run``: run the study of this folder."""

from __future__ import annotations

import argparse
import os
from typing import Any

from denoise.study.command import snakemake_words


def add(verbs: Any) -> None:
    """Add the verb to the parser."""
    # All that follows is for Snakemake, also what looks like an option of this command.
    verb = verbs.add_parser(
        "run",
        examples=[
            "denoise run --cores 4",
            "denoise run --configfile other.yaml -n",
        ],
        usage="denoise run [SNAKEMAKE ARGUMENT ...]",
        description="Run Snakemake on the study of this folder, by the workflow of the installed "
        "program where the folder has none; on all cores by default. All arguments are "
        "Snakemake's.",
        prefix_chars="\0",
        add_help=False,
    )
    verb.add_argument("arguments", nargs="*", metavar="SNAKEMAKE ARGUMENT")
    verb.set_defaults(run=run, parser=verb)


def run(options: argparse.Namespace) -> None:
    """Carry out ``denoise run``: this process becomes Snakemake."""
    if options.arguments[:1] in (["-h"], ["--help"]):
        options.parser.print_help()
        return
    words = snakemake_words(options.arguments)
    os.execv(words[0], words)
