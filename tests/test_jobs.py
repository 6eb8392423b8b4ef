"""A run of Snakemake that was killed leaves nothing in the way of the next."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from denoise import jobs


@pytest.fixture
def left(tmp_path, monkeypatch):
    """The folder of a run, with a lock that Snakemake left there."""
    monkeypatch.setattr(jobs, "_held", [])
    monkeypatch.delenv(jobs._WORKFLOW, raising=False)
    (tmp_path / "locks").mkdir()
    (tmp_path / "locks" / "0.output.lock").touch()
    yield tmp_path
    for stream in jobs._held:
        stream.close()


def test_locks_that_nobody_holds_are_removed_by_the_main_run_alone(left):
    jobs.begin_workflow(main=False, folder=left)
    assert list(left.glob("locks/*")) and not jobs._held
    assert os.environ[jobs._WORKFLOW] == str(os.getpid())
    jobs.begin_workflow(main=True, folder=left)
    assert not list(left.glob("locks/*"))


def test_locks_of_a_run_that_is_alive_are_left(left):
    code = (
        "import sys; from pathlib import Path; from denoise import jobs\n"
        "jobs.begin_workflow(main=True, folder=Path(sys.argv[1])); print(flush=True); input()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, left], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None and other.stdout.readline()
        (left / "locks" / "0.input.lock").touch()
        jobs.begin_workflow(main=True, folder=left)
        assert [path.name for path in left.glob("locks/*")] == ["0.input.lock"]
        other.kill()
    jobs.begin_workflow(main=True, folder=left)
    assert list(left.glob("locks/*"))  # held by this process itself, from the call before
    jobs._held.pop().close()
    jobs._held.pop().close()
    jobs.begin_workflow(main=True, folder=left)
    assert not list(left.glob("locks/*"))
