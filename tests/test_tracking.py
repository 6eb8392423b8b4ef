"""Tracking never costs a result, and what could not be recorded is tried again."""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from made import model_card

from denoise.core import files
from denoise.core.tables import write_table
from denoise.metrics.registry import SCORED
from denoise.networks.card import ModelCard, write_card
from denoise.tracking.live import live
from denoise.tracking.notes import RunAbout, view_of
from denoise.tracking.record import (
    ExperimentAbout,
    ExperimentFiles,
    RunFiles,
    record,
    record_experiment,
)
from denoise.tracking.store import (
    RunName,
    Store,
    forget_unrecorded,
    initialise,
)

STORE = Path("results/mlflow")
CARD = model_card(training={"epochs": 1}, code="abc", best_val_loss=0.5, code_version="0")
RUN = RunName("e", "v", "v")
ABOUT = RunAbout(
    experiment="e", variant="v", name="v", preset="p", data="s speech, n noise",
    differs={"training.loss": "mse"},
    settings={"training.loss": "mse", "mixing.snr_db": [0, 5]},
)  # fmt: skip


def changed(**fields) -> ModelCard:
    return CARD.model_copy(update=fields)


def record_into(store: Path, model: Path, scores: dict[str, pd.DataFrame], note: Path) -> None:
    record(Store(STORE), ABOUT, RunFiles(model, scores, {}, []), note)


@pytest.fixture
def store(tmp_path, monkeypatch):
    """A folder with its own local store."""
    monkeypatch.chdir(tmp_path)
    initialise(Store(STORE), "e", tmp_path / "store.json")
    return tmp_path


def runs_of(experiment: str) -> dict[str, str]:
    import mlflow

    client = mlflow.MlflowClient(Store(STORE).uri)
    found = client.search_runs([client.get_experiment_by_name(experiment).experiment_id])
    return {run.info.run_name: run.info.status for run in found}


def test_a_failed_training_is_marked_and_its_repetition_reuses_the_run(store):
    with pytest.raises(ZeroDivisionError), live(Store(STORE), RUN, CARD) as on_epoch:
        on_epoch({"epoch": 1, "val_loss": 1.0})
        raise ZeroDivisionError
    assert runs_of("e") == {"e": "FINISHED", "v": "FAILED"}
    with live(Store(STORE), RUN, CARD):
        assert runs_of("e") == {"e": "FINISHED", "v": "RUNNING"}
    with live(Store(STORE), RUN, changed(code="other")):
        pass
    assert len(Store(STORE).client.search_runs(["1"])) == 3


def test_an_experiment_says_how_many_of_its_runs_are_recorded(store):
    runs = [store / "a.json", store / "b.json"]
    for path, complete in zip(runs, (True, False), strict=True):
        files.write_json(path, {"complete": complete})
    row = {"test_set": "test", "variant": "v", **dict.fromkeys(SCORED, 1.0)}
    write_table(store / "leaderboard.csv", pd.DataFrame([row]))
    files.write_text(store / "report.html", "")
    (store / "figures").mkdir()
    made = ExperimentFiles(
        store / "report.html", store / "figures", store / "leaderboard.csv", runs
    )
    about = ExperimentAbout(experiment="e", preset="p", data="d")
    record_experiment(Store(STORE), about, made, store / "experiment.json")
    recorded = files.read_json(store / "experiment.json")
    assert recorded["complete"]
    parent = Store(STORE).client.get_run(recorded["parent_run"])
    assert parent.data.tags["status"] == "reported, 1 of 2 runs recorded"


def test_a_run_shows_the_progress_of_its_training(store):
    def status() -> str:
        (run,) = Store(STORE).client.search_runs(["1"], "tags.variant = 'v'")
        return run.data.tags["status"]

    with live(Store(STORE), RUN, changed(training={"epochs": 4})) as on_epoch:
        assert status() == "training"
        on_epoch({"epoch": 1, "val_loss": 1.0, "seconds": 100.0})
        on_epoch({"epoch": 2, "val_loss": 0.9, "seconds": 140.0})
        assert status() == "training, epoch 2 of 4, at most 4 min left"
        on_epoch({"epoch": 4, "val_loss": 0.8, "seconds": 120.0})
        assert status() == "training, epoch 4 of 4"
    assert status() == "trained"


def test_failed_recordings_are_retried(store, monkeypatch):
    model = store / "model"
    write_card(model / "card.json", CARD)
    write_table(model / "history.csv", pd.DataFrame([{"epoch": 1, "val_loss": 1.0}]))
    marker = store / "tracking" / "v-seed0.json"
    with monkeypatch.context() as broken:
        broken.setenv("MLFLOW_TRACKING_URI", "sqlite:////nowhere/at/all/mlflow.db")
        record_into(store, model, {}, marker)
    assert marker.exists()
    forget_unrecorded(Store(STORE), marker.parent)
    assert not marker.exists()
    monkeypatch.setattr("denoise.tracking.record.log_model", lambda *arguments: None)
    record_into(store, model, {}, marker)
    forget_unrecorded(Store(STORE), marker.parent)
    assert marker.exists() and runs_of("e")["v"] == "FINISHED"


def record_in_a_process() -> None:
    """`record_into` of the working folder by another process, as MLflow keeps what it opened."""
    code = (
        "from pathlib import Path; from test_tracking import record_into;"
        "import denoise.tracking.record as r; r.log_model = lambda *a: None;"
        "record_into(Path(), Path('model'), {}, Path('tracking/v-seed0.json'))"
    )
    here = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    env = {**os.environ, "PYTHONPATH": here}
    env.pop("MLFLOW_TRACKING_URI", None)  # which MLflow has set to the store that it opened
    ran = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True)
    assert ran.returncode == 0, ran.stderr.decode()


def test_a_copied_study_writes_into_its_own_folder(store, monkeypatch):
    model = store / "model"
    write_card(model / "card.json", CARD)
    write_table(model / "history.csv", pd.DataFrame([{"epoch": 1, "val_loss": 1.0}]))
    monkeypatch.setattr("denoise.tracking.record.log_model", lambda *arguments: None)
    record_into(store, model, {}, store / "tracking" / "v-seed0.json")
    copy = store.parent / f"{store.name}-copy"
    shutil.copytree(store, copy)
    before = {path: path.stat().st_mtime_ns for path in store.rglob("*")}
    monkeypatch.chdir(copy)
    (copy / "tracking" / "v-seed0.json").unlink()
    (copy / "model" / "history.csv").write_text("epoch,val_loss\n1,1.0\n2,0.5\n")
    record_in_a_process()
    assert {path: path.stat().st_mtime_ns for path in store.rglob("*")} == before
    run = files.read_json(copy / "tracking" / "v-seed0.json")["run"]
    kept = copy / STORE / "artifacts" / run / "artifacts" / "history.csv"
    assert kept.read_text().endswith("2,0.5\n")
    # The store of the copy knows where its artifacts are.
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    client = Store(STORE).client
    assert client.get_run(run).info.artifact_uri == kept.parent.as_uri()


@pytest.mark.parametrize("damage", ["deleted", "emptied", "cut off", "artifacts deleted"])
def test_runs_missing_from_the_store_are_recorded_again(store, monkeypatch, caplog, damage):
    model, note = store / "model", store / "tracking" / "v-seed0.json"
    write_card(model / "card.json", CARD)
    write_table(model / "history.csv", pd.DataFrame([{"epoch": 1, "val_loss": 1.0}]))
    monkeypatch.setattr("denoise.tracking.record.log_model", lambda *arguments: None)
    record_into(store, model, {}, note)
    database = store / STORE / "mlflow.db"
    if damage == "deleted":
        shutil.rmtree(store / STORE)
    elif damage == "artifacts deleted":
        shutil.rmtree(store / STORE / "artifacts")
    else:
        database.write_bytes(database.read_bytes()[: 0 if damage == "emptied" else 5000])
    forget_unrecorded(Store(STORE), note.parent)
    assert not note.exists()
    assert ("mlflow.db.damaged" in caplog.text) == (damage == "cut off")
    record_in_a_process()
    assert files.read_json(note)["complete"]
    forget_unrecorded(Store(STORE), note.parent)
    assert note.exists()


def test_invalid_markers_are_deleted(tmp_path):
    for name, text in (("a", ""), ("b", "[]"), ("c", '{"complete": false}'), ("d", "{}")):
        (tmp_path / f"{name}.json").write_text(text)
    forget_unrecorded(Store(tmp_path / "none"), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["d.json"]


def test_a_run_logs_the_settings_of_its_training_as_parameters(store):
    from denoise.networks.registry import network_settings
    from denoise.training.settings import TrainingSettings

    training = TrainingSettings(epochs=3, optimiser={"name": "adamw", "weight_decay": 0.01})
    network = network_settings({"name": "unet", "filters": [2, 4]})
    card = changed(network=network, training=training.model_dump(mode="json"))
    with live(Store(STORE), RUN, card):
        pass
    (run,) = Store(STORE).client.search_runs(["1"], "params.`training.epochs` = '3'")
    assert run.data.params == {
        "seed": "0", "rate": "8000", "segment": "992", "network.name": "unet",
        "features.target": "noise",
        "network.filters": "2, 4", "training.loss": "huber", "training.epochs": "3",
        "training.batch_size": "20", "training.learning_rate": "0.001",
        "training.optimiser.name": "adamw", "training.optimiser.weight_decay": "0.01",
    }  # fmt: skip


def test_a_run_logs_scores_with_intervals_and_a_description(store, monkeypatch):
    from denoise.metrics.registry import SCORED

    model = store / "model"
    write_card(model / "card.json", CARD)
    write_table(model / "history.csv", pd.DataFrame([{"epoch": 1, "val_loss": 1.0}]))
    # Two speakers: a resampling draws one of them alone in half of the cases.
    scores = pd.DataFrame({"speaker": ["a", "a", "b"], "status": ["ok", "ok", "pesq_nb: silent"]})
    scores = scores.assign(**dict.fromkeys(SCORED, float("nan")))
    scores["si_sdr"] = [1.0, 3.0, 8.0]
    monkeypatch.setattr("denoise.tracking.record.log_model", lambda *arguments: None)
    record_into(store, model, {"test": scores}, store / "m.json")
    run = Store(STORE).client.get_run(files.read_json(store / "m.json")["run"])
    assert run.data.metrics["test/si_sdr"] == 4
    # Speakers of means 2 and 8, variance 18, and shares 2/3 and 1/3: Student's quantile of one
    # degree of freedom, 12.706, times the root of 18 (4 + 1) / 9.
    half = 12.7062 * math.sqrt(10)
    assert run.data.metrics["test/interval/si_sdr_low"] == pytest.approx(4 - half, rel=1e-4)
    assert run.data.metrics["test/interval/si_sdr_high"] == pytest.approx(4 + half, rel=1e-4)
    assert not any("pesq" in name for name in run.data.metrics)
    assert run.data.params["mixing.snr_db"] == "0, 5"
    assert run.data.tags["dataset"] == "s speech, n noise"
    assert run.data.tags["status"] == "scored, incomplete utterances: 1"
    note = run.data.tags["mlflow.note.content"]
    assert "`training.loss`: mse" in note and "| test/si_sdr | 4.000 | -36.181 … 44.181 |" in note
    parent = run.data.tags["mlflow.parentRunId"]
    assert f"(#/experiments/1/runs/{parent}/artifacts/report.html)" in note


def test_the_duration_of_a_run_excludes_later_logging(store, monkeypatch):
    import mlflow

    with live(Store(STORE), RUN, CARD) as on_epoch:
        on_epoch({"epoch": 1, "val_loss": 1.0})
    client = mlflow.MlflowClient(Store(STORE).uri)
    (run,) = client.search_runs(
        [client.get_experiment_by_name("e").experiment_id], "tags.variant LIKE '%'"
    )
    client.set_terminated(run.info.run_id, "FINISHED", end_time=run.info.start_time + 1234)
    # As logging a model does: MLflow's context ends the run when it is left.
    monkeypatch.setattr(
        "denoise.tracking.record.log_model",
        lambda client, run_id, *rest: client.set_terminated(run_id),
    )
    write_card(store / "model/card.json", CARD)
    history = pd.DataFrame([{"epoch": 1, "val_loss": 1.0}])
    write_table(store / "model/history.csv", history)
    record_into(store, store / "model", {}, store / "marker.json")
    info = client.get_run(run.info.run_id).info
    assert info.end_time - info.start_time == 1234


def test_the_run_list_prefers_a_test_set_with_clean_references():
    from denoise.metrics.registry import SCORED

    nothing = dict.fromkeys(SCORED, float("nan"))
    rows = [
        {**nothing, "test_set": "real", "dnsmos_ovrl": 3.0},
        {**nothing, "test_set": "test", "si_sdr": 9.0, "wer": 20.0},
    ]
    shown = json.loads(view_of(pd.DataFrame(rows)))
    assert shown["selectedColumns"] == ["metrics.`test/si_sdr`", "metrics.`test/wer`"]
    shown = json.loads(view_of(pd.DataFrame(rows[:1])))
    assert shown["selectedColumns"] == ["metrics.`real/dnsmos_ovrl`"]
