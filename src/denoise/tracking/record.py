"""Bringing MLflow up to date when a run, or the experiment, is complete."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from denoise.core import files
from denoise.core.settings import Settings
from denoise.core.tables import read_table
from denoise.networks.card import ModelCard, ModelFolder, read_card
from denoise.tracking.live import log_history, logged_steps
from denoise.tracking.model import log_model
from denoise.tracking.notes import (
    NOTE,
    VIEW,
    WITH_INTERVAL,
    RunAbout,
    note_of_experiment,
    note_of_run,
    page_of,
    report_link,
    view_of,
)
from denoise.tracking.params import in_words, log_params
from denoise.tracking.store import KIND, RunName, Store, never_failing

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class RunFiles:
    """The files of a run."""

    model: Path
    """The model folder."""
    scores: dict[str, pd.DataFrame]
    """Test set → scores of this run, as of `evaluation.scores.join_scores`."""
    manifests: dict[str, Path]
    """``train`` and ``validation`` → manifest of the windows."""
    examples: list[Path]
    """Pictures and audio."""


def record(store: Store, about: RunAbout, made: RunFiles, out_path: Path) -> None:
    """Bring the MLflow run of a trained model up to date, and write its id to `out_path`.

    Logs what live logging missed of the history, the mean scores with their 95 % intervals and the
    number of failures, the data sets by digest, the model with its signature, and examples.
    """
    folder = ModelFolder(made.model)
    card = read_card(folder.card)
    run_id = None
    with never_failing("recording the run") as outcome:
        client = store.client
        run_id = store.child_run(RunName(about.experiment, about.variant, about.name), card)
        # What the UI calls its duration is that of the training; logging a model ends a run anew.
        info = client.get_run(run_id).info
        ended = info.end_time or info.start_time + round(1000 * card.wall_time_s)
        log_params(client, run_id, card, about.settings)
        log_history(client, run_id, read_table(folder.history), logged_steps(client, run_id))
        final, failed = _final_metrics(card, made.scores)
        _log_final(client, run_id, final)
        _log_datasets(client, run_id, made.manifests)
        for path in made.examples:
            client.log_artifact(run_id, str(path), "examples")
        for path in (folder.card, folder.history):
            client.log_artifact(run_id, str(path))
        log_model(client, run_id, folder, card.rate)
        link = report_link(store, about.experiment)
        tags = {
            "code_version": card.code_version,
            "preset": about.preset,
            "dataset": about.data,
            "status": f"scored, incomplete utterances: {failed}" if failed else "scored",
            NOTE: note_of_run(about, final, f"[Report of {about.experiment}]({link}) · model and "
                              f"curves in `{made.model}`"),
        }  # fmt: skip
        for key, value in tags.items():
            client.set_tag(run_id, key, value)
        client.set_terminated(run_id, "FINISHED", end_time=ended)
    files.write_json(
        out_path, {"tracking_uri": store.uri, "run": run_id, "complete": not outcome.failed}
    )


def _final_metrics(
    card: ModelCard, scores: dict[str, pd.DataFrame]
) -> tuple[dict[str, float], int]:
    """The means of all metrics by ``<test set>/<metric>``, with the ends of the 95 % intervals of
    the main ones, and how many utterances miss a metric."""
    from denoise.evaluation.statistics import estimate
    from denoise.metrics.registry import SCORED

    final: dict[str, Any] = {"parameters": card.parameters, "best_val_loss": card.best_val_loss}
    failed = 0
    for test_set, table in scores.items():
        failed += int((table["status"] != "ok").sum())
        for metric in SCORED:
            if table[metric].isna().all():
                continue
            values = table[metric].to_numpy(float)
            mean = estimate([values[None]], [1], table["speaker"].fillna("").to_numpy(str))
            final[f"{test_set}/{metric}"] = mean.mean
            if metric in WITH_INTERVAL:
                final[f"{test_set}/interval/{metric}_low"] = mean.low
                final[f"{test_set}/interval/{metric}_high"] = mean.high
    return {
        name: float(f"{value:.5g}")  # the UI shows all digits
        for name, value in final.items()
        if value is not None and math.isfinite(value)
    }, failed


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


class ExperimentAbout(Settings):
    """Information about a whole experiment."""

    experiment: str
    preset: str
    data: str
    """In words."""
    seeds: tuple[int, ...] = ()
    varied: tuple[str, ...] = ()
    """Config paths of what differs among the variants."""


@dataclass(frozen=True)
class ExperimentFiles:
    """The files of an experiment."""

    report: Path
    figures: Path
    """A folder."""
    leaderboard: Path
    runs: list[Path]
    """The files that `record` wrote for each run."""


def record_experiment(
    store: Store, about: ExperimentAbout, made: ExperimentFiles, out_path: Path
) -> None:
    """Put the report, its figures and the leaderboard into the parent run of the experiment, and
    how many of its runs are recorded."""
    recorded = sum(files.read_made(path)["complete"] for path in made.runs)
    status = "reported"
    if recorded < len(made.runs):
        status = f"reported, {recorded} of {len(made.runs)} runs recorded"
    run_id = None
    with never_failing("recording the experiment") as outcome:
        client = store.client
        experiment_id = store.experiment(about.experiment)
        run_id = store.parent_run(about.experiment)
        for path in (made.report, made.leaderboard):
            client.log_artifact(run_id, str(path))
        client.log_artifacts(run_id, str(made.figures), "figures")
        table = read_table(made.leaderboard)
        link = report_link(store, about.experiment)
        note = note_of_experiment(
            table, f"**[Report]({link})** (`{made.report}`) · preset {about.preset} · {about.data}"
        )
        for key, value in {NOTE: note, VIEW: view_of(table), **KIND}.items():
            client.set_experiment_tag(experiment_id, key, value)
        tags = {"preset": about.preset, "dataset": about.data, "status": status}
        for key, value in {NOTE: note, **tags}.items():
            client.set_tag(run_id, key, value)
        existing = client.get_run(run_id).data.params
        for key, values in (("seeds", about.seeds), ("varied", about.varied)):
            if key not in existing and values:
                client.log_param(run_id, key, in_words(values))
        client.set_terminated(run_id, "FINISHED")
    place = {"tracking_uri": store.uri, "parent_run": run_id}
    if not outcome.failed:
        place["page"] = page_of(experiment_id)
    files.write_json(out_path, {**place, "complete": not outcome.failed})
