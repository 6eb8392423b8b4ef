"""What every script of the workflow does around its one call: the log and readable errors."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from denoise.errors import UserError


@contextlib.contextmanager
def job(snakemake: Any) -> Iterator[None]:
    """Send logging, standard output and errors of a Snakemake script to its log file.

    A `UserError` is also shown on the terminal, as one line; anything else with a traceback.
    """
    path = Path(snakemake.log[0])
    path.parent.mkdir(parents=True, exist_ok=True)
    terminal = sys.stderr
    with path.open("w", encoding="utf-8", buffering=1) as stream:
        logging.basicConfig(
            stream=stream,
            level=logging.INFO,
            format="%(asctime)s %(levelname)s %(message)s",
            force=True,
        )
        logging.captureWarnings(True)
        with contextlib.redirect_stdout(stream), contextlib.redirect_stderr(stream):
            try:
                yield
            except UserError as error:
                logging.error("%s", error)
                print(f"error: {error}", file=terminal, flush=True)
                raise SystemExit(1) from None
            except Exception:
                logging.exception("the job failed unexpectedly")
                raise


def make_importable() -> None:
    """Let the scripts of the workflow import this library in any environment, a Conda one too."""
    source = str(Path(__file__).parents[1])
    paths = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    if source not in paths:
        os.environ["PYTHONPATH"] = os.pathsep.join([source, *filter(None, paths)])
