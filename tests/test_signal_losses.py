"""Losses on the waveform decode as enhancement does, and have the values of their definitions."""

from __future__ import annotations

import librosa
import numpy as np
import pytest
from conftest import hiss, tone_speech
from made import model_card, train_into

from denoise.core.errors import UserError
from denoise.core.tables import read_table
from denoise.features.codec import Features
from denoise.features.settings import FeatureSettings
from denoise.features.stft import StftSettings, istft, stft
from denoise.metrics.sdr import si_sdr
from denoise.mixing.augmentation import Mixer
from denoise.networks.card import write_card
from denoise.networks.registry import build_network
from denoise.networks.unet import UNetSettings
from denoise.training import losses
from denoise.training.settings import TrainingSettings
from denoise.training.teacher import Teacher
from denoise.training.waveform import WaveformCodec

RATE, WINDOW = 8000, 8064
CLEAN = np.stack([tone_speech(WINDOW / RATE, RATE, seed) for seed in (3, 4)])
NOISY = CLEAN + np.stack([hiss(WINDOW / RATE, RATE, seed) for seed in (5, 6)]) * 0.5
SCALES = {"input": [80.0, 80.0], "target": [70.0, 60.0]}


@pytest.mark.parametrize(
    ("settings", "samples"),
    [
        ({}, WINDOW),
        ({"target": "clean"}, WINDOW),
        ({"target": "clean", "reference": "absolute"}, WINDOW),
        ({"target": "clean", "target_scaling": {"kind": "min_max"}}, WINDOW),
        ({"target": "clean", "target_scaling": {"kind": "standard"}}, WINDOW),
        ({"target": "clean", "target_scaling": {"kind": "example_min_max"}}, WINDOW),
        ({"target": "noise", "target_scaling": {"kind": "example_min_max"}}, WINDOW),
        ({"target": "mask"}, WINDOW),
        ({"target": "mask", "stft": {"n_fft": 512, "hop": 256}, "bins": 250}, 5120),
        ({"target": "mask", "stft": {"n_fft": 1199, "hop": 304}}, 8000),
        ({"target": "complex_mask", "input": "level_and_phase"}, WINDOW),
        ({"target": "mask_and_phase_correction", "input": "compressed_complex"}, WINDOW),
    ],
)
def test_waveform_decoder_matches_enhancement(settings, samples):
    features = Features(FeatureSettings(floor_db=-70, **settings), SCALES)
    noisy = NOISY[:, :samples]
    spectra = stft(noisy, features.settings.stft)
    zero = features.references(spectra)
    target = features.encode_target(spectra, stft(CLEAN[:, :samples], features.settings.stft), zero)
    rng = np.random.default_rng(0)
    output = (target + 0.05 * rng.standard_normal(target.shape)).astype(np.float32)
    estimate = features.decode(output, spectra, zero)
    expected = istft(estimate, features.settings.stft, samples)
    found = np.asarray(WaveformCodec(features, samples).decode(output, noisy))
    np.testing.assert_allclose(found, expected, atol=2e-4)


@pytest.mark.parametrize(
    ("settings", "samples"),
    [
        ({}, WINDOW),
        ({"target": "clean", "reference": "absolute"}, WINDOW),
        ({"target": "clean", "target_scaling": {"kind": "min_max"},
          "input_scaling": {"kind": "standard"}}, WINDOW),
        ({"target": "clean", "target_scaling": {"kind": "example_min_max"},
          "input_scaling": {"kind": "example_min_max", "range": [-1, 1]}}, WINDOW),
        ({"target": "noise", "target_scaling": {"kind": "example_min_max"}}, WINDOW),
        ({"target": "mask", "stft": {"n_fft": 512, "hop": 256}, "bins": 250}, 5120),
        ({"target": "mask", "input": "compressed", "stft": {"n_fft": 1199, "hop": 304}}, 8000),
        ({"target": "complex_mask", "input": "level_and_phase"}, WINDOW),
        ({"target": "mask_and_phase_correction", "input": "compressed_complex", "bins": 120},
         WINDOW),
    ],
)  # fmt: skip
def test_waveform_encoder_matches_the_cached_features(settings, samples):
    features = Features(FeatureSettings(floor_db=-70, **settings), SCALES)
    noisy, clean = NOISY[:, :samples].astype(np.float32), CLEAN[:, :samples].astype(np.float32)
    spectra = [stft(waves, features.settings.stft) for waves in (noisy, clean)]
    zero = features.references(spectra[0])
    encoder = WaveformCodec(features, noisy.shape[1])
    np.testing.assert_allclose(
        encoder.input(noisy), features.encode_input(spectra[0], zero), atol=2e-3
    )
    found = np.asarray(encoder.target(noisy, clean))
    expected = features.encode_target(*spectra, zero)
    # Where a bin is faint, the last digits decide its phase.
    assert np.mean(np.abs(found - expected) > 5e-3) < 2e-3


def numpy_spectra(n_fft: int, hop: int) -> list[np.ndarray]:
    return [librosa.stft(waves, n_fft=n_fft, hop_length=hop, pad_mode="constant")
            for waves in (CLEAN, NOISY)]  # fmt: skip


def test_si_sdr_loss_is_the_negative_metric_plus_a_level_penalty():
    measured = np.array([-si_sdr(*pair) for pair in zip(CLEAN, NOISY, strict=True)])
    # By how much of the clean signal the noisy one holds, its level differs a little.
    share = np.sum(CLEAN * NOISY, 1) / np.sum(CLEAN**2, 1)
    found = np.asarray(losses.si_sdr(CLEAN, NOISY))
    np.testing.assert_allclose(found, measured + (2 * np.log10(share)) ** 2, atol=1e-3)
    # 20 dB too loud costs 20 * 20 / 100.
    louder = np.asarray(losses.si_sdr(CLEAN, 10 * CLEAN + 10 * (NOISY - share[:, None] * CLEAN)))
    balanced = np.asarray(losses.si_sdr(CLEAN, CLEAN + NOISY - share[:, None] * CLEAN))
    np.testing.assert_allclose(louder - balanced, 4, atol=1e-3)


def test_compressed_spectral_loss_matches_its_published_formula():
    clean, noisy = numpy_spectra(512, 128)
    powers = [np.abs(spectrum) ** 0.3 for spectrum in (clean, noisy)]
    complexes = [
        power * np.exp(1j * np.angle(spectrum))
        for power, spectrum in zip(powers, (clean, noisy), strict=True)
    ]
    expected = 0.7 * np.mean((powers[0] - powers[1]) ** 2, (1, 2))
    expected += 0.3 * np.mean(np.abs(complexes[0] - complexes[1]) ** 2, (1, 2))
    found = np.asarray(losses.compressed_spectral(CLEAN, NOISY))
    np.testing.assert_allclose(found, expected, rtol=0.02)


def test_multi_resolution_stft_loss_matches_its_published_formula():
    expected = np.zeros(2)
    for n_fft in (512, 1024, 2048):
        clean, noisy = (np.abs(spectrum) for spectrum in numpy_spectra(n_fft, n_fft // 4))
        convergence = np.linalg.norm(clean - noisy, axis=(1, 2)) / np.linalg.norm(
            clean, axis=(1, 2)
        )
        logs = np.log(np.maximum(clean, 1e-5)) - np.log(np.maximum(noisy, 1e-5))
        expected += (convergence + np.abs(logs).mean((1, 2))) / 3
    found = np.asarray(losses.multi_resolution_stft(CLEAN, NOISY))
    np.testing.assert_allclose(found, expected, rtol=1e-3)


def test_anti_wrapping_phase_loss_matches_its_published_formula():
    other = NOISY + np.stack([hiss(WINDOW / RATE, RATE, seed) for seed in (7, 8)]) * 0.2
    phases = [
        np.angle(librosa.stft(waves, n_fft=512, hop_length=128, pad_mode="constant"))
        for waves in (NOISY, other)
    ]
    difference = phases[1] - phases[0]
    expected = np.zeros(2)
    for step in (difference, np.diff(difference, axis=1), np.diff(difference, axis=2)):
        expected += np.abs(step - 2 * np.pi * np.round(step / (2 * np.pi))).mean((1, 2))
    found = np.asarray(losses.anti_wrapping_phase(NOISY, other))
    np.testing.assert_allclose(found, expected, rtol=0.01)
    # Turned over, every phase differs by π, and none differs from its neighbours'.
    np.testing.assert_allclose(losses.anti_wrapping_phase(NOISY, -NOISY), np.pi, rtol=0.01)


def test_the_phase_of_silence_has_a_bounded_gradient():
    import tensorflow as tf

    silent, faint = np.zeros((1, 2048), np.float32), tf.Variable(np.full((1, 2048), 1e-7, "f4"))
    with tf.GradientTape() as tape:
        loss = losses.anti_wrapping_phase(silent + CLEAN[:1, :2048], faint)
    assert np.abs(tape.gradient(loss, faint).numpy()).max() < 1e4


@pytest.mark.parametrize("name", losses.SIGNAL_LOSSES)
def test_losses_on_the_waveform_are_least_for_the_clean_signal(name):
    measure = losses.SIGNAL_LOSSES[name]
    values = [float(np.mean(measure(CLEAN, CLEAN + share * (NOISY - CLEAN))))
              for share in (0, 0.1, 0.5, 1)]  # fmt: skip
    assert values == sorted(values)


def test_waveform_losses_are_weighted_and_labelled():
    loss = {"wave": 1, "si_sdr": 0.5}
    expected = losses.wave(CLEAN, NOISY) + 0.5 * losses.si_sdr(CLEAN, NOISY)
    np.testing.assert_allclose(losses.on_signals(loss)(CLEAN, NOISY), expected, rtol=1e-6)
    assert losses.label(loss) == "wave + 0.5 si_sdr" and losses.label("huber") == "huber"


def test_losses_share_the_spectra_that_they_have_in_common(monkeypatch):
    import keras

    transforms: list[int] = []
    transform = keras.ops.stft

    def counted(waves, *settings, **options):
        transforms.append(len(waves))
        return transform(waves, *settings, **options)

    monkeypatch.setattr(keras.ops, "stft", counted)
    names = ("compressed_spectral", "suppressed_speech", "anti_wrapping_phase")
    found = losses.on_signals(dict.fromkeys(names, 1.0))(CLEAN, NOISY)
    assert len(transforms) == 2  # of the clean and of the noisy signal
    alone = [losses.SIGNAL_LOSSES[name](CLEAN, NOISY) for name in names]
    assert len(transforms) == 8
    np.testing.assert_allclose(found, sum(np.asarray(each) for each in alone), rtol=1e-6)


def test_suppressed_speech_loss_penalises_missing_speech_but_not_noise():
    enough, noisier = (
        losses.suppressed_speech(CLEAN, CLEAN),
        losses.suppressed_speech(CLEAN, 2 * CLEAN),
    )
    np.testing.assert_allclose([*enough, *noisier], 0, atol=1e-9)
    power = np.abs(numpy_spectra(512, 128)[0]) ** 2
    missing = (power + 1e-8) ** 0.15 - (power / 4 + 1e-8) ** 0.15
    np.testing.assert_allclose(
        losses.suppressed_speech(CLEAN, 0.5 * CLEAN), np.mean(missing**2, axis=(1, 2)), rtol=1e-3
    )


def test_distillation_trains_on_teacher_output_and_validates_on_clean_speech(wave_caches, tmp_path):
    """A teacher that passes everything: what is learnt is to leave the noise as it is."""
    from denoise.networks import backend

    backend.start("tensorflow", threads=1)
    import keras

    features = FeatureSettings(
        stft=StftSettings(n_fft=63, hop=16), target="mask", floor_db=-60, cache=False
    )
    network = UNetSettings(filters=(2, 4), dropout=0, output_activation="sigmoid")
    shape = (*features.shape(992), 1)
    teacher = build_network(network, shape, 1)
    kernel, bias = teacher.layers[-1].get_weights()
    teacher.layers[-1].set_weights([0 * kernel, 0 * bias + 20])
    (tmp_path / "teacher").mkdir()
    teacher.save(tmp_path / "teacher" / "model.keras")
    card = model_card(network=network, features=features, input_shape=shape)
    write_card(tmp_path / "teacher" / "card.json", card)
    settings = TrainingSettings(
        loss="wave", epochs=1, batch_size=8, threads=1, learning_rate=1e-9, metrics=(),
        teacher="teacher",
    )  # fmt: skip
    student = UNetSettings(filters=(4, 8), dropout=0)
    train_into(tmp_path / "student", wave_caches, student, settings, teacher=tmp_path / "teacher")
    history = read_table(tmp_path / "student" / "history.csv").iloc[0]
    model = keras.saving.load_model(tmp_path / "student" / "model.keras", compile=False)
    for part, name in (("train", "loss"), ("validation", "val_loss")):
        table = read_table(wave_caches[part].with_suffix(".csv"))
        noisy, clean = np.moveaxis(Mixer(table, RATE).batch(np.arange(len(table))), 2, 0)
        own = Features(FeatureSettings(stft=StftSettings(n_fft=63, hop=16), floor_db=-60))
        spectra = stft(noisy, own.settings.stft)
        zero = own.references(spectra)
        output = model.predict(own.encode_input(spectra, zero), verbose=0)
        enhanced = istft(own.decode(output, spectra, zero), own.settings.stft, noisy.shape[1])
        wanted = noisy if part == "train" else clean
        assert np.abs(noisy - clean).mean() > 0.001
        assert history[name] == pytest.approx(np.abs(enhanced - wanted).mean(), rel=0.02)


def test_a_teacher_of_another_rate_is_refused(tmp_path):
    card = model_card(rate=16000, input_shape=(128, 16, 1))
    build_network(card.network, (128, 16, 1), 1).save(tmp_path / "model.keras")
    write_card(tmp_path / "card.json", card)
    with pytest.raises(UserError, match="works at 16000 Hz, the training at 8000 Hz"):
        Teacher(tmp_path, RATE, 992)


@pytest.mark.parametrize("name", losses.SIGNAL_LOSSES)
def test_losses_on_the_waveform_train(wave_caches, tmp_path, name):
    settings = TrainingSettings(
        loss=name, epochs=4, batch_size=8, threads=1, learning_rate=0.01, metrics=("mae",)
    )
    network = UNetSettings(filters=(4, 8), dropout=0)
    train_into(tmp_path, wave_caches, network, settings)
    history = read_table(tmp_path / "history.csv")
    assert np.isfinite(history["val_mae"]).all()
    assert history["val_loss"].iloc[-1] < history["val_loss"].iloc[0]
    # The loss of the model that is kept, by the way enhancement takes.
    import keras

    model = keras.saving.load_model(tmp_path / "model.keras", compile=False)
    features = Features(FeatureSettings(stft=StftSettings(n_fft=63, hop=16), floor_db=-60))
    mixer = Mixer(read_table(wave_caches["validation"].with_suffix(".csv")), RATE)
    noisy, clean = np.moveaxis(mixer.batch(np.arange(8)), 2, 0)
    spectra = stft(noisy, features.settings.stft)
    zero = features.references(spectra)
    output = model.predict(features.encode_input(spectra, zero), verbose=0)
    enhanced = istft(features.decode(output, spectra, zero), features.settings.stft, 992)
    value = float(np.mean(losses.SIGNAL_LOSSES[name](clean, enhanced)))
    assert value == pytest.approx(history["val_loss"].min(), rel=0.01, abs=0.01)
