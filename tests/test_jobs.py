"""A run of Snakemake that was killed leaves nothing in the way of the next."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from snakemake.iocontainers import Namedlist

from denoise.core.errors import UserError, explained
from denoise.study import jobs
from denoise.study.jobs import _WORKFLOW, begin_workflow, job


@pytest.fixture(autouse=True)
def own_logging():
    """A job sends all logging to its log, which ends with it; tests go on."""
    handlers, level = logging.root.handlers[:], logging.root.level
    yield
    logging.captureWarnings(False)
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)


@pytest.fixture
def left(tmp_path, monkeypatch):
    """The folder of a run, with a lock that Snakemake left there."""
    monkeypatch.setattr(jobs, "_held", [])
    monkeypatch.delenv(_WORKFLOW, raising=False)
    (tmp_path / "locks").mkdir()
    (tmp_path / "locks" / "0.output.lock").touch()
    yield tmp_path
    for stream in jobs._held:
        stream.close()


def test_a_job_runs_in_the_folder_of_local_copies_of_remote_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(_WORKFLOW, raising=False)
    copies = Path(".snakemake/storage/s3/bucket/study")
    names = {
        "table": "results/splits/a.csv",
        "packs": ["results/audio/x.npy", "results/audio/y.npy"],
    }
    inputs = Namedlist()
    for name, paths in names.items():
        first = len(inputs)
        inputs.extend(str(copies / path) for path in np.atleast_1d(paths))
        inputs._set_name(name, first, end=None if isinstance(paths, str) else len(inputs))
    given = SimpleNamespace(
        log=["job.log"], config={"copies": str(copies)}, input=inputs,
        output=Namedlist([str(copies / "results/out.csv")]),
    )  # fmt: skip
    with job(given):
        assert {name: given.input.get(name) for name in names} == names
        Path("here").touch()
    assert Path.cwd() == tmp_path and (copies / "here").exists() and Path("job.log").exists()


def test_only_the_main_run_removes_stale_locks(left):
    begin_workflow(main=False, folder=left)
    assert list(left.glob("locks/*")) and not jobs._held
    assert os.environ[_WORKFLOW] == str(os.getpid())
    begin_workflow(main=True, folder=left)
    assert not list(left.glob("locks/*"))


def test_locks_of_a_running_workflow_are_kept(left):
    code = (
        "import sys; from pathlib import Path; from denoise.study import jobs\n"
        "jobs.begin_workflow(main=True, folder=Path(sys.argv[1])); print(flush=True); input()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, left], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None and other.stdout.readline()
        (left / "locks" / "0.input.lock").touch()
        begin_workflow(main=True, folder=left)
        assert [path.name for path in left.glob("locks/*")] == ["0.input.lock"]
        other.kill()
    begin_workflow(main=True, folder=left)
    assert list(left.glob("locks/*"))  # held by this process itself, from the call before
    jobs._held.pop().close()
    jobs._held.pop().close()
    begin_workflow(main=True, folder=left)
    assert not list(left.glob("locks/*"))


@pytest.mark.parametrize(
    ("error", "status", "told"),
    [
        (UserError("the key x\x1b[2J is wrong"), 1, "the key x\\x1b[2J is wrong"),
        (PermissionError(13, "Permission denied", "results"), 1, "results: Permission denied"),
        (
            ZeroDivisionError("by zero"),
            70,
            "internal error (ZeroDivisionError: by zero): ",
        ),
    ],
)
def test_a_failed_job_reports_its_error_in_one_line_and_in_its_log(
    tmp_path, monkeypatch, capfd, error, status, told
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(_WORKFLOW, raising=False)
    given = SimpleNamespace(log=["logs/job.log"], config={}, input=[], output=[])
    with pytest.raises(SystemExit) as end, job(given):
        raise error
    assert end.value.code == status
    text = Path("logs/job.log").read_text()
    assert ("Traceback (most recent call last)" in text) == (status == 70)
    assert status == 70 or str(explained(error)) in text
    said = capfd.readouterr().err
    assert said.startswith(f"error: {told}") and said.count("\n") == 1
    assert status == 1 or str(Path("logs/job.log").absolute()) in said
