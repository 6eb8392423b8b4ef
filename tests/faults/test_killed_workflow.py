"""Whole runs that are killed again and again end as one that nothing disturbed."""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import keras
import numpy as np
import pytest
import yaml
from studies import small
from workflow_runs import BIN, planned, snakemake

pytestmark = pytest.mark.slow

# What a run leaves that must not depend on how often it was killed.
RESULTS = (
    "resources/corpora/**/*.csv",
    "results/audio/*/audio.npy",
    "results/splits/*.csv",
    "results/mixtures/*/*.csv",
    "results/spectrograms/**/*.npy",
    "results/test_sets/*/*.npy",
    "results/scores/**/*.csv",
    "reports/small/leaderboard.csv",
)
FROM_TRAINING = ("results/models", "results/enhanced", "results/scores", "results/tracking",
                 "results/logs", "reports")  # fmt: skip


def before_training(small_study: Path, folder: Path) -> Path:
    """A copy of a study that has run, without its training and what follows."""
    shutil.copytree(small_study, folder, symlinks=True)
    for name in FROM_TRAINING:
        shutil.rmtree(folder / name)
    return folder


def results(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for pattern in RESULTS
        for path in sorted(folder.glob(pattern))
    }


def weights(folder: Path) -> list[np.ndarray]:
    path = next(folder.glob("results/models/*/seed0/model.keras"))
    return keras.saving.load_model(path, compile=False).get_weights()


def start(folder: Path, *targets: str) -> subprocess.Popen[bytes]:
    """The command that people type, with processes of its own group."""
    with (folder / "output.log").open("ab") as log:
        return subprocess.Popen(
            [str(BIN / "snakemake"), "--cores", "2", *(targets or ["all"])], cwd=folder,
            stdout=log, stderr=log, start_new_session=True,
            env={**os.environ, "PYTHONPATH": str(folder / "src")},
        )  # fmt: skip


def relatives(folder: Path) -> dict[int, str]:
    """The command lines of all living processes that work in `folder`, by their numbers."""
    found = {}
    for place in Path("/proc").glob("[0-9]*"):
        try:
            if (place / "cwd").readlink() == folder and int(place.name) != os.getpid():
                words = (place / "cmdline").read_bytes().split(b"\0")
                found[int(place.name)] = b" ".join(words).decode(errors="replace")
        except OSError:
            continue
    return found


def remaining(folder: Path, seconds: float) -> dict[int, str]:
    """Those of `relatives` that still live when the others have ended, or the time is over."""
    until = time.monotonic() + seconds
    while (left := relatives(folder)) and time.monotonic() < until:
        time.sleep(0.2)
    return left


def until_a_job(folder: Path, process: subprocess.Popen[bytes]) -> None:
    """Wait until a run starts its first job, or ends."""
    before = (folder / "output.log").stat().st_size
    while process.poll() is None:
        with (folder / "output.log").open("rb") as log:
            log.seek(before)
            if b"Job " in log.read():
                return
        time.sleep(0.05)


def running_rule(folder: Path) -> str:
    """What was at work when a run was killed, by its log."""
    text = (folder / "output.log").read_text(errors="replace")
    started = re.findall(r"(?:Job \d+: )(\w+)", text)
    return started[-1] if started else "starting"


def test_killed_runs_resume_to_the_same_results(
    small_study, tmp_path, web_mirror, fault_class, repetitions
):
    # Half of what it took on one core, beside other tests.
    lasted = float((small_study.parent / "seconds").read_text()) / 2
    expected = results(small_study)
    assert len(expected) > 12

    draw = random.Random(1)
    kills, wanted, round_ = 0, repetitions(3, 50), 0
    while kills < wanted:
        round_ += 1
        where: dict[str, int] = {}
        folder = small(tmp_path / f"round{round_}", web_mirror)
        while True:
            process = start(folder)
            if kills < wanted and draw.random() < 0.85:  # else anywhere from its first moment on
                until_a_job(folder, process)
            try:
                process.wait(draw.uniform(0, 0.2) * lasted if kills < wanted else 3000)
            except subprocess.TimeoutExpired:
                kills += 1
                alone = draw.random() < 0.5
                # The process alone, as the system does when memory is short, or all at once.
                (os.kill if alone else os.killpg)(process.pid, signal.SIGKILL)
                process.wait()
                rule = running_rule(folder)
                where[rule] = where.get(rule, 0) + 1
                if alone:  # no job takes longer to its own end than a whole run
                    left = remaining(folder, 60 + 3 * lasted)
                    assert not left, f"processes outlive the run that started them: {left}"
                continue
            break
        with contextlib.ExitStack() as stages:
            for rule, times in where.items():
                stages.enter_context(fault_class(f"SIGKILL of a run: {rule.lower()}", times))
            log = (folder / "output.log").read_text(errors="replace")
            assert process.returncode == 0, log[-5000:]
            assert results(folder) == expected
            for one, other in zip(weights(folder), weights(small_study), strict=True):
                np.testing.assert_array_equal(one, other)
            assert (folder / "reports" / "small" / "report.html").stat().st_size > 10_000


def test_a_kill_before_snakemake_records_an_output_causes_no_rerun(
    tmp_path, web_mirror, fault_class
):
    """Snakemake would make it again, and then leave out all that needs it as `ancient`."""
    with fault_class("SIGKILL of a run: between a file and its note"):
        folder = small(tmp_path / "study", web_mirror)
        made = ("results/mlflow/store.json", "resources/archives/esc50/ESC-50-master.zip")
        run = snakemake(folder, *made)
        assert run.returncode == 0, run.stderr[-3000:]
        notes = list((folder / ".snakemake" / "metadata").iterdir())
        assert len(notes) == len(made)
        for path in notes:
            path.rename(folder / ".snakemake" / "incomplete" / path.name)
        jobs = planned(folder)
        assert "all" in jobs and not {"mlflow_store", "fetch"} & set(jobs)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_stopped_by_a_signal_can_be_resumed(small_study, tmp_path, fault_class, number):
    with fault_class(f"{signal.Signals(number).name} of a run"):
        folder = before_training(small_study, tmp_path / "study")
        process = start(folder)
        model = re.compile(r"Training ")
        while not model.search((folder / "output.log").read_text(errors="replace")):
            assert process.poll() is None
            time.sleep(0.2)
        time.sleep(5)
        os.killpg(process.pid, number)
        process.wait(120)
        assert not remaining(folder, 60)
        run = snakemake(folder, "all")
        assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-3000:]
        assert results(folder) == results(small_study)


def test_a_second_run_in_the_same_folder_is_refused(small_study, tmp_path, fault_class):
    with fault_class("concurrency: two runs in one folder"):
        folder = before_training(small_study, tmp_path / "study")
        first = start(folder)
        while not list((folder / ".snakemake" / "locks").glob("*")):
            assert first.poll() is None
            time.sleep(0.1)
        second = snakemake(folder, "all")
        assert second.returncode != 0 and "cannot be locked" in second.stdout + second.stderr
        assert first.wait(600) == 0
        third = snakemake(folder, "all")
        assert third.returncode == 0 and "Nothing to be done" in third.stdout + third.stderr


def test_concurrent_runs_with_different_configurations_share_outputs(
    small_study, tmp_path, fault_class
):
    """Only what one is making, the other may not make or read."""
    with fault_class("concurrency: two configurations in one folder"):
        folder = tmp_path / "study"
        shutil.copytree(small_study, folder, symlinks=True)
        config = yaml.safe_load((folder / "config.yaml").read_text())
        for name, loss in (("config", "mae"), ("other", "huber")):
            change = {"experiment": f"with-{loss}", "set": {**config["set"], "training.loss": loss}}
            (folder / f"{name}.yaml").write_text(yaml.safe_dump({**config, **change}))
        first = start(folder)
        while not re.search(r"Training ", (folder / "output.log").read_text(errors="replace")):
            assert first.poll() is None
            time.sleep(0.1)
        second = snakemake(folder, "all", "--configfile", "other.yaml")
        assert second.returncode == 0, second.stdout[-3000:] + second.stderr[-3000:]
        assert first.wait(600) == 0
        found = results(folder)
        assert results(small_study).items() <= found.items()
        for name in ("with-mae", "with-huber"):
            assert (folder / "reports" / name / "report.html").is_file()
            assert len(list((folder / "results/tracking" / name).glob("*.json"))) == 2


def test_two_studies_that_share_resources(small_study, tmp_path, web_mirror, fault_class):
    with fault_class("concurrency: two studies with one resources/"):
        folders = [small(tmp_path / name, web_mirror) for name in ("one", "other")]
        (tmp_path / "resources").mkdir()
        for folder in folders:
            (folder / "resources").symlink_to(tmp_path / "resources")
        # Everything that is made of what they share.
        made = [
            str(path.relative_to(small_study))
            for pattern in ("mixtures/*/*.csv", "test_sets/*/mixtures.csv")
            for path in sorted((small_study / "results").glob(pattern))
        ]
        assert len(made) == 3
        processes = [start(folder, *made) for folder in folders]
        for process, folder in zip(processes, folders, strict=True):
            log = folder / "output.log"
            assert process.wait(900) == 0, log.read_text(errors="replace")[-5000:]
        expected = results(small_study)
        for folder in folders:
            found = results(folder)
            assert len(found) > 8 and found.items() <= expected.items()
