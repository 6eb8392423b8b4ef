"""The MLflow store: where it is, and the runs in it.

``history.csv`` and the score tables are the truth; tracking may fail at any time without harm.  A
run is found by its fingerprint, so that repeating it updates the run instead of adding another.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from denoise.core import files
from denoise.core.settings import digest

log = logging.getLogger(__name__)

STORE = Path("results/mlflow")
_FINGERPRINT = "denoise.fingerprint"
_PARENT_TAG = "mlflow.parentRunId"
# Without it, the UI opens an experiment in its view for language models.
KIND = {"mlflow.experimentKind": "custom_model_development"}


def _local() -> str:
    # Absolute: MLflow keeps what it opened by this name, wherever the process has gone since.
    return f"sqlite:///{(STORE / 'mlflow.db').absolute()}"


def tracking_uri() -> str:
    """``MLFLOW_TRACKING_URI``, or the SQLite store of this folder."""
    return os.environ.get("MLFLOW_TRACKING_URI") or _local()


def open_client() -> Any:
    import mlflow

    # A tracking server that does not answer must not hold a training up for minutes.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
    logging.getLogger("alembic").setLevel(logging.WARNING)
    mlflow.set_tracking_uri(tracking_uri())
    # Processes that open a fresh SQLite store at once break it.
    with files.locked(STORE / "store.lock"):
        return mlflow.MlflowClient(tracking_uri())


class _Outcome:
    failed = False


@contextlib.contextmanager
def never_failing(what: str) -> Iterator[_Outcome]:
    """Turn any failure of MLflow into a warning: tracking never costs a result."""
    outcome = _Outcome()
    try:
        yield outcome
    except Exception as error:  # MLflow raises whatever its store raises
        reason = str(error).strip().splitlines()
        log.warning("MLflow: %s failed: %s", what, reason[0] if reason else repr(error))
        outcome.failed = True


def forget_incomplete(folder: Path) -> None:
    """Delete the markers in `folder` of what could not be recorded, so that it is tried again."""
    for path in folder.glob("*.json"):
        try:
            complete = files.read_json(path).get("complete", True)
        except (ValueError, AttributeError):  # not even a marker
            complete = False
        if not complete:
            path.unlink()


def keep_marker(marker: Path, models: Path) -> None:
    """Put back what `initialise` left if the store was deleted while models are there.

    Snakemake would train them all again for a new store, as they need its marker.
    """
    if not marker.exists() and any(models.glob("*/seed*/card.json")):
        files.write_json(marker, {"tracking_uri": tracking_uri(), "parent_run": None})


def initialise(experiment: str, marker: Path) -> None:
    """Create the store, the experiment and its parent run, before any training opens them."""
    STORE.mkdir(parents=True, exist_ok=True)
    parent = None
    with never_failing("opening the store"):
        client = open_client()
        parent = find_parent_run(client, find_experiment(client, experiment), experiment)
    files.write_json(marker, {"tracking_uri": tracking_uri(), "parent_run": parent})


def find_experiment(client: Any, name: str) -> str:
    import mlflow

    found = client.get_experiment_by_name(name)
    if found is None:
        artifacts = (STORE / "artifacts").absolute()
        place = artifacts.as_uri() if tracking_uri() == _local() else None
        try:
            return str(client.create_experiment(name, artifact_location=place, tags=KIND))
        except mlflow.exceptions.MlflowException:
            found = client.get_experiment_by_name(name)  # another process was faster
    return str(found.experiment_id)


def _find_run(client: Any, experiment_id: str, fingerprint: str) -> str | None:
    runs = client.search_runs(
        [experiment_id], f"tags.`{_FINGERPRINT}` = '{fingerprint}'", max_results=1
    )
    return str(runs[0].info.run_id) if runs else None


def find_parent_run(client: Any, experiment_id: str, experiment: str) -> str:
    fingerprint = f"parent-{experiment}"
    found = _find_run(client, experiment_id, fingerprint)
    if found is None:
        tags = {_FINGERPRINT: fingerprint}
        run = client.create_run(experiment_id, run_name=experiment, tags=tags)
        found = str(run.info.run_id)
        client.set_terminated(found, "FINISHED")
    return found


def find_child_run(client: Any, experiment: str, card: dict[str, Any], name: str) -> str:
    with files.locked(STORE / "runs.lock"):
        experiment_id = find_experiment(client, experiment)
        fingerprint = digest({key: card[key] for key in sorted(_IDENTITY) if key in card}, 16)
        found = _find_run(client, experiment_id, fingerprint)
        if found is not None:
            client.update_run(found, name=name)
            return found
        tags = {
            "status": "training",
            _FINGERPRINT: fingerprint,
            _PARENT_TAG: find_parent_run(client, experiment_id, experiment),
            "variant": card["variant"],
            "seed": str(card["seed"]),
        }
        run = client.create_run(experiment_id, run_name=name, tags=tags)
        return str(run.info.run_id)


_IDENTITY = (
    "variant", "seed", "code", "data", "features", "network", "augmentation", "training", "window",
    "rate",
)  # fmt: skip
