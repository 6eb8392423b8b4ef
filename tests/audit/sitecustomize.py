"""Note which files of the study each script of the workflow reads, its child processes included.

Python imports this at its start where the folder is on ``PYTHONPATH``.  ``OPENED`` names the folder
that gets, for each job, ``<process>.opened`` with how and what, and ``<process>.json`` with what
its rule declares.
"""

from __future__ import annotations

import atexit
import json
import os
import sys

FOLDER = os.environ.get("OPENED")
SCRIPT = any(".snakemake/scripts/" in word for word in getattr(sys, "orig_argv", ()))


def _note_declared() -> None:
    job = getattr(sys.modules["__main__"], "snakemake", None)
    if job is None or os.environ.get("OPENED_BY") != str(os.getpid()):
        return
    names = {name: [value] if isinstance(value, str) else list(value)
             for name, value in job.input.items()}  # fmt: skip
    declared = {"rule": job.rule, "input": names, "output": list(job.output), "log": job.log[0]}
    with open(f"{FOLDER}/{os.getpid()}.json", "w") as stream:
        json.dump(declared, stream)


if FOLDER and (SCRIPT or "OPENED_BY" in os.environ):
    if "OPENED_BY" not in os.environ:
        os.environ["OPENED_BY"] = str(os.getpid())
        atexit.register(_note_declared)
    root = os.getcwd() + os.sep
    notes = os.open(
        f"{FOLDER}/{os.environ['OPENED_BY']}.opened", os.O_WRONLY | os.O_CREAT | os.O_APPEND
    )

    def _note(event: str, arguments: tuple) -> None:
        if event != "open" or not isinstance(arguments[0], str | bytes | os.PathLike):
            return
        path, _, flags = arguments
        path = os.path.abspath(os.fsdecode(path))
        reads = isinstance(flags, int) and flags & os.O_ACCMODE == os.O_RDONLY
        if path.startswith(root) and (not reads or os.path.isfile(path)):
            how = "read" if reads else "write"
            os.write(notes, f"{how} {path.removeprefix(root)}\n".encode())

    sys.addaudithook(_note)
