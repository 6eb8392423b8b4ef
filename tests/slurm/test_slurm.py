"""A study on a Slurm of one node gives what it gives here, though its training is cancelled.

Training and enhancement run there, with ``--full`` everything.  Needs what `cluster.sh` needs: root
and Debian's packages slurm-wlm and munge, on a machine that CI or ``DENOISE_TEST_SLURM=1`` says may
be used for it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
from pathlib import Path

import pytest
from made import record_of
from studies import small
from workflow_runs import snakemake

CLUSTER = Path(__file__).with_name("cluster.sh")
TARGET = "reports/small/leaderboard.csv"

pytestmark = [pytest.mark.slow, pytest.mark.cluster]
ON_SLURM = (
    "--workflow-profile", "profiles/slurm", "--slurm-no-account", "--latency-wait", "10",
    "--slurm-status-command", "squeue", "--slurm-init-seconds-before-status-checks", "3",
)  # fmt: skip


def missing() -> str:
    """Why it cannot be run here, if it cannot."""
    if os.environ.get("CI") != "true" and os.environ.get("DENOISE_TEST_SLURM") != "1":
        return "needs CI=true or DENOISE_TEST_SLURM=1, as it configures Slurm on this machine"
    if os.geteuid():
        return "needs root"
    lacking = [name for name in ("slurmctld", "slurmd", "munged") if shutil.which(name) is None]
    return f"needs {', '.join(lacking)} (apt-get install slurm-wlm munge)" if lacking else ""


@pytest.fixture(scope="module")
def slurm(tmp_path_factory):
    reason = missing()
    if reason:
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("slurm")
    subprocess.run(["bash", CLUSTER, "start", folder], check=True)
    yield
    subprocess.run(["scancel", "--user", str(os.geteuid())], check=True)
    subprocess.run(["bash", CLUSTER, "stop", folder], check=True)


def cancel_training(log: Path, cancelled: list[int], ended: threading.Event) -> None:
    """Cancel the job of a training when it has made some epochs."""
    while not ended.wait(0.1):
        if log.exists() and "epoch 2:" in log.read_text():
            found = subprocess.run(
                ["squeue", "--noheader", "--partition=gpu", "--format=%A"],
                capture_output=True, text=True, check=True,
            )  # fmt: skip
            cancelled += map(int, found.stdout.split())
            subprocess.run(["scancel", *map(str, cancelled)], check=True)
            return


def test_a_slurm_study_gives_equal_results_after_a_cancelled_training(
    slurm, small_study, tmp_path, web_mirror, repetitions
):
    there = small(tmp_path / "there", web_mirror)
    if not repetitions(0, 1):
        for name in ("resources", "results"):
            shutil.copytree(small_study / name, there / name)
        for name in ("models", "enhanced", "scores", "logs"):
            shutil.rmtree(there / "results" / name)

    model = record_of(small_study, "small").methods["quickstart"]
    stage = model.models[0].parent.name
    log, cancelled = there / f"results/logs/train/{stage}/seed0.log", []
    ended = threading.Event()
    watch = threading.Thread(target=cancel_training, args=(log, cancelled, ended))
    watch.start()
    # Scores of two methods, which share an allocation.
    noisy = record_of(small_study, "small").methods["noisy"]
    scores = [str(one.runs["test"][0].scores[0]) for one in (model, noisy)]
    targets = [TARGET] if repetitions(0, 1) else scores
    run = snakemake(there, *ON_SLURM, *targets, cores=None)
    ended.set()
    watch.join()
    said = run.stdout + run.stderr
    assert run.returncode == 0, said[-6000:]
    assert len(cancelled) == 1 and "Trying to restart job" in said
    assert "resuming after epoch" in log.read_text()
    # Of the training, cancelled and resumed, and of what follows it; none of it ran here.
    assert said.count("has been submitted with SLURM jobid") >= 3
    run = snakemake(there, TARGET)
    assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-3000:]
    assert (there / TARGET).read_bytes() == (small_study / TARGET).read_bytes()
