"""One training over several devices gives what it gives on one; virtual CPU devices stand in."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from test_training import make_cache

from denoise.core.tables import read_table
from denoise.training.devices import all_gpus
from denoise.training.settings import TrainingSettings

# Three devices for batches of 8, so that their parts differ; 50 windows leave a batch of two, which
# is less than there are devices.  JAX divides evenly or not at all: two devices for batches of 8,
# and a last one of one window.
_CODE = """
import json, os, sys
from pathlib import Path
given = json.loads(sys.argv[1])
os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=2"
from denoise.networks import backend
from denoise.networks.unet import UNetSettings
from made import train_into
from denoise.training.settings import TrainingSettings
backend.start(given["backend"], threads=1)
if given["backend"] == "tensorflow":
    import tensorflow as tf
    cpu, = tf.config.list_physical_devices("CPU")
    tf.config.set_logical_device_configuration(cpu, 3 * [tf.config.LogicalDeviceConfiguration()])
assert len(backend.devices()) == given["devices"]
for devices in ("one", "all"):
    settings = TrainingSettings(
        backend=given["backend"], devices=devices, epochs=3, batch_size=8, threads=1,
        optimiser={"clip_norm": 0.1, "ema": 0.9}, loss=given["loss"],
    )
    caches = {part: Path(path) for part, path in given["caches"].items()}
    network = UNetSettings(filters=(2, 4), dropout=0)
    train_into(Path(given["out"]) / devices, caches, network, settings, 7)
"""


def trained(backend: str, count: int, caches: dict[str, Path], loss: str, out: Path):
    """The history and the weights of the same training on one device and over all."""
    given = {
        "backend": backend, "devices": count, "loss": loss, "out": str(out),
        "caches": {part: str(path) for part, path in caches.items()},
    }  # fmt: skip
    ended = subprocess.run(
        [sys.executable, "-c", _CODE, json.dumps(given)], capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr[-3000:]
    import keras

    return [
        (
            read_table(out / which / "history.csv").drop(columns="seconds"),
            keras.saving.load_model(out / which / "model.keras", compile=False).get_weights(),
        )
        for which in ("one", "all")
    ]


@pytest.mark.slow
@pytest.mark.parametrize(("backend", "count", "windows"), [("tensorflow", 3, 50), ("jax", 2, 49)])
def test_training_on_all_devices_equals_training_on_one(tmp_path, backend, count, windows):
    caches = {
        "train": make_cache(tmp_path / "train", windows, 0),
        "validation": make_cache(tmp_path / "validation", 23, 1),
    }
    (history, one), (same, other) = trained(backend, count, caches, "huber", tmp_path)
    np.testing.assert_allclose(history.to_numpy(), same.to_numpy(), rtol=1e-5)
    assert history["loss"].iloc[-1] < history["loss"].iloc[0]
    for weight, expected in zip(other, one, strict=True):
        np.testing.assert_allclose(weight, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_waveform_losses_give_the_same_result_on_several_devices(tmp_path, wave_caches):
    (history, one), (same, other) = trained("tensorflow", 3, wave_caches, "si_sdr", tmp_path)
    np.testing.assert_allclose(history.to_numpy(), same.to_numpy(), rtol=1e-3)
    for weight, expected in zip(other, one, strict=True):
        np.testing.assert_allclose(weight, expected, rtol=1e-2, atol=1e-4)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"backend": "torch"}, "devices all needs backend tensorflow or jax"),
        ({"xla": True}, "devices all needs xla auto or false"),
        ({"loss": "si_sdr", "adversarial": {"kind": "metric"}}, "cannot be used with adversarial"),
    ],
)
def test_settings_without_data_parallel_support_are_rejected(changes, message):
    with pytest.raises(ValueError, match=message):
        TrainingSettings(devices="all", **changes)


def test_training_on_all_gpus_locks_each_of_them(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    with all_gpus(tmp_path) as held:
        assert held == ["0", "1"]
        for name in ("gpu0.lock", "gpu1.lock"):
            code = "import fcntl as f, sys; f.flock(open(sys.argv[1], 'w'), f.LOCK_EX | f.LOCK_NB)"
            run = subprocess.run([sys.executable, "-c", code, tmp_path / name], capture_output=True)
            assert b"BlockingIOError" in run.stderr
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    with all_gpus(tmp_path) as held:
        assert held == []
