"""A study whose jobs share no folder gives what it gives here.

The jobs run in pods of a pretended cluster and exchange their files through a pretended S3, both on
this machine: what a rule reads or writes without saying so is not there for the next.
"""

from __future__ import annotations

import logging
import subprocess
from pathlib import Path

import boto3
import pytest
import soundfile
from api import serve
from conftest import hiss
from moto.server import ThreadedMotoServer
from studies import SHORT
from workflow_runs import TINY, configure, copy_project, dry_run, snakemake

_LOSS = "def halved(target, output):\n    return HALF * (target - output) ** 2\n"
BOARD = "reports/small/leaderboard.csv"

pytestmark = [pytest.mark.slow, pytest.mark.cluster]


@pytest.fixture
def storage():
    """The address of an S3 that is empty."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    yield "http://{}:{}".format(*server.get_host_and_port())
    server.stop()


@pytest.fixture
def cluster(tmp_path):
    with serve(tmp_path / "cluster") as found:
        yield found


def project(folder: Path, mirror: str, cached: list[bool]) -> Path:
    copy_project(folder)
    (folder / "own.py").write_text("from factor import HALF\n\n\n" + _LOSS)
    (folder / "factor.py").write_text("HALF = 0.5\n")
    own = {"training.devices": "all", "training.loss": "own.py:halved"}
    configure(
        folder, experiment="small", set={**SHORT, **own},
        sweep={"features.cache": cached} if len(cached) > 1 else {},
        baselines=["noisy", "rnnoise"], download={"mirror": mirror},
    )  # fmt: skip
    return folder


def through(storage: str) -> tuple[str, ...]:
    return (
        "--default-storage-prefix", "s3://denoise/study", "--storage-s3-endpoint-url", storage,
        "--storage-s3-access-key", "key", "--storage-s3-secret-key", "secret",
    )  # fmt: skip


def test_a_study_in_pods_without_a_shared_folder_gives_the_same(
    small_study, tmp_path, web_mirror, mlflow_server, storage, cluster, repetitions
):
    pods, kubeconfig = cluster
    cached = [True, False][: repetitions(1, 2)]
    here = small_study
    if len(cached) > 1:
        here = project(tmp_path / "here", web_mirror, cached)
        run = snakemake(here, BOARD)
        assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-3000:]

    there = project(tmp_path / "there", web_mirror, cached)
    # What a pod gets of the project is what git knows.
    for arguments in (("init", "--quiet"), ("add", "--all")):
        subprocess.run(["git", *arguments], cwd=there, check=True)
    environment = {"KUBECONFIG": str(kubeconfig), "MLFLOW_TRACKING_URI": mlflow_server[0]}
    run = snakemake(
        there, "--workflow-profile", "profiles/kubernetes", *through(storage), "--jobs", "2",
        "--resources", "gpu=3",
        "--seconds-between-status-checks", "1", "all", cores=None, **environment,
    )  # fmt: skip
    logs = "\n".join(pods.log(name)[-1500:] for name, pod in pods.pods.items() if pod.poll())
    assert run.returncode == 0, (run.stdout + run.stderr)[-3000:] + logs
    assert len(pods.pods) >= 16 and not (there / "results/scores").exists()

    bucket = boto3.resource(
        "s3", endpoint_url=storage, aws_access_key_id="key", aws_secret_access_key="secret"
    ).Bucket("denoise")
    found = {item.key.removeprefix("study/"): item for item in bucket.objects.all()}
    assert found[BOARD].get()["Body"].read() == (here / BOARD).read_bytes()
    assert "reports/small/report.html" in found
    asked = [spec["resources"]["requests"].get("nvidia.com/gpu") for spec in pods.specs]
    # Trainings over all devices get all that are granted, enhancement gets one.
    assert asked.count("3") == asked.count("1") == len(cached)
    assert asked.count(None) == len(asked) - 2 * len(cached)


def test_paths_that_pods_cannot_reach_are_refused_before_submission(tmp_path):
    folder = copy_project(tmp_path / "project")
    recordings = tmp_path / "mine"
    recordings.mkdir()
    for number in range(3):
        soundfile.write(recordings / f"fan_{number}.wav", hiss(3, 8000, number), 8000)
    stored = ("--default-storage-provider", "s3", *through("http://127.0.0.1:9"), "all")
    configure(folder, set=TINY, sweep={})
    run = dry_run(folder, "--default-storage-provider", "s3", "all")
    assert (
        run.returncode == 1
        and "error: --default-storage-provider needs --default-storage-prefix" in run.stderr
    )
    run = dry_run(folder, *stored, MLFLOW_TRACKING_URI="")
    assert run.returncode == 1 and "error: MLFLOW_TRACKING_URI is not set: jobs" in run.stderr
    noise = {"corpus": "folder", "path": str(recordings)}
    configure(folder, set={**TINY, "data.noise": [noise]}, sweep={})
    run = dry_run(folder, *stored, MLFLOW_TRACKING_URI="http://127.0.0.1:9")
    assert run.returncode == 1 and "is a folder of this machine" in run.stderr
    assert "error: folder/" in run.stderr and "s3://denoise/study" in run.stderr
