"""The STFT agrees with librosa and inverts; features decode what they encode."""

from __future__ import annotations

from pathlib import Path

import librosa
import numpy as np
import pytest
import yaml
from conftest import hiss, tone_speech

from denoise.metrics import si_sdr
from denoise.spectrogram import (
    FeatureSettings,
    StftSettings,
    decode,
    encode_input,
    encode_target,
    istft,
    stft,
)

PRESETS = sorted(Path(__file__).parents[1].glob("presets/*.yaml"))
TRANSFORMS = [(255, 63, 8064), (512, 256, 9000), (1199, 304, 80000), (256, 64, 5001)]


@pytest.mark.parametrize(("n_fft", "hop", "samples"), TRANSFORMS)
def test_stft_equals_librosa(n_fft, hop, samples):
    wave = np.random.default_rng(0).standard_normal((2, samples)).astype(np.float32)
    ours = stft(wave, StftSettings(n_fft=n_fft, hop=hop))
    theirs = librosa.stft(wave, n_fft=n_fft, hop_length=hop, pad_mode="constant")
    np.testing.assert_allclose(ours, theirs, atol=2e-5)


@pytest.mark.parametrize(("n_fft", "hop", "samples"), TRANSFORMS)
def test_the_round_trip_is_above_100_db(n_fft, hop, samples):
    wave = np.random.default_rng(1).standard_normal((2, samples)).astype(np.float32)
    settings = StftSettings(n_fft=n_fft, hop=hop)
    back = istft(stft(wave, settings), settings, samples)
    assert back.shape == wave.shape
    # Against the originals' defect: an odd n_fft of 255 read as 254 gives 12 dB.
    assert min(si_sdr(*pair) for pair in zip(wave, back, strict=True)) > 100


@pytest.mark.parametrize("preset", PRESETS, ids=lambda path: path.stem)
def test_every_preset_transform_inverts(preset):
    recipe = yaml.safe_load(preset.read_text())
    settings = StftSettings(**recipe["features"]["stft"])
    wave = tone_speech(2, recipe["audio"]["sample_rate"], 0)[None]
    assert si_sdr(wave[0], istft(stft(wave, settings), settings, wave.shape[1])[0]) > 100


def test_the_recipe_gives_square_spectrograms():
    assert stft(np.zeros((1, 8064), np.float32), StftSettings()).shape == (1, 128, 128)


@pytest.mark.parametrize("target", ["noise", "clean"])
@pytest.mark.parametrize("reference", ["window", "absolute"])
def test_decoding_the_true_target_gives_the_clean_magnitude(target, reference):
    settings = FeatureSettings(target=target, reference=reference, floor_db=-120)
    clean_wave = tone_speech(8064 / 8000, 8000, 3)[None]
    noisy_wave = clean_wave + 0.5 * hiss(8064 / 8000, 8000, 4)[None]
    clean, noisy = (np.abs(stft(wave, settings.stft)) for wave in (clean_wave, noisy_wave))
    estimate = decode(encode_target(noisy, clean, settings), noisy, settings)
    np.testing.assert_allclose(estimate, clean, rtol=1e-3, atol=1e-4)
    assert encode_input(noisy, settings).shape == (1, 128, 128, 1)


def test_a_window_reference_makes_the_input_independent_of_level():
    settings = FeatureSettings(reference="window")
    noisy = np.abs(stft(hiss(8064 / 8000, 8000, 1)[None], settings.stft))
    np.testing.assert_allclose(
        encode_input(noisy, settings), encode_input(0.01 * noisy, settings), atol=1e-4
    )


def test_scaling_is_that_of_the_recipe():
    settings = FeatureSettings()
    magnitude = np.array([[[1.0, 0.1, 1e-9]]], np.float32)
    # 0, -20 and the floor of -80 dB, through (dB + 46) / 50.
    expected = (np.array([0, -20, -80]) + 46) / 50
    np.testing.assert_allclose(encode_input(magnitude, settings)[0, 0, :, 0], expected, atol=1e-5)


def test_hops_that_cannot_be_inverted_are_refused():
    for hop in (-1, 0, 200):
        with pytest.raises(ValueError, match="hop|greater"):
            StftSettings(n_fft=255, hop=hop)
