"""Trainings that are killed, told to end, spoilt or short of memory."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from made import train_into
from test_training import ROOT, SMALL, caches, make_cache, run, weights

from denoise.core.arrays import save_array
from denoise.core.errors import UserError
from denoise.core.tables import read_table
from denoise.training.batches import SpectrogramBatches
from denoise.training.epochs import TrainingFailed
from denoise.training.settings import TrainingSettings

__all__ = ["caches"]

# What has the most to remember: moving averages, and half a batch at the end of an epoch.
CHANGES = {
    "optimiser": {"name": "adamw", "weight_decay": 0.1, "ema": 0.9},
    "batch_size": 16,
    "accumulate": 2,
}
COLUMNS = ["epoch", "learning_rate", "loss", "mae", "val_loss", "val_mae"]


class Killed(BaseException):
    """Stands for a process that ends in the middle of a training."""


@pytest.fixture(scope="module")
def whole(caches, tmp_path_factory):
    """The history and the weights of a training that nothing disturbed."""
    folder = tmp_path_factory.mktemp("whole")
    return run(caches, folder, **CHANGES), weights(folder)


def same(whole, history: pd.DataFrame, folder) -> None:
    pd.testing.assert_frame_equal(whole[0][COLUMNS], history[COLUMNS], rtol=1e-6)
    for one, other in zip(whole[1], weights(folder), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-7)
    assert not (folder / "checkpoints").exists()


def in_a_process(caches, folder, change: str, **more: object) -> subprocess.CompletedProcess[bytes]:
    """The same training in a process of its own, where `change` is done before it starts."""
    code = (
        "import os, sys; from pathlib import Path; from test_training import run;"
        "from denoise.training.batches import SpectrogramBatches;"
        "from denoise.core.boundary import report_errors;"
        f"{change};\nwith report_errors():"
        "    run({k: Path(v) for k, v in eval(sys.argv[1]).items()}, Path(sys.argv[2]),"
        f"**{ {**CHANGES, **more}!r})"
    )
    given = repr({name: str(path) for name, path in caches.items()})
    return subprocess.run(
        [sys.executable, "-c", code, given, str(folder)],
        env={**os.environ, "PYTHONPATH": f"{ROOT / 'tests'}{os.pathsep}{ROOT / 'src'}"},
        capture_output=True,
    )


def when_served(count: int, deed: str) -> str:
    """Does `deed` when the batch `count` is asked for; an epoch has 7 for training, 3 to check."""
    return (
        "batch, served = SpectrogramBatches.batch, [];"
        "SpectrogramBatches.batch = lambda self, n: (served.append(n),"
        f"{deed} if len(served) == {count} else None, batch(self, n))[2]"
    )


@pytest.mark.parametrize(
    "saving",
    [
        pytest.param("", marks=pytest.mark.slow),
        "from denoise.training import saver; saver._SAVE_S = 0;",
    ],
    ids=["epochs", "batches"],
)
def test_a_killed_training_resumes_to_the_same_result(caches, tmp_path, fault_class, whole, saving):
    with fault_class("training: SIGKILL"):
        ended = in_a_process(caches, tmp_path, saving + when_served(25, "os.kill(os.getpid(), 9)"))
        assert ended.returncode == -signal.SIGKILL, ended.stderr[-2000:]
        checkpoints = tmp_path / "checkpoints"
        assert len(list(checkpoints.glob("epoch-*"))) == 2
        assert (checkpoints / "part").exists() == bool(saving)
        seen: list[float] = []
        resumed = run(caches, tmp_path, on_epoch=lambda row: seen.append(row["epoch"]), **CHANGES)
        assert seen == [1, 2, 3, 4]
        same(whole, resumed, tmp_path)


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)]
)
@pytest.mark.parametrize(
    ("served", "left"),
    [
        pytest.param(4, 40 - 3, marks=pytest.mark.slow),
        (23, 40 - 22),
        pytest.param(29, 40 - 20, marks=pytest.mark.slow),
    ],
)
def test_a_training_stopped_by_a_signal_saves_a_checkpoint(
    caches, tmp_path, fault_class, whole, monkeypatch, number, served, left
):
    name = signal.Signals(number).name
    with fault_class(f"training: {name}"):
        told = f"os.kill(os.getpid(), {int(number)})"
        ended = in_a_process(caches, tmp_path, when_served(served, told))
        assert ended.returncode == 1, ended.stderr[-2000:]
        assert f"error: the training was ended by {name} after" in ended.stderr.decode()
        assert "Traceback" not in ended.stderr.decode()
        again: list[int] = []
        batch = SpectrogramBatches.batch
        monkeypatch.setattr(
            SpectrogramBatches, "batch", lambda self, n: again.append(n) or batch(self, n)
        )
        same(whole, run(caches, tmp_path, **CHANGES), tmp_path)
        # A batch that was made beforehand is made again; a validation is done again as a whole.
        assert abs(len(again) - left) <= 2


@pytest.mark.slow
def test_a_stopped_jax_training_resumes_to_the_same_weights(caches, tmp_path, fault_class):
    if importlib.util.find_spec("jax") is None:
        pytest.skip("jax is not installed (make install EXTRA=jax)")
    with fault_class("training: SIGTERM"):
        for folder, change in (
            ("whole", "pass"),
            ("cut", when_served(24, "os.kill(os.getpid(), 15)")),
        ):
            ended = in_a_process(caches, tmp_path / folder, change, backend="jax")
            assert ended.returncode == (folder == "cut"), ended.stderr[-2000:]
        assert (tmp_path / "cut" / "checkpoints" / "part").exists()
        ended = in_a_process(caches, tmp_path / "cut", "pass", backend="jax")
        assert ended.returncode == 0, ended.stderr[-2000:]
        histories = [read_table(tmp_path / name / "history.csv") for name in ("whole", "cut")]
        pd.testing.assert_frame_equal(*(each[COLUMNS] for each in histories), rtol=1e-6)
        for one, other in zip(weights(tmp_path / "whole"), weights(tmp_path / "cut"), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-7)


def test_signal_handlers_are_restored_after_training(caches, tmp_path):
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    run(caches, tmp_path, epochs=1)
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == before


@pytest.mark.parametrize(
    "name",
    ["state.npz", *(pytest.param(n, marks=pytest.mark.slow) for n in ("best.npz", "state.json"))],
)
def test_a_truncated_checkpoint_falls_back_to_the_one_before(caches, tmp_path, fault_class, name):
    before = []

    def kill_after_three(row):
        before.append(row)
        if row["epoch"] == 3:
            raise Killed

    with fault_class("training: truncated checkpoint"):
        with pytest.raises(Killed):
            run(caches, tmp_path / "out", on_epoch=kill_after_three)
        newest = sorted((tmp_path / "out" / "checkpoints").glob("epoch-*"))[-1]
        content = (newest / name).read_bytes()
        (newest / name).write_bytes(content[: len(content) // 2])
        history = run(caches, tmp_path / "out")
        assert list(history["epoch"]) == [1, 2, 3, 4]
        # Their wall times too: the first two were not trained again.
        pd.testing.assert_frame_equal(history[:2], pd.DataFrame(before[:2]), check_dtype=False)


@pytest.mark.slow
def test_a_truncated_mid_epoch_checkpoint_repeats_the_epoch(caches, tmp_path, fault_class, whole):
    with fault_class("training: truncated checkpoint"):
        told = when_served(24, "os.kill(os.getpid(), 15)")
        assert in_a_process(caches, tmp_path, told).returncode == 1
        state = tmp_path / "checkpoints" / "part" / "state.npz"
        state.write_bytes(state.read_bytes()[:1000])
        same(whole, run(caches, tmp_path, **CHANGES), tmp_path)


def test_another_configuration_does_not_continue_a_checkpoint(caches, tmp_path, fault_class):
    def kill(row):
        raise Killed

    with fault_class("training: checkpoint of another configuration"):
        with pytest.raises(Killed):
            run(caches, tmp_path / "out", on_epoch=kill)
        seen: list[float] = []
        settings = TrainingSettings(epochs=1, batch_size=8)
        train_into(
            tmp_path / "out", caches, SMALL, settings, 7,
            on_epoch=lambda row: seen.append(row["epoch"]),
        )  # fmt: skip
        assert seen == [1]


def test_a_non_finite_loss_stops_training_and_names_the_batch(tmp_path, fault_class):
    bad = {
        "train": make_cache(tmp_path / "t", 16, 0),
        "validation": make_cache(tmp_path / "v", 8, 1),
    }
    array = np.load(bad["train"] / "input-1.npy")
    array[3] = np.nan
    save_array(bad["train"] / "input-1.npy", array)
    with fault_class("training: NaN loss"):
        with pytest.raises(TrainingFailed, match=r"by batch \d of epoch 1.*learning_rate"):
            run(bad, tmp_path / "out")
        assert not (tmp_path / "out" / "model.keras").exists()


def test_a_nan_loss_keeps_the_checkpoints_of_earlier_epochs(
    caches, tmp_path, fault_class, monkeypatch
):
    batch, served = SpectrogramBatches.batch, []

    def spoilt(self, number):
        served.append(number)
        given, wanted = batch(self, number)
        return (given * float("nan"), wanted) if len(served) == 24 else (given, wanted)

    with fault_class("training: NaN loss"):
        monkeypatch.setattr(SpectrogramBatches, "batch", spoilt)
        with pytest.raises(TrainingFailed, match=r"by batch [4-7] of epoch 3"):
            run(caches, tmp_path, **CHANGES)
        kept = sorted(path.name for path in (tmp_path / "checkpoints").glob("epoch-*"))
        assert kept == ["epoch-00001", "epoch-00002"]


class ResourceExhaustedError(Exception):
    """Has the name of TensorFlow's."""


@pytest.mark.parametrize(
    "error", [MemoryError(), ResourceExhaustedError(), RuntimeError("RESOURCE_EXHAUSTED: 9 GB")]
)
def test_an_out_of_memory_error_names_settings_to_lower(
    caches, tmp_path, fault_class, monkeypatch, error
):
    import keras

    def fail(*args, **options):
        raise error

    monkeypatch.setattr(keras.Model, "fit", fail)
    with (
        fault_class("training: out of memory"),
        pytest.raises(UserError, match=r"raise training\.accumulate \(now 1\).*batch_size"),
    ):
        run(caches, tmp_path)
