"""Recording every run in MLflow, live and again when it is complete.

``history.csv`` and the score tables are the truth.  Live logging may fail at any time without
harm; `record` afterwards adds whatever is missing.  A run is found by its fingerprint, so that
repeating it updates the run instead of adding another.
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
import os
import time
import urllib.parse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from denoise import files
from denoise.progress import duration
from denoise.provenance import installed
from denoise.settings import digest

log = logging.getLogger(__name__)

USES = ("mlflow_model.py",)

STORE = Path("results/mlflow")
_MODEL_NEEDS = (
    "tensorflow", "keras", "numpy", "pandas", "scipy", "soxr", "soundfile", "pydantic", "joblib",
    "threadpoolctl", "tqdm",
)  # fmt: skip
_FINGERPRINT = "denoise.fingerprint"
_PARENT_TAG = "mlflow.parentRunId"
_NOTE = "mlflow.note.content"
# Without it, the UI opens an experiment in its view for language models.
_KIND = {"mlflow.experimentKind": "custom_model_development"}


def _local() -> str:
    # Absolute: MLflow keeps what it opened by this name, wherever the process has gone since.
    return f"sqlite:///{(STORE / 'mlflow.db').absolute()}"


def tracking_uri() -> str:
    """``MLFLOW_TRACKING_URI``, or the SQLite store of this folder."""
    return os.environ.get("MLFLOW_TRACKING_URI") or _local()


def _client() -> Any:
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
def _never_failing(what: str) -> Iterator[_Outcome]:
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
    with _never_failing("opening the store"):
        client = _client()
        parent = _parent_run(client, _experiment_id(client, experiment), experiment)
    files.write_json(marker, {"tracking_uri": tracking_uri(), "parent_run": parent})


def _experiment_id(client: Any, name: str) -> str:
    import mlflow

    found = client.get_experiment_by_name(name)
    if found is None:
        artifacts = (STORE / "artifacts").absolute()
        place = artifacts.as_uri() if tracking_uri() == _local() else None
        try:
            return str(client.create_experiment(name, artifact_location=place, tags=_KIND))
        except mlflow.exceptions.MlflowException:
            found = client.get_experiment_by_name(name)  # another process was faster
    return str(found.experiment_id)


def _find_run(client: Any, experiment_id: str, fingerprint: str) -> str | None:
    runs = client.search_runs(
        [experiment_id], f"tags.`{_FINGERPRINT}` = '{fingerprint}'", max_results=1
    )
    return str(runs[0].info.run_id) if runs else None


def _parent_run(client: Any, experiment_id: str, experiment: str) -> str:
    fingerprint = f"parent-{experiment}"
    found = _find_run(client, experiment_id, fingerprint)
    if found is None:
        tags = {_FINGERPRINT: fingerprint}
        run = client.create_run(experiment_id, run_name=experiment, tags=tags)
        found = str(run.info.run_id)
        client.set_terminated(found, "FINISHED")
    return found


def _child_run(client: Any, experiment: str, card: dict[str, Any], name: str) -> str:
    with files.locked(STORE / "runs.lock"):
        experiment_id = _experiment_id(client, experiment)
        fingerprint = digest({key: card[key] for key in sorted(_IDENTITY) if key in card}, 16)
        found = _find_run(client, experiment_id, fingerprint)
        if found is not None:
            client.update_run(found, name=name)
            return found
        tags = {
            "status": "training",
            _FINGERPRINT: fingerprint,
            _PARENT_TAG: _parent_run(client, experiment_id, experiment),
            "variant": card["variant"],
            "seed": str(card["seed"]),
        }
        run = client.create_run(experiment_id, run_name=name, tags=tags)
        return str(run.info.run_id)


_IDENTITY = (
    "variant", "seed", "code", "data", "features", "network", "augmentation", "training", "window",
    "rate",
)  # fmt: skip


@contextlib.contextmanager
def live(
    experiment: str, card: dict[str, Any], name: str
) -> Iterator[Callable[[dict[str, float]], None]]:
    """Give a function that logs each epoch as it comes; after a failure it does nothing more.

    The run is called `name`, which should say what it differs in.  Its tag ``status`` says how far
    the training is and about how long the rest will take.

    If the block ends with an exception, the run is marked as failed.
    """
    state: dict[str, Any] = {}
    took: list[float] = []
    with _never_failing("starting the run"):
        state["client"] = client = _client()
        run_id = _child_run(client, experiment, card, name)
        client.update_run(run_id, status="RUNNING")
        client.set_tag(run_id, "status", "training")
        state["known"] = _logged_steps(client, run_id)
        _log_params(client, run_id, card)
        state["run"] = run_id

    def on_epoch(row: dict[str, float]) -> None:
        if "run" not in state:
            return
        run = state.pop("run")
        with _never_failing(f"logging epoch {row['epoch']}"):
            _log_history(state["client"], run, pd.DataFrame([row]), state["known"])
            took.append(row.get("seconds", 0.0))
            state["client"].set_tag(run, "status", _progress(row, took, card))
            state["run"] = run

    try:
        yield on_epoch
        if "run" in state:
            with _never_failing("marking the run as trained"):
                state["client"].set_tag(state["run"], "status", "trained")
                state["client"].set_terminated(state["run"], "FINISHED")
    except Exception:
        if "run" in state:
            with _never_failing("marking the run as failed"):
                state["client"].set_tag(state["run"], "status", "failed")
                state["client"].set_terminated(state["run"], "FAILED")
        raise


def _progress(row: dict[str, float], took: list[float], card: dict[str, Any]) -> str:
    """How far a training is after the epoch of `row`; `took` are the seconds of its epochs."""
    epochs = int(card["training"]["epochs"])
    left = max(0, epochs - int(row["epoch"])) * sum(took) / len(took)
    rest = f", at most {duration(left)} left" if left else ""
    return f"training, epoch {int(row['epoch'])} of {epochs}{rest}"


def _logged_steps(client: Any, run_id: str) -> set[int]:
    return {metric.step for metric in client.get_metric_history(run_id, "val_loss")}


def _log_history(client: Any, run_id: str, history: pd.DataFrame, known: set[int]) -> None:
    """Log the rows of `history` whose epoch is not in `known`, in one batch."""
    from mlflow.entities import Metric

    now = int(time.time() * 1000)
    metrics = [
        Metric(name, float(value), now, int(row["epoch"]))
        for row in history.to_dict("records")
        if int(row["epoch"]) not in known
        for name, value in row.items()
        if name != "epoch" and math.isfinite(value)
    ]
    for start in range(0, len(metrics), 900):
        client.log_batch(run_id, metrics=metrics[start : start + 900])
    known.update(int(epoch) for epoch in history["epoch"])


def _log_params(
    client: Any, run_id: str, card: dict[str, Any], settings: dict[str, Any] | None = None
) -> None:
    """Log what people choose runs by: what makes this training, without what is as it always is.

    `settings` are further ones by their path, as those that differ among the variants.
    """
    from mlflow.entities import Param

    flat = {**{name: card[name] for name in ("seed", "rate", "window")}, **_chosen(card)}
    flat |= {path: value for path, value in (settings or {}).items() if path not in flat}
    existing = client.get_run(run_id).data.params
    params = [Param(key, _plain(value)) for key, value in flat.items() if key not in existing]
    client.log_batch(run_id, params=params)


_ALWAYS = (
    "network.name", "network.filters", "training.loss", "training.epochs", "training.batch_size",
    "training.learning_rate", "features.target",
)  # fmt: skip


def _chosen(card: dict[str, Any]) -> dict[str, Any]:
    """Path → value of the settings that differ from their defaults, and of a few that always say
    something."""
    from denoise import models
    from denoise.augmentation import AugmentationSettings
    from denoise.features import FeatureSettings
    from denoise.training import TrainingSettings

    name = card["network"].get("name")
    defaults = {
        "network": models.from_dict({"name": name}) if name else None,
        "features": FeatureSettings(),
        "augmentation": AugmentationSettings(),
        "training": TrainingSettings(),
    }
    found = {}
    for group, usual in defaults.items():
        known = _flat(usual.model_dump(mode="json") if usual else {}, group)
        for path, value in _flat(card[group], group).items():
            if path in _ALWAYS or path not in known or known[path] != value:
                found[path] = value
    return found


def _flat(value: Any, path: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        return {path: value}
    return {
        name: one
        for key, item in value.items()
        for name, one in _flat(item, f"{path}.{key}").items()
    }


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_plain(item)}" for key, item in value.items())
    return ", ".join(map(_plain, value)) if isinstance(value, list | tuple) else str(value)


def record(
    experiment: str,
    model_folder: Path,
    scores: dict[str, Path],
    manifests: dict[str, Path],
    figures: list[Path],
    about: dict[str, Any],
    out_path: Path,
) -> None:
    """Bring the MLflow run of a trained model up to date, and write its id to `out_path`.

    Logs what live logging missed of the history, the mean scores with their 95 % intervals and the
    number of failures, the data sets by digest, the model with its signature, and `figures`
    (pictures and audio).

    Parameters
    ----------
    about
        The ``name`` of the run, ``preset``, ``data`` in words, ``differs`` (what makes this
        variant) and ``settings`` (path to value of all that differ among the variants).
    """
    card = files.read_json(model_folder / "card.json")
    run_id = None
    with _never_failing("recording the run") as outcome:
        client = _client()
        run_id = _child_run(client, experiment, card, about["name"])
        # What the UI calls its duration is that of the training; logging a model ends a run anew.
        ended = client.get_run(run_id).info.end_time
        _log_params(client, run_id, card, about["settings"])
        history = files.read_table(model_folder / "history.csv")
        _log_history(client, run_id, history, _logged_steps(client, run_id))
        final, failed = _final_metrics(card, scores)
        _log_final(client, run_id, final)
        _log_datasets(client, run_id, manifests)
        for path in figures:
            client.log_artifact(run_id, str(path), "examples")
        for name in ("card.json", "history.csv"):
            client.log_artifact(run_id, str(model_folder / name))
        _log_model(client, run_id, model_folder, card["rate"])
        tags = {
            "code_version": card["code_version"],
            "preset": about["preset"],
            "dataset": about["data"],
            "status": "scored" if not failed else f"scored, {failed} measures missing",
            _NOTE: _note_of_run(client, experiment, about, final, model_folder),
        }
        for key, value in tags.items():
            client.set_tag(run_id, key, value)
        client.set_terminated(run_id, "FINISHED", end_time=ended)
    files.write_json(
        out_path, {"tracking_uri": tracking_uri(), "run": run_id, "complete": not outcome.failed}
    )


def _final_metrics(card: dict[str, Any], scores: dict[str, Path]) -> tuple[dict[str, float], int]:
    """The means of all measures by ``<test set>/<measure>``, with the ends of the 95 % intervals of
    the main ones, and how many utterances miss a measure."""
    from denoise.metrics import SCORED
    from denoise.statistics import cluster_bootstrap

    final = {"parameters": card["parameters"], "best_val_loss": card["best_val_loss"]}
    failed = 0
    for test_set, path in scores.items():
        table = files.read_table(path)
        failed += int((table["status"] != "ok").sum())
        for metric in SCORED:
            if metric not in table:
                continue
            values = table[metric].to_numpy(float)
            estimate = cluster_bootstrap(values, table["speaker"].to_numpy())
            final[f"{test_set}/{metric}"] = estimate.mean
            if metric in _WITH_INTERVAL:
                final[f"{test_set}/interval/{metric}_low"] = estimate.low
                final[f"{test_set}/interval/{metric}_high"] = estimate.high
    return {name: float(value) for name, value in final.items() if math.isfinite(value)}, failed


_WITH_INTERVAL = ("si_sdr", "pesq_nb", "pesq_wb", "stoi")


def _log_final(client: Any, run_id: str, final: dict[str, float]) -> None:
    known = client.get_run(run_id).data.metrics
    for name, value in final.items():
        if known.get(name) != value:
            client.log_metric(run_id, name, value)


def _note_of_run(
    client: Any,
    experiment: str,
    about: dict[str, Any],
    final: dict[str, float],
    model_folder: Path,
) -> str:
    """What a reader of the run sees first, in Markdown."""
    differs = [f"`{path}`: {_plain(value)}" for path, value in about["differs"].items()]
    lines = [
        f"Preset **{about['preset']}**" + (f" with {', '.join(differs)}." if differs else "."),
        f"Data: {about['data']}.",
        "",
        "| measure | mean | 95 % interval |",
        "|---|---|---|",
    ]
    for name, value in final.items():
        test_set, _, metric = name.partition("/")
        low = final.get(f"{test_set}/interval/{metric}_low")
        if low is not None:
            high = final[f"{test_set}/interval/{metric}_high"]
            lines.append(f"| {name} | {value:.3f} | {low:.3f} … {high:.3f} |")
    lines += [
        "",
        f"[Report of {experiment}]({_report_link(client, experiment)}) · model and curves in "
        f"`{model_folder}`",
    ]
    return "\n".join(lines)


def _report_link(client: Any, experiment: str) -> str:
    """Where the UI shows the report, which is an artifact of the parent run."""
    experiment_id = _experiment_id(client, experiment)
    parent = _parent_run(client, experiment_id, experiment)
    return f"#/experiments/{experiment_id}/runs/{parent}/artifacts/report.html"


def _log_datasets(client: Any, run_id: str, manifests: dict[str, Path]) -> None:
    from mlflow.entities import Dataset, DatasetInput, InputTag

    logged = {item.dataset.digest for item in client.get_run(run_id).inputs.dataset_inputs}
    inputs = []
    for context, path in manifests.items():
        fingerprint = files.file_digest(path)[:12]
        if fingerprint not in logged:
            source = json.dumps({"uri": str(path)})
            data = Dataset(path.parent.name, fingerprint, "local", source)
            inputs.append(DatasetInput(data, [InputTag("mlflow.data.context", context)]))
    if inputs:
        client.log_inputs(run_id, datasets=inputs)


def _log_model(client: Any, run_id: str, folder: Path, rate: int) -> None:
    import mlflow
    import numpy as np
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec

    content = files.file_digest(folder / "model.keras")[:16]
    if client.get_run(run_id).data.tags.get("denoise.model") == content:
        return
    # Without a name, so that an array can be given as it is.
    audio = Schema([TensorSpec(np.dtype(np.float32), (-1,))])
    with mlflow.start_run(run_id=run_id, log_system_metrics=False):
        mlflow.pyfunc.log_model(
            name="model",
            python_model=str(Path(__file__).with_name("mlflow_model.py")),
            artifacts={"model": str(folder)},
            signature=ModelSignature(inputs=audio, outputs=audio),
            code_paths=[str(Path(__file__).parent)],
            pip_requirements=[installed(name) for name in _MODEL_NEEDS],
            metadata={"sample_rate": rate},
        )
    client.set_tag(run_id, "denoise.model", content)


def record_experiment(
    experiment: str, report: Path, leaderboard: Path, about: dict[str, Any], out_path: Path
) -> None:
    """Put the report, its figures and the leaderboard into the parent run of the experiment.

    Parameters
    ----------
    about
        ``preset``, ``data`` in words, ``seeds`` and ``varied``, the paths of what differs among
        the variants.
    """
    run_id = None
    with _never_failing("recording the experiment") as outcome:
        client = _client()
        experiment_id = _experiment_id(client, experiment)
        run_id = _parent_run(client, experiment_id, experiment)
        for path in (report, leaderboard):
            client.log_artifact(run_id, str(path))
        client.log_artifacts(run_id, str(report.parent / "figures"), "figures")
        table = files.read_table(leaderboard)
        note = _note_of_experiment(table, about, _report_link(client, experiment), report)
        for key, value in {_NOTE: note, **_KIND}.items():
            client.set_experiment_tag(experiment_id, key, value)
        tags = {"preset": about["preset"], "dataset": about["data"], "status": "reported"}
        for key, value in {_NOTE: note, **tags}.items():
            client.set_tag(run_id, key, value)
        existing = client.get_run(run_id).data.params
        for key in ("seeds", "varied"):
            if key not in existing and about[key]:
                client.log_param(run_id, key, _plain(about[key]))
        client.set_terminated(run_id, "FINISHED")
    place = {"tracking_uri": tracking_uri(), "parent_run": run_id}
    if not outcome.failed:
        place["page"] = page_of(experiment_id, table)
    files.write_json(out_path, {**place, "complete": not outcome.failed})


def page_of(experiment_id: str, leaderboard: pd.DataFrame) -> str:
    """Where the UI lists the runs of an experiment, the best PESQ first.

    With the view named: left to itself, the UI opens that for language models.
    """
    test_set = leaderboard["test_set"].iloc[0]
    rows = leaderboard[leaderboard["test_set"] == test_set]
    metric = "pesq_wb" if rows["pesq_wb"].notna().any() else "pesq_nb"
    query = {
        "workflowType": "machine_learning",
        "orderByKey": f"metrics.`{test_set}/{metric}`",
        "orderByAsc": "false",
    }
    return f"#/experiments/{experiment_id}/runs?{urllib.parse.urlencode(query)}"


def _note_of_experiment(table: pd.DataFrame, about: dict[str, Any], link: str, report: Path) -> str:
    lines = [f"**[Report]({link})** (`{report}`) · preset {about['preset']} · {about['data']}"]
    for test_set, rows in table.groupby("test_set", sort=False):
        shown = [name for name in _WITH_INTERVAL if rows[name].notna().any()]
        lines += ["", f"| {test_set} | {' | '.join(shown)} |", "|---" * (len(shown) + 1) + "|"]
        for row in rows.head(12).to_dict("records"):
            values = " | ".join(f"{row[name]:.3f}" for name in shown)
            lines.append(f"| {row['variant']} | {values} |")
        if len(rows) > 12:
            lines.append(f"\n… and {len(rows) - 12} more")
    return "\n".join(lines)
