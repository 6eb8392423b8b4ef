"""Bringing MLflow up to date when a run, or the experiment, is complete."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from denoise.core import files
from denoise.core.tables import read_table
from denoise.tracking.live import log_history, logged_steps
from denoise.tracking.model import log_model
from denoise.tracking.notes import (
    NOTE,
    WITH_INTERVAL,
    note_of_experiment,
    note_of_run,
    page_of,
    report_link,
)
from denoise.tracking.params import in_words, log_params
from denoise.tracking.store import (
    KIND,
    find_child_run,
    find_experiment,
    find_parent_run,
    never_failing,
    open_client,
    tracking_uri,
)


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
    with never_failing("recording the run") as outcome:
        client = open_client()
        run_id = find_child_run(client, experiment, card, about["name"])
        # What the UI calls its duration is that of the training; logging a model ends a run anew.
        ended = client.get_run(run_id).info.end_time
        log_params(client, run_id, card, about["settings"])
        history = read_table(model_folder / "history.csv")
        log_history(client, run_id, history, logged_steps(client, run_id))
        final, failed = _final_metrics(card, scores)
        _log_final(client, run_id, final)
        _log_datasets(client, run_id, manifests)
        for path in figures:
            client.log_artifact(run_id, str(path), "examples")
        for name in ("card.json", "history.csv"):
            client.log_artifact(run_id, str(model_folder / name))
        log_model(client, run_id, model_folder, card["rate"])
        tags = {
            "code_version": card["code_version"],
            "preset": about["preset"],
            "dataset": about["data"],
            "status": "scored" if not failed else f"scored, {failed} measures missing",
            NOTE: note_of_run(client, experiment, about, final, model_folder),
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
    from denoise.evaluation.statistics import cluster_bootstrap
    from denoise.metrics.registry import SCORED

    final = {"parameters": card["parameters"], "best_val_loss": card["best_val_loss"]}
    failed = 0
    for test_set, path in scores.items():
        table = read_table(path)
        failed += int((table["status"] != "ok").sum())
        for metric in SCORED:
            if metric not in table:
                continue
            values = table[metric].to_numpy(float)
            estimate = cluster_bootstrap(values, table["speaker"].to_numpy())
            final[f"{test_set}/{metric}"] = estimate.mean
            if metric in WITH_INTERVAL:
                final[f"{test_set}/interval/{metric}_low"] = estimate.low
                final[f"{test_set}/interval/{metric}_high"] = estimate.high
    return {name: float(value) for name, value in final.items() if math.isfinite(value)}, failed


def _log_final(client: Any, run_id: str, final: dict[str, float]) -> None:
    known = client.get_run(run_id).data.metrics
    for name, value in final.items():
        if known.get(name) != value:
            client.log_metric(run_id, name, value)


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
    with never_failing("recording the experiment") as outcome:
        client = open_client()
        experiment_id = find_experiment(client, experiment)
        run_id = find_parent_run(client, experiment_id, experiment)
        for path in (report, leaderboard):
            client.log_artifact(run_id, str(path))
        client.log_artifacts(run_id, str(report.parent / "figures"), "figures")
        table = read_table(leaderboard)
        note = note_of_experiment(table, about, report_link(client, experiment), report)
        for key, value in {NOTE: note, **KIND}.items():
            client.set_experiment_tag(experiment_id, key, value)
        tags = {"preset": about["preset"], "dataset": about["data"], "status": "reported"}
        for key, value in {NOTE: note, **tags}.items():
            client.set_tag(run_id, key, value)
        existing = client.get_run(run_id).data.params
        for key in ("seeds", "varied"):
            if key not in existing and about[key]:
                client.log_param(run_id, key, in_words(about[key]))
        client.set_terminated(run_id, "FINISHED")
    place = {"tracking_uri": tracking_uri(), "parent_run": run_id}
    if not outcome.failed:
        place["page"] = page_of(experiment_id, table)
    files.write_json(out_path, {**place, "complete": not outcome.failed})
