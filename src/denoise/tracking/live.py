"""Logging a training to MLflow while it runs."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator
from typing import Any

import pandas as pd

from denoise.core.text import duration
from denoise.networks.card import ModelCard
from denoise.tracking.params import log_params
from denoise.tracking.store import RunName, Store, never_failing


@contextlib.contextmanager
def live(
    store: Store, run: RunName, card: ModelCard
) -> Iterator[Callable[[dict[str, float]], None]]:
    """Give a function that logs each epoch as it comes; after a failure it does nothing more.

    The tag ``status`` of the run says how far the training is and about how long the rest will
    take.  If the block ends with an exception, the run is marked as failed.
    """
    state: dict[str, Any] = {}
    took: list[float] = []
    with never_failing("starting the run"):
        state["client"] = client = store.client
        run_id = store.child_run(run, card)
        client.update_run(run_id, status="RUNNING")
        client.set_tag(run_id, "status", "training")
        state["known"] = logged_steps(client, run_id)
        log_params(client, run_id, card)
        state["run"] = run_id

    def on_epoch(row: dict[str, float]) -> None:
        if "run" not in state:
            return
        run_id = state.pop("run")
        with never_failing(f"logging epoch {row['epoch']}"):
            log_history(state["client"], run_id, pd.DataFrame([row]), state["known"])
            took.append(row.get("seconds", 0.0))
            state["client"].set_tag(run_id, "status", _progress(row, took, card))
            state["run"] = run_id

    try:
        yield on_epoch
        if "run" in state:
            with never_failing("marking the run as trained"):
                state["client"].set_tag(state["run"], "status", "trained")
                state["client"].set_terminated(state["run"], "FINISHED")
    except Exception:
        if "run" in state:
            with never_failing("marking the run as failed"):
                state["client"].set_tag(state["run"], "status", "failed")
                state["client"].set_terminated(state["run"], "FAILED")
        raise


def _progress(row: dict[str, float], took: list[float], card: ModelCard) -> str:
    """Progress of a training after the epoch of `row`; `took` has the seconds of its epochs."""
    epochs = int(card.training["epochs"])
    left = max(0, epochs - int(row["epoch"])) * sum(took) / len(took)
    rest = f", at most {duration(left)} left" if left else ""
    return f"training, epoch {int(row['epoch'])} of {epochs}{rest}"


def logged_steps(client: Any, run_id: str) -> set[int]:
    return {metric.step for metric in client.get_metric_history(run_id, "val_loss")}


def log_history(client: Any, run_id: str, history: pd.DataFrame, known: set[int]) -> None:
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
