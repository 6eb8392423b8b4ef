"""MLflow that is busy, locked or away: a training never fails for it, and nothing is lost in it."""

from __future__ import annotations

import multiprocessing
import os
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest
import requests
from test_tracking import CARD

from denoise.core import files
from denoise.core.tables import write_table
from denoise.networks.card import write_card
from denoise.tracking.live import live
from denoise.tracking.notes import RunAbout
from denoise.tracking.record import RunFiles, record
from denoise.tracking.store import RunName, Store, forget_unrecorded, initialise

EPOCHS = [{"epoch": k, "loss": 1.0 / k, "val_loss": 2.0 / k} for k in range(1, 6)]

STORE = Path("results/mlflow")


def about(variant: str) -> RunAbout:
    return RunAbout(experiment="e", variant=variant, name=variant, preset="p", data="speech, noise")


def train(variant: str, folder: str, between=lambda epoch: None) -> None:
    """What a training does with MLflow, and the files it leaves."""
    os.chdir(folder)
    with live(Store(STORE), RunName("e", variant, variant), CARD) as on_epoch:
        for row in EPOCHS:
            on_epoch(row)
            between(row["epoch"])
    model = Path(folder) / "models" / variant
    write_card(model / "card.json", CARD)
    write_table(model / "history.csv", pd.DataFrame(EPOCHS))


def record_again(variant: str, folder: Path) -> bool:
    """What the workflow does when it is run again; whether everything could be recorded."""
    marker = folder / "tracking" / f"{variant}.json"
    forget_unrecorded(Store(STORE), marker.parent)
    if not marker.exists():
        record(
            Store(STORE), about(variant), RunFiles(folder / "models" / variant, {}, {}, []), marker
        )
    return files.read_json(marker)["complete"]


def logged(variant: str) -> dict[str, Counter[int]]:
    """How often each step of each metric stands in the store."""
    client = Store(STORE).client
    experiment = client.get_experiment_by_name("e").experiment_id
    runs = client.search_runs([experiment], f"tags.variant = '{variant}'")
    assert len(runs) == 1
    return {
        name: Counter(
            metric.step for metric in client.get_metric_history(runs[0].info.run_id, name)
        )
        for name in ("loss", "val_loss")
    }


ALL_ONCE = {name: Counter(range(1, 6)) for name in ("loss", "val_loss")}


@pytest.fixture
def place(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("denoise.tracking.record.log_model", lambda *arguments: None)
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize("initialised", [True, False])
def test_eight_concurrent_trainings_are_recorded_in_a_new_store(place, fault_class, initialised):
    if initialised:
        initialise(Store(STORE), "e", place / "store.json")
    spawn = multiprocessing.get_context("spawn")
    names = [f"v{number}" for number in range(8)]
    processes = [spawn.Process(target=train, args=(name, str(place))) for name in names]
    for process in processes:
        process.start()
    for process in processes:
        process.join(300)
    for process, name in zip(processes, names, strict=True):
        with fault_class("MLflow: eight trainings at once"):
            assert process.exitcode == 0
            assert record_again(name, place)
            assert logged(name) == ALL_ONCE


@pytest.mark.slow
def test_metrics_are_recorded_once_after_the_mlflow_store_is_unlocked(place, fault_class):
    with fault_class("MLflow: store locked"):
        initialise(Store(STORE), "e", place / "store.json")
        unlocked = threading.Event()

        def lock(epoch: int) -> None:
            if epoch == 2:
                other = sqlite3.connect(STORE / "mlflow.db", check_same_thread=False)
                other.execute("BEGIN EXCLUSIVE")

                def release() -> None:
                    time.sleep(8)
                    other.rollback()
                    other.close()
                    unlocked.set()

                threading.Thread(target=release).start()

        train("v", str(place), lock)
        assert unlocked.wait(30)
        assert record_again("v", place)
        assert logged("v") == ALL_ONCE


class Server:
    """An MLflow server on a store of its own, which can go away and come back."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.folder, self.url = folder, f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with (self.folder / "server.log").open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port",
                 str(self.port), "--workers", "1", "--backend-store-uri",
                 f"sqlite:///{self.folder}/server.db", "--artifacts-destination",
                 str(self.folder / "artifacts")],
                stdout=output, stderr=output, start_new_session=True,
            )  # fmt: skip
        until = time.monotonic() + 120
        while time.monotonic() < until:
            try:
                if requests.get(f"{self.url}/health", timeout=2).ok:
                    return
            except requests.RequestException:
                time.sleep(0.3)
        raise AssertionError((self.folder / "server.log").read_text()[-2000:])

    def stop(self) -> None:
        if self.process is not None:
            os.killpg(self.process.pid, 9)
            self.process.wait()
            self.process = None


@pytest.fixture
def server(place, monkeypatch):
    server = Server(place)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.url)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "5")
    yield server
    server.stop()


@pytest.mark.slow
@pytest.mark.parametrize("away", ["from the start", "in the middle", "at the end"])
def test_metrics_are_recorded_once_after_the_mlflow_server_returns(
    place, server, fault_class, away
):
    with fault_class(f"MLflow: server away {away}"):
        if away != "from the start":
            server.start()
        initialise(Store(STORE), "e", place / "store.json")

        def go(epoch: int) -> None:
            if epoch == {"in the middle": 2, "at the end": 5}.get(away):
                server.stop()

        train("v", str(place), go)
        assert not record_again("v", place)
        server.start()
        assert record_again("v", place)
        assert logged("v") == ALL_ONCE
        assert record_again("v", place) and logged("v") == ALL_ONCE
