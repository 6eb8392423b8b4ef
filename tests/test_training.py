"""Training resumes exactly and keeps the best weights; schedules and optimisers do as they say."""

from __future__ import annotations

import importlib.util
import json
import math
import os
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from made import train_into

from denoise.core import files
from denoise.core.arrays import save_array
from denoise.core.tables import read_table
from denoise.networks import backend
from denoise.networks.registry import build_network
from denoise.networks.unet import UNetSettings
from denoise.training.batches import open_batches
from denoise.training.epochs import _Monitor
from denoise.training.fit import should_stop
from denoise.training.model import compiled, precision
from denoise.training.optimiser import optimiser, set_learning_rates
from denoise.training.schedule import OptimiserSettings, ScheduleSettings, learning_rate
from denoise.training.settings import TrainingSettings

ROOT = Path(__file__).parents[1]
SMALL = UNetSettings(filters=(2, 4), dropout=0.5)


def make_cache(folder: Path, windows: int, seed: int) -> Path:
    """A cache in two shards whose target follows from its input."""
    rng = np.random.default_rng(seed)
    inputs = rng.standard_normal((windows, 8, 8, 1)).astype(np.float32)
    targets = np.tanh(0.5 * inputs)
    folder.mkdir(parents=True)
    shards = []
    for number, part in enumerate(np.array_split(np.arange(windows), 2)):
        for name, array in (("input", inputs), ("target", targets)):
            save_array(folder / f"{name}-{number}.npy", array[part])
        shards.append({"input": f"input-{number}.npy", "target": f"target-{number}.npy"})
    files.write_json(folder / "manifest.json", {"shards": shards})
    return folder


@pytest.fixture(scope="module")
def caches(tmp_path_factory):
    root = tmp_path_factory.mktemp("caches")
    return {
        "train": make_cache(root / "train", 50, 0),
        "validation": make_cache(root / "validation", 23, 1),
    }


def run(
    caches, out: Path, on_epoch=lambda row: None, network: UNetSettings = SMALL, **changes
) -> pd.DataFrame:
    settings = TrainingSettings(**{"epochs": 4, "batch_size": 8, "threads": 1, **changes})
    train_into(out, caches, network, settings, 7, on_epoch=on_epoch)
    return read_table(out / "history.csv")


def eager(*arguments):
    """The model that is trained, but with steps that run in Python, where they can be watched."""
    model = compiled(*arguments)
    model.run_eagerly = True
    return model


def weights(folder: Path) -> list[np.ndarray]:
    import keras

    return keras.saving.load_model(folder / "model.keras", compile=False).get_weights()


def test_gradient_accumulation_gives_the_same_weights(tmp_path):
    caches = {part: make_cache(tmp_path / part, 48, 0) for part in ("train", "validation")}
    plain = UNetSettings(filters=(2, 4), dropout=0)
    for parts in (1, 4):
        settings = TrainingSettings(epochs=2, batch_size=16, accumulate=parts, threads=1)
        train_into(tmp_path / f"parts{parts}", caches, plain, settings, 7)
    for one, other in zip(weights(tmp_path / "parts1"), weights(tmp_path / "parts4"), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-5)
    with pytest.raises(ValueError, match="accumulate 3 must divide batch_size 16"):
        TrainingSettings(batch_size=16, accumulate=3)


def test_the_saved_model_is_that_of_the_lowest_validation_loss(caches, tmp_path):
    import keras

    history = run(caches, tmp_path / "out", learning_rate=0.03, loss="mse")
    model = keras.saving.load_model(tmp_path / "out" / "model.keras", compile=False)
    shards = files.read_json(caches["validation"] / "manifest.json")["shards"]
    inputs, targets = (
        np.concatenate([np.load(caches["validation"] / shard[side]) for shard in shards])
        for side in ("input", "target")
    )
    loss = float(np.mean((model.predict(inputs, verbose=0) - targets) ** 2))
    assert loss == pytest.approx(history["val_loss"].min(), rel=1e-4)
    card = files.read_json(tmp_path / "out" / "card.json")
    assert card["best_epoch"] == history["val_loss"].idxmin() + 1
    assert card["parameters"] == model.count_params()


def test_the_learning_rate_falls_when_the_validation_loss_does_not():
    schedule = ScheduleSettings(kind="plateau", factor=0.5, patience=2, minimum=0.03)
    losses = [1.0, 0.9, 0.95, 0.92, 0.91, 0.93, 0.99, 0.98]
    rates = [learning_rate(schedule, 0.1, 100, losses[:n]) for n in range(len(losses) + 1)]
    # Two epochs without a better loss halve it, but never below the minimum.
    assert rates == [0.1, 0.1, 0.1, 0.1, 0.05, 0.05, 0.03, 0.03, 0.03]
    assert learning_rate(ScheduleSettings(), 0.1, 100, losses) == 0.1


@pytest.mark.parametrize(
    ("epochs_done", "progress", "expected"),
    [
        (0, 1.0, 0.01 + 0.09 * (1 + math.sqrt(0.5)) / 2),  # cos(pi/4)
        (1, 0.0, 0.01 + 0.09 * (1 + math.sqrt(0.5)) / 2),
        (1, 1.0, 0.055),  # half-way between both ends
        (2, 1.0, 0.01 + 0.09 * (1 - math.sqrt(0.5)) / 2),
        (3, 1.0, 0.01),
    ],
)
def test_the_learning_rate_falls_along_a_cosine(epochs_done, progress, expected):
    schedule = ScheduleSettings(kind="cosine", minimum=0.01)
    rate = learning_rate(schedule, 0.1, 4, [1.0] * epochs_done, progress)
    assert rate == pytest.approx(expected)


def test_the_learning_rate_rises_from_zero_while_warming_up():
    schedule = ScheduleSettings(warmup_epochs=2)
    rates = [
        learning_rate(schedule, 0.1, 10, [1.0] * done, progress)
        for done, progress in [(0, 0.0), (0, 0.5), (1, 0.0), (1, 0.5), (2, 0.0), (2, 0.5)]
    ]
    assert rates == pytest.approx([0, 0.025, 0.05, 0.075, 0.1, 0.1])


def test_the_optimiser_uses_the_scheduled_learning_rate(caches, tmp_path, monkeypatch):
    import keras

    rates: list[float] = []
    update = keras.optimizers.Adam.update_step

    def watched(optimizer, gradient, variable, learning_rate):
        rates.append(float(learning_rate))
        return update(optimizer, gradient, variable, learning_rate)

    monkeypatch.setattr(keras.optimizers.Adam, "update_step", watched)
    monkeypatch.setattr("denoise.training.fit.compiled", eager)
    schedule = {"kind": "cosine", "warmup_epochs": 1, "minimum": 1e-6}
    history = run(caches, tmp_path / "out", epochs=2, learning_rate=0.01, schedule=schedule)
    used = rates[:: len(weights(tmp_path / "out"))]  # the same for all weights of a step
    assert len(used) == 14  # 50 windows in batches of 8, twice
    assert int(np.argmax(used)) in (5, 6) and 0 < used[0] < 0.01 / 6
    assert used[-1] == pytest.approx(1e-6)
    assert history["learning_rate"].to_list() == pytest.approx([used[6], used[13]])


def test_learning_rate_batch_scales_the_rate_with_the_batch_size():
    # 0.01 for a batch of 256, as the autoencoder's authors have it.
    settings = TrainingSettings(learning_rate=0.01, learning_rate_batch=256, batch_size=16)
    assert settings.initial_learning_rate == pytest.approx(0.000625)
    assert TrainingSettings(learning_rate=0.01, batch_size=16).initial_learning_rate == 0.01


def gradient_step(caches, out: Path, **changes) -> np.ndarray:
    """How far the first of the weights moved in one step from the initial ones, and where from."""
    import keras

    keras.utils.set_random_seed(7)
    first = build_network(SMALL, (8, 8, 1)).get_weights()
    run(caches, out, epochs=1, batch_size=50, **changes)
    return np.array([weights(out)[0] - first[0], first[0]])


def test_weight_decay_is_decoupled_from_the_gradient(caches, tmp_path):
    plain, initial = gradient_step(caches, tmp_path / "a", learning_rate=0.01)
    decayed, _ = gradient_step(
        caches, tmp_path / "b", learning_rate=0.01,
        optimiser={"name": "adamw", "weight_decay": 0.5},
    )  # fmt: skip
    # Loshchilov & Hutter: rate x decay x weight, on top of the step of Adam.
    np.testing.assert_allclose(decayed - plain, -0.01 * 0.5 * initial, atol=1e-6)


def test_clipping_limits_the_gradient_over_all_weights(caches, tmp_path, monkeypatch):
    import keras

    norms: list[float] = []
    update = keras.optimizers.Adam.update_step

    def watched(optimizer, gradient, variable, learning_rate):
        norms.append(keras.ops.sum(keras.ops.square(gradient)))
        return update(optimizer, gradient, variable, learning_rate)

    monkeypatch.setattr(keras.optimizers.Adam, "update_step", watched)
    monkeypatch.setattr("denoise.training.fit.compiled", eager)
    run(caches, tmp_path / "out", epochs=1, batch_size=50, optimiser={"clip_norm": 1e-3})
    assert math.sqrt(sum(float(norm) for norm in norms)) == pytest.approx(1e-3, rel=1e-3)


def test_averaged_weights_are_validated_and_saved(caches, tmp_path):
    seen: list[list[np.ndarray]] = []
    after = _Monitor.after_batch

    def watched(monitor, *given):
        seen.append(monitor.saver.model.get_weights())
        return after(monitor, *given)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_Monitor, "after_batch", watched)
        history = run(caches, tmp_path / "out", epochs=1, optimiser={"ema": 0.8})
    average = seen[0]
    for step in seen[1:]:
        average = [0.8 * old + 0.2 * new for old, new in zip(average, step, strict=True)]
    for kept, expected in zip(weights(tmp_path / "out"), average, strict=True):
        np.testing.assert_allclose(kept, expected, rtol=1e-4, atol=1e-6)
    assert len(history) == 1


def test_weight_decay_without_adamw_is_refused():
    with pytest.raises(ValueError, match="needs name: adamw or muon"):
        OptimiserSettings(weight_decay=0.1)


def test_a_step_of_muon_is_the_nearest_orthogonal_matrix_to_the_gradient():
    import keras

    rng = np.random.default_rng(0)
    shapes = {
        "first/kernel": (3, 3, 2, 8), "inner/kernel": (3, 2, 8, 6), "inner/bias": (6,),
        "last/kernel": (1, 1, 6, 2),
    }  # fmt: skip
    gradients = [rng.standard_normal(shape).astype(np.float32) for shape in shapes.values()]
    weights = []
    for path, shape in shapes.items():
        with keras.name_scope(path.split("/")[0]):
            weights.append(keras.Variable(np.zeros(shape, np.float32), name=path.split("/")[1]))
    made = optimiser(OptimiserSettings(name="muon"), 1)
    made.build(weights)
    set_learning_rates(made, [0.01])
    made.apply(gradients)
    first, inner, bias, last = (weight.numpy() for weight in weights)
    # The first step of Adam has the size of the rate everywhere (Kingma & Ba, section 2.1).
    for step, gradient in ((first, gradients[0]), (bias, gradients[2]), (last, gradients[3])):
        np.testing.assert_allclose(step, -0.01 * np.sign(gradient), rtol=1e-3)
    left, _, right = np.linalg.svd(gradients[1].reshape(-1, 6), full_matrices=False)
    stretch = left.T @ (-inner.reshape(-1, 6)) @ right.T / (0.01 * 0.2 * math.sqrt(3 * 2 * 8))
    # Five iterations bring singular values only roughly to 1 (Jordan et al., 2024).
    assert np.diag(stretch).min() > 0.65 and np.diag(stretch).max() < 1.25
    assert np.abs(stretch - np.diag(np.diag(stretch))).max() < 1e-3


def test_early_stopping_counts_from_the_best_epoch():
    settings = TrainingSettings(epochs=100, early_stopping=2)
    assert not should_stop(settings, [3, 2, 2.5])
    assert should_stop(settings, [3, 2, 2.5, 2.1])
    assert should_stop(TrainingSettings(epochs=3), [3, 2, 1])


def test_too_slow_batch_normalisation_averages_cause_a_warning(caches, tmp_path, caplog):
    slow = UNetSettings(filters=(2, 4), normalisation="batch")
    run(caches, tmp_path / "slow", network=slow, epochs=2)
    # 14 batches leave 0.99 ** 14.
    assert "after all 14 updates" in caplog.text and "still hold 87 %" in caplog.text
    assert "lower network.norm_momentum from 0.99 to 0.51" in caplog.text
    caplog.clear()
    run(caches, tmp_path / "fast", network=slow.model_copy(update={"norm_momentum": 0.5}), epochs=2)
    run(caches, tmp_path / "without", epochs=2)
    assert "norm_momentum" not in caplog.text


def test_a_constant_validation_loss_causes_a_warning(caches, tmp_path, caplog):
    # Steps so long that all of its units are below zero for ever.
    run(caches, tmp_path / "dead", learning_rate=1.0, epochs=5, loss="mse")
    assert "the validation loss has been" in caplog.text and "for 3 epochs" in caplog.text
    caplog.clear()
    run(caches, tmp_path / "alive", epochs=5)
    assert "the validation loss has been" not in caplog.text


def test_shuffled_batches_contain_every_window_once(caches):
    windows = open_batches(caches["train"] / "manifest.json", TrainingSettings(batch_size=8))
    windows.shuffle(5)
    batches = [windows.batch(number) for number in range(len(windows))]
    inputs = np.concatenate([batch[0] for batch in batches])
    whole = np.concatenate([np.load(path) for path in sorted(caches["train"].glob("input-*"))])
    assert inputs.shape == whole.shape and not np.array_equal(inputs, whole)
    np.testing.assert_array_equal(np.sort(inputs.ravel()), np.sort(whole.ravel()))
    for first, second in batches:
        np.testing.assert_allclose(second, np.tanh(0.5 * first), rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_other_backends_train_too(caches, tmp_path, backend):
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed (make install EXTRA={backend})")
    code = (
        "import json, sys; from pathlib import Path; from made import train_into;"
        "from denoise.networks.unet import UNetSettings;"
        "from denoise.training.settings import TrainingSettings;"
        "c = json.loads(sys.argv[1]);"
        "train_into(Path(c['out']), {k: Path(v) for k, v in c['caches'].items()},"
        "UNetSettings(filters=(2, 4)),"
        "TrainingSettings(backend=c['backend'], epochs=3, learning_rate=0.01,"
        "optimiser={'name': 'muon', 'ema': 0.5}, metrics=['mse', 'soft_iou']))"
    )
    given = {
        "caches": {name: str(path) for name, path in caches.items()},
        "backend": backend,
        "out": str(tmp_path / backend),
    }
    ended = subprocess.run(
        [sys.executable, "-c", code, json.dumps(given)], capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr[-2000:]
    history = read_table(tmp_path / backend / "history.csv")
    assert history["val_loss"].iloc[-1] < history["val_loss"].iloc[0]
    assert math.isfinite(files.read_json(tmp_path / backend / "card.json")["best_val_loss"])


def test_a_missing_backend_says_how_to_install_it():
    code = (
        "import sys; from denoise.networks import backend; sys.modules['torch'] = None;"
        "backend.start('torch')"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "training.backend torch is not installed" in ended.stderr
    assert "make install EXTRA=torch" in ended.stderr


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc's malloc is set")
def test_low_memory_gives_freed_arrays_back_to_the_system():
    # The second round of arrays comes from an arena, whose end is held by the one that is kept.
    code = (
        "import json, numpy as np; from pathlib import Path; from denoise.networks import backend\n"
        "def resident(): return int(Path('/proc/self/statm').read_text().split()[1]) * 4096\n"
        "backend.start('tensorflow', low_memory=True); before = resident()\n"
        "for _ in range(2): kept = [np.ones(2**17) for _ in range(200)][-1]\n"
        "print(json.dumps(resident() - before))"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr[-2000:]
    assert json.loads(ended.stdout) < 20 * 2**20  # 200 MiB without


def test_keep_last_saves_the_weights_of_the_last_epoch(caches, tmp_path):
    # A rate that is too high, so that the last epoch is not the best.
    changes = {"learning_rate": 0.2, "loss": "mse", "epochs": 5}
    best = run(caches, tmp_path / "best", **changes)
    last = run(caches, tmp_path / "last", **changes, keep="last")
    np.testing.assert_allclose(best["val_loss"], last["val_loss"], rtol=1e-6)
    assert best["val_loss"].idxmin() < 4
    cards = [files.read_json(tmp_path / name / "card.json") for name in ("best", "last")]
    assert [card["best_epoch"] for card in cards] == [best["val_loss"].idxmin() + 1, 5]
    shorter = {**changes, "epochs": int(best["val_loss"].idxmin()) + 1}
    run(caches, tmp_path / "short", **shorter, keep="last")
    for one, other in zip(weights(tmp_path / "best"), weights(tmp_path / "short"), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-7)
    different = zip(weights(tmp_path / "best"), weights(tmp_path / "last"), strict=True)
    assert any(np.abs(one - other).max() > 1e-3 for one, other in different)


@pytest.mark.parametrize(
    ("gpu", "bfloat16", "expected"),
    [(False, True, "float32"), (True, True, "mixed_bfloat16"), (True, False, "mixed_float16")],
)
def test_precision_defaults_to_mixed_on_a_gpu(monkeypatch, gpu, bfloat16, expected):
    monkeypatch.setattr(backend, "has_gpu", lambda: gpu)
    monkeypatch.setattr(backend, "_has_bfloat16", lambda: bfloat16)
    assert precision(TrainingSettings()) == expected
    assert precision(TrainingSettings(precision="float32")) == "float32"
