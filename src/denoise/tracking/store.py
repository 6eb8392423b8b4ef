"""The MLflow store: where it is, and the runs in it.

``history.csv`` and the score tables are the truth; tracking may fail at any time without harm.  A
run is found by its fingerprint, so that repeating it updates the run instead of adding another.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from denoise.core import files
from denoise.core.settings import digest
from denoise.networks.card import ModelCard
from denoise.tracking import local

log = logging.getLogger(__name__)

_FINGERPRINT = "denoise.fingerprint"
_PARENT_TAG = "mlflow.parentRunId"
# Without it, the UI opens an experiment in its view for language models.
KIND = {"mlflow.experimentKind": "custom_model_development"}
_NOT_IDENTITY = ("name", "scales", "spectrograms", *ModelCard.RESULTS)
"""Fields of a card that do not distinguish trainings."""


@dataclass
class Store:
    """The MLflow store of a study, and the runs in it.

    Parameters
    ----------
    folder
        Of the SQLite database and the artifacts, unless ``MLFLOW_TRACKING_URI`` names a server.
    """

    folder: Path

    @classmethod
    def of_marker(cls, marker: Path) -> Store:
        """The store that `initialise` has made and left `marker` for."""
        files.read_json(marker)
        return cls(marker.parent)

    @property
    def _local(self) -> str:
        # Absolute: MLflow keeps what it opened by this name, wherever the process has gone since.
        return f"sqlite:///{self._database.absolute()}"

    @property
    def _database(self) -> Path:
        return self.folder / "mlflow.db"

    @property
    def _artifacts(self) -> Path:
        return self.folder / "artifacts"

    @property
    def uri(self) -> str:
        """``MLFLOW_TRACKING_URI``, or the SQLite store of the folder."""
        return os.environ.get("MLFLOW_TRACKING_URI") or self._local

    @functools.cached_property
    def client(self) -> Any:
        """The client of MLflow, which is opened when it is first needed."""
        import mlflow

        # A tracking server that does not answer must not hold a training up for minutes.
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
        logging.getLogger("alembic").setLevel(logging.WARNING)
        mlflow.set_tracking_uri(self.uri)
        # Processes that open a fresh SQLite store at once break it.
        with files.locked(self.folder / "store.lock"):
            if self.uri == self._local:
                local.claim(self._database, self._artifacts)
            return mlflow.MlflowClient(self.uri)

    def local_runs(self) -> set[str] | None:
        """The runs in the SQLite store, after it was set aside if it is damaged; None with a
        server, which is not asked."""
        if self.uri != self._local:
            return None
        aside = local.set_aside_if_damaged(self._database)
        if aside is not None:
            log.warning(
                "the MLflow store is damaged: it was moved to %s, and a new one is made", aside
            )
        return local.recorded_runs(self._database, self._artifacts)

    def experiment(self, name: str) -> str:
        """The id of an experiment, which is made if it is not there."""
        import mlflow

        found = self.client.get_experiment_by_name(name)
        if found is None:
            place = self._artifacts.absolute().as_uri() if self.uri == self._local else None
            try:
                return str(self.client.create_experiment(name, artifact_location=place, tags=KIND))
            except mlflow.exceptions.MlflowException:
                found = self.client.get_experiment_by_name(name)  # another process was faster
        return str(found.experiment_id)

    def parent_run(self, experiment: str) -> str:
        """The id of the run of a whole experiment, which is made if it is not there."""
        experiment_id = self.experiment(experiment)
        fingerprint = f"parent-{experiment}"
        found = self._find(experiment_id, fingerprint)
        if found is None:
            tags = {_FINGERPRINT: fingerprint}
            run = self.client.create_run(experiment_id, run_name=experiment, tags=tags)
            found = str(run.info.run_id)
            self.client.set_terminated(found, "FINISHED")
        return found

    def child_run(self, run: RunName, card: ModelCard) -> str:
        """The id of the run of a training, which is made if it is not there."""
        with files.locked(self.folder / "runs.lock"):
            made_of = card.model_dump(mode="json", exclude=set(_NOT_IDENTITY))
            fingerprint = digest({"variant": run.variant, **made_of}, 16)
            experiment_id = self.experiment(run.experiment)
            found = self._find(experiment_id, fingerprint)
            if found is not None:
                self.client.update_run(found, name=run.name)
                return found
            tags = {
                "status": "training",
                _FINGERPRINT: fingerprint,
                _PARENT_TAG: self.parent_run(run.experiment),
                "variant": run.variant,
                "seed": str(card.seed),
            }
            made = self.client.create_run(experiment_id, run_name=run.name, tags=tags)
            return str(made.info.run_id)

    def _find(self, experiment_id: str, fingerprint: str) -> str | None:
        runs = self.client.search_runs(
            [experiment_id], f"tags.`{_FINGERPRINT}` = '{fingerprint}'", max_results=1
        )
        return str(runs[0].info.run_id) if runs else None


@dataclass(frozen=True)
class RunName:
    """The name of a training in MLflow."""

    experiment: str
    variant: str
    """Its label in the experiment."""
    name: str
    """Name of the run; it should state what is special about the training."""


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


def forget_unrecorded(store: Store, notes: Path) -> None:
    """Delete the notes in a folder of what is not in the store, so that it is recorded again.

    These are runs that could not be recorded, and runs whose store has since been deleted or
    damaged.  A damaged store is renamed.
    """
    found = sorted(notes.glob("*.json"))
    known = store.local_runs() if found else None
    for path in found:
        try:
            note = files.read_json(path)
            run = note.get("run", note.get("parent_run"))
            local = str(note.get("tracking_uri", "")).startswith("sqlite:")
            kept = note.get("complete", True) and (known is None or not local or run in known)
        except (ValueError, AttributeError):  # not even a note
            kept = False
        if not kept:
            path.unlink()


def keep_marker(store: Store, marker: Path, models: Path) -> None:
    """Put back what `initialise` left if the store was deleted while models are there.

    Snakemake would train them all again for a new store, as they need its marker.
    """
    if not marker.exists() and any(models.glob("*/seed*/card.json")):
        files.write_json(marker, {"tracking_uri": store.uri, "parent_run": None})


def initialise(store: Store, experiment: str, marker: Path) -> None:
    """Create the store, the experiment and its parent run, before any training opens them."""
    store.folder.mkdir(parents=True, exist_ok=True)
    parent = None
    with never_failing("opening the store"):
        parent = store.parent_run(experiment)
    files.write_json(marker, {"tracking_uri": store.uri, "parent_run": parent})
