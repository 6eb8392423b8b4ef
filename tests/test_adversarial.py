"""Discriminators learn what they should, and a training against one is guarded and resumes."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from conftest import hiss, tone_speech
from made import train_into

from denoise.core import files
from denoise.core.arrays import save_array
from denoise.core.errors import UserError
from denoise.core.tables import read_table, write_table
from denoise.features.settings import FeatureSettings
from denoise.features.stft import StftSettings
from denoise.metrics.pesq import pesq
from denoise.metrics.sdr import si_sdr
from denoise.networks.unet import UNetSettings
from denoise.training import losses
from denoise.training.adversarial import AdversarialSettings, best_epoch
from denoise.training.discriminator import Discriminator
from denoise.training.settings import TrainingSettings

RATE, WINDOW = 8000, 4096
SPEECH, NOISE = tone_speech(6, RATE, 1), hiss(6, RATE, 2)


def pairs(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Noisy and clean windows [shape=(count, samples, 2)], and better and worse outputs."""
    rng = np.random.default_rng(seed)
    starts = rng.integers(len(SPEECH) - WINDOW, size=count)
    clean = np.stack([SPEECH[start : start + WINDOW] for start in starts])
    noise = np.stack([NOISE[start : start + WINDOW] for start in starts[::-1]])
    left = np.linspace(0.02, 1, count)[:, None]
    waves = np.stack([clean + noise, clean], axis=-1).astype(np.float32)
    return waves, (clean + left * noise).astype(np.float32)


def judged(adversary: Discriminator, waves: np.ndarray, enhanced: np.ndarray) -> np.ndarray:
    """The judgement of each window, from the loss of each by itself."""
    noisy, clean = waves[..., 0], waves[..., 1]
    found = [
        float(adversary.loss(clean[k : k + 1], noisy[k : k + 1], enhanced[k : k + 1]))
        for k in range(len(waves))
    ]
    return 1 - np.sqrt(np.array(found) / adversary.settings.weight)


def test_the_metric_discriminator_learns_pesq():
    settings = AdversarialSettings(kind="metric", filters=(8, 16), learning_rate=3e-3, processes=1)
    adversary = Discriminator(settings, RATE)
    adversary.start_epoch(0)
    for step in range(60):
        adversary.learn(*pairs(8, step % 6))
    waves, enhanced = pairs(12, 99)
    found = judged(adversary, waves, enhanced)
    adversary.close()
    found_pesq = [pesq(waves[k, :, 1], enhanced[k], RATE, "nb") for k in range(len(waves))]
    # P.862.1 maps to 4.549 at most; the discriminator predicts the share of the way from 1.
    assert np.corrcoef(found, found_pesq)[0, 1] > 0.8
    assert np.abs(1 + 3.549 * found - found_pesq).mean() < 0.5


def test_the_least_squares_discriminator_separates_clean_from_enhanced():
    settings = AdversarialSettings(kind="least_squares", filters=(8, 16), learning_rate=3e-3)
    adversary = Discriminator(settings, RATE)
    adversary.start_epoch(0)
    for step in range(60):
        waves, enhanced = pairs(8, step % 6)
        adversary.learn(waves, enhanced + 0.3 * (waves[..., 0] - waves[..., 1]))
    waves, enhanced = pairs(12, 99)
    enhanced = enhanced + 0.3 * (waves[..., 0] - waves[..., 1])
    assert judged(adversary, waves, waves[..., 1]).mean() > 0.75
    assert judged(adversary, waves, enhanced).mean() < 0.25


def test_discriminator_scores_skip_silent_windows():
    adversary = Discriminator(AdversarialSettings(kind="metric", processes=1), RATE)
    waves, enhanced = pairs(3, 0)
    waves[1] = 0
    found = adversary.scores(waves, enhanced)
    adversary.close()
    assert [len(values) for values in found.values()] == [2, 2]
    assert found["si_sdr"][1] == pytest.approx(si_sdr(waves[2, :, 1], enhanced[2]))


def test_the_best_epoch_must_not_raise_pesq_at_the_cost_of_si_sdr():
    history = [
        {"val_loss": 3.0, "val_pesq": 2.0, "val_si_sdr": 10.0},
        {"val_loss": 2.0, "val_pesq": 2.2, "val_si_sdr": 9.8},
        {"val_loss": 1.0, "val_pesq": 3.8, "val_si_sdr": -20.0},
    ]
    assert best_epoch(history) == 1
    assert best_epoch([{"val_loss": row["val_loss"]} for row in history]) == 2


@pytest.fixture(scope="module")
def caches(tmp_path_factory):
    """Windows that are rendered from a table, as `features.cache: false` has them."""
    root = tmp_path_factory.mktemp("caches")
    for name, audio in (("speech", SPEECH), ("noise", NOISE)):
        (root / name).mkdir()
        save_array(root / name / "audio.npy", audio)
    features = FeatureSettings(stft=StftSettings(n_fft=255, hop=63), cache=False, floor_db=-60)
    for split, count in (("train", 10), ("validation", 3)):
        rows = [
            {"id": f"{split}-{k}", "speech_source": str(root / "speech/audio.npy"),
             "speaker": "s",
             "noise_source": str(root / "noise/audio.npy"), "speech_offset": 3900 * k,
             "speech_start": 3900 * k, "recording_samples": len(SPEECH), "samples": 4032,
             "paired": False, "noise_start": 0, "noise_samples": len(NOISE),
             "noise_offset": 531 * k, "gain": 0.5, "clip_scale": 1.0}
            for k in range(count)
        ]  # fmt: skip
        write_table(root / f"{split}.csv", pd.DataFrame(rows))
        files.write_json(
            root / split / "manifest.json",
            {"shards": [], "mixtures": str(root / f"{split}.csv"), "rate": RATE, "scales": {},
             "samples": 4032, "features": features.model_dump(mode="json")},
        )  # fmt: skip
    return {split: root / split for split in ("train", "validation")}


def run(caches, out, on_epoch=lambda row: None, **changes) -> pd.DataFrame:
    settings = TrainingSettings(
        **{
            "loss": {"compressed_spectral": 1, "si_sdr": 0.01}, "epochs": 3, "batch_size": 2,
            "threads": 1, "optimiser": {"name": "adam", "ema": 0.9},
            "adversarial": {"kind": "metric", "filters": (4, 8), "weight": 0.1, "processes": 1},
            **changes,
        }
    )  # fmt: skip
    network = UNetSettings(filters=(2, 4), dropout=0.5)
    train_into(out, caches, network, settings, 7, on_epoch=on_epoch)
    return read_table(out / "history.csv")


class Killed(BaseException):
    """Stands for a process that ends after an epoch."""


@pytest.mark.slow
def test_resumed_adversarial_training_gives_the_same_result(caches, tmp_path):
    import keras

    def kill(row):
        if row["epoch"] == 2:
            raise Killed

    whole = run(caches, tmp_path / "whole")
    with pytest.raises(Killed):
        run(caches, tmp_path / "resumed", kill)
    resumed = run(caches, tmp_path / "resumed")
    pd.testing.assert_frame_equal(whole.drop(columns="seconds"), resumed.drop(columns="seconds"))
    assert {"val_pesq", "val_si_sdr", "discriminator"} <= set(whole.columns)
    weights = [
        keras.saving.load_model(tmp_path / name / "model.keras", compile=False).get_weights()
        for name in ("whole", "resumed")
    ]
    for one, other in zip(*weights, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_discriminator_changes_what_is_learnt(caches, tmp_path):
    found = {
        kind: run(caches, tmp_path / kind, epochs=1, adversarial={"kind": kind, "weight": 1.0})
        for kind in ("none", "least_squares")
    }
    assert "val_pesq" not in found["none"]
    # The judgement adds the squared distance from 1.
    assert found["least_squares"]["loss"][0] > found["none"]["loss"][0]


def test_a_training_starts_from_the_weights_of_another(caches, tmp_path):
    none = {"kind": "none"}
    run(caches, tmp_path / "first", adversarial=none)
    settings = TrainingSettings(
        loss="wave", epochs=1, batch_size=2, threads=1, learning_rate=1e-7, metrics=()
    )
    start = tmp_path / "first" / "model.keras"
    network = UNetSettings(filters=(2, 4), dropout=0.5)
    train_into(tmp_path / "started", caches, network, settings, 8, start=start)
    import keras

    first, started = (
        keras.saving.load_model(tmp_path / name / "model.keras", compile=False).get_weights()
        for name in ("first", "started")
    )
    for one, other in zip(first, started, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
    with pytest.raises(UserError, match="holds another network"):
        train_into(
            tmp_path / "other", caches, UNetSettings(filters=(2, 8)), settings, 8, start=start
        )


def test_final_weights_interpolate_initial_and_trained_weights(caches, tmp_path):
    import keras

    run(caches, tmp_path / "start", adversarial={"kind": "none"})
    start = tmp_path / "start" / "model.keras"
    for name, share in (("trained", 0), ("mixed", 0.25)):
        settings = TrainingSettings(
            loss="wave", epochs=2, batch_size=2, threads=1, learning_rate=1e-2, metrics=(),
            start_from="start", initial_weight_share=share,
        )  # fmt: skip
        network = UNetSettings(filters=(2, 4), dropout=0.5)
        train_into(tmp_path / name, caches, network, settings, 8, start=start)
    first, trained, mixed = (
        keras.saving.load_model(tmp_path / name / "model.keras", compile=False).get_weights()
        for name in ("start", "trained", "mixed")
    )
    assert max(np.abs(a - b).max() for a, b in zip(first, trained, strict=True)) > 0.01
    for a, b, c in zip(first, trained, mixed, strict=True):
        np.testing.assert_allclose(c, 0.25 * a + 0.75 * b, atol=1e-6)
    cards = [files.read_json(tmp_path / name / "card.json") for name in ("trained", "mixed")]
    assert cards[0]["best_epoch"] == cards[1]["best_epoch"]
    assert cards[0]["best_val_loss"] != cards[1]["best_val_loss"]
    histories = [pd.read_csv(tmp_path / name / "history.csv") for name in ("trained", "mixed")]
    assert histories[0]["val_loss"].equals(histories[1]["val_loss"])


def test_adversarial_training_requires_a_waveform_loss():
    with pytest.raises(ValueError, match="needs a waveform loss, which huber is not"):
        TrainingSettings(adversarial={"kind": "metric"})
    assert losses.is_waveform_loss(
        TrainingSettings(loss="wave", adversarial={"kind": "metric"}).loss
    )
