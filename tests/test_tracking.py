"""Tracking never costs a result, and what could not be recorded is tried again."""

from __future__ import annotations

import pandas as pd
import pytest

from denoise import files, tracking

CARD = {
    "variant": "v", "seed": 0, "rate": 8000, "window": 992, "features": {}, "network": {},
    "augmentation": {}, "training": {"epochs": 1}, "data": {}, "code": "abc", "parameters": 1,
    "best_val_loss": 0.5, "code_version": "0",
}  # fmt: skip


@pytest.fixture
def store(tmp_path, monkeypatch):
    """A folder with its own local store."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    tracking.initialise("e", tmp_path / "store.json")
    return tmp_path


def runs_of(experiment: str) -> dict[str, str]:
    import mlflow

    client = mlflow.MlflowClient(tracking.tracking_uri())
    found = client.search_runs([client.get_experiment_by_name(experiment).experiment_id])
    return {run.info.run_name: run.info.status for run in found}


def test_a_training_that_fails_is_marked_and_repeating_it_is_the_same_run(store):
    with pytest.raises(ZeroDivisionError), tracking.live("e", CARD) as on_epoch:
        on_epoch({"epoch": 1, "val_loss": 1.0})
        raise ZeroDivisionError
    assert runs_of("e") == {"e": "FINISHED", "v-seed0": "FAILED"}
    with tracking.live("e", CARD):
        assert runs_of("e") == {"e": "FINISHED", "v-seed0": "RUNNING"}
    with tracking.live("e", {**CARD, "code": "other"}):
        pass
    assert len(tracking._client().search_runs(["1"])) == 3


def test_what_could_not_be_recorded_is_tried_again(store, monkeypatch):
    model = store / "model"
    files.write_json(model / "card.json", CARD)
    files.write_table(model / "history.csv", pd.DataFrame([{"epoch": 1, "val_loss": 1.0}]))
    marker = store / "tracking" / "v-seed0.json"
    with monkeypatch.context() as broken:
        broken.setenv("MLFLOW_TRACKING_URI", "sqlite:////nowhere/at/all/mlflow.db")
        tracking.record("e", model, {}, {}, [], marker)
    assert marker.exists()
    tracking.forget_incomplete(marker.parent)
    assert not marker.exists()
    monkeypatch.setattr(tracking, "_log_model", lambda *arguments: None)
    tracking.record("e", model, {}, {}, [], marker)
    tracking.forget_incomplete(marker.parent)
    assert marker.exists() and runs_of("e")["v-seed0"] == "FINISHED"


def test_a_marker_that_is_none_is_forgotten(tmp_path):
    for name, text in (("a", ""), ("b", "[]"), ("c", '{"complete": false}'), ("d", "{}")):
        (tmp_path / f"{name}.json").write_text(text)
    tracking.forget_incomplete(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["d.json"]
