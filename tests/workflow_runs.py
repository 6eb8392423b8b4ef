"""Running the workflow on copies of the project, for the tests that need whole runs."""

from __future__ import annotations

import faulthandler
import gc
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent
ESC50 = {"corpus": "esc50", "noise_types": ["rain", "dog"]}
TINY = {
    "data.splits": {"validation": 0.2, "test": 0.2},
    "mixing.segment": 992,
    "mixing.speech_stride": 2016,
    "mixing.hours": 0.02,
    "mixing.validation_hours": 0.01,
    "features.stft": {"n_fft": 63, "hop": 31},
    "network.filters": [2, 4],
    "training.epochs": 1,
    "training.threads": 1,
}


def snakemake(
    folder: Path, *arguments: str, cores: int | None = 2, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run snakemake in `folder`; returns the ended process with its output."""
    granted = [] if cores is None else ["--cores", str(cores)]
    return subprocess.run(
        [str(BIN / "snakemake"), *granted, *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(folder / "src"), **environment},
    )


def dry_run(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """What ``snakemake -n`` says in `folder`, by that folder's code.

    In a fork of this process, which has Snakemake and pandas loaded already: a third of the time of
    a new one.
    """
    import pandas  # noqa: F401
    import snakemake.cli  # noqa: F401

    words = ["--cores", "2", "-n", *arguments]
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        # What only waits to be collected may want to end threads of TensorFlow, which the fork
        # does not have: it would wait for them for ever.
        gc.collect()
        process = os.fork()
        if process == 0:
            gc.freeze()
            os.environ.update(environment)
            _become_snakemake(folder, words, out.fileno(), err.fileno())
        _, status = os.waitpid(process, 0)
        said = []
        for stream in (out, err):
            stream.seek(0)
            said.append(stream.read().decode(errors="replace"))
    return subprocess.CompletedProcess(words, os.waitstatus_to_exitcode(status), *said)


def _become_snakemake(folder: Path, words: list[str], out: int, err: int) -> None:
    """Run Snakemake in this process, and end it."""
    code = 1
    try:
        for number, descriptor in ((1, out), (2, err)):
            os.dup2(descriptor, number)
        sys.stdout = os.fdopen(1, "w", buffering=1, closefd=False)
        sys.stderr = os.fdopen(2, "w", buffering=1, closefd=False)
        faulthandler.dump_traceback_later(300, exit=True, file=sys.stderr)
        # Those of the tests write to files that are closed.
        for name in [None, *logging.root.manager.loggerDict]:
            logging.getLogger(name).handlers.clear()
        os.chdir(folder)
        os.environ["PYTHONPATH"] = str(folder / "src")
        sys.path.insert(0, str(folder / "src"))
        for name in list(sys.modules):
            if name.partition(".")[0] in ("denoise", "snakemake_logger_plugin_denoise"):
                del sys.modules[name]
        sys.argv = [str(BIN / "snakemake"), *words]
        from snakemake.cli import main

        main(words)
        code = 0
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(bool(ended.code))
        if isinstance(ended.code, str):
            print(ended.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def planned(folder: Path, *arguments: str) -> dict[str, int]:
    """Which rules a dry run would run, and how often."""
    run = dry_run(folder, "all", *arguments)
    assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-3000:]
    jobs: dict[str, int] = {}
    for line in (run.stdout + run.stderr).splitlines():
        parts = line.split()
        if len(parts) == 2 and parts[1].isdigit() and parts[0].isidentifier():
            jobs[parts[0]] = int(parts[1])
    jobs.pop("total", None)
    return jobs


def configure(folder: Path, **config) -> None:
    (folder / "config.yaml").write_text(yaml.safe_dump({"preset": "quickstart", **config}))


def copy_project(target: Path) -> Path:
    """The project's files, as a clone would have them."""
    target.mkdir()
    for name in ("Snakefile", "workflow", "presets", "profiles", "src", "locks"):
        path = ROOT / name
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(path, target / name, ignore=ignore) if path.is_dir() else shutil.copy(
            path, target / name
        )
    return target
