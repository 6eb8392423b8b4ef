"""The STFT agrees with librosa and inverts."""

from __future__ import annotations

from pathlib import Path

import librosa
import numpy as np
import pytest
import yaml
from conftest import tone_speech

from denoise.features.stft import StftSettings, istft, spectrogram_shape, stft
from denoise.metrics.sdr import si_sdr

PRESETS = [
    (path.stem, recipe)
    for path in sorted(Path(__file__).parents[1].glob("presets/*.yaml"))
    if "features" in (recipe := yaml.safe_load(path.read_text()))
]
TRANSFORMS = [(255, 63, 8064), (512, 256, 9000), (1199, 304, 80000), (256, 64, 5001)]


@pytest.mark.parametrize(("n_fft", "hop", "samples"), TRANSFORMS)
def test_stft_equals_librosa(n_fft, hop, samples):
    wave = np.random.default_rng(0).standard_normal((2, samples)).astype(np.float32)
    ours = stft(wave, StftSettings(n_fft=n_fft, hop=hop))
    theirs = librosa.stft(wave, n_fft=n_fft, hop_length=hop, pad_mode="constant")
    np.testing.assert_allclose(ours, theirs, atol=2e-5)


@pytest.mark.parametrize(("n_fft", "hop", "samples"), TRANSFORMS)
def test_istft_equals_librosa_for_arbitrary_spectra(n_fft, hop, samples):
    settings = StftSettings(n_fft=n_fft, hop=hop)
    rng = np.random.default_rng(2)
    shape = (2, *spectrogram_shape(samples, settings))
    spectra = (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)).astype(np.complex64)
    ours = istft(spectra, settings, samples)
    theirs = librosa.istft(spectra, hop_length=hop, n_fft=n_fft, length=samples)
    np.testing.assert_allclose(ours, theirs, atol=2e-5)


@pytest.mark.parametrize(("n_fft", "hop", "samples"), TRANSFORMS)
def test_the_round_trip_is_above_100_db(n_fft, hop, samples):
    wave = np.random.default_rng(1).standard_normal((2, samples)).astype(np.float32)
    settings = StftSettings(n_fft=n_fft, hop=hop)
    back = istft(stft(wave, settings), settings, samples)
    assert back.shape == wave.shape
    # Against the originals' defect: an odd n_fft of 255 read as 254 gives 12 dB.
    assert min(si_sdr(*pair) for pair in zip(wave, back, strict=True)) > 100


@pytest.mark.parametrize(("name", "recipe"), PRESETS, ids=[name for name, _ in PRESETS])
def test_every_preset_transform_inverts(name, recipe):
    settings = StftSettings(**recipe["features"]["stft"])
    wave = tone_speech(2, recipe["audio"]["sample_rate"], 0)[None]
    assert si_sdr(wave[0], istft(stft(wave, settings), settings, wave.shape[1])[0]) > 100


def test_default_settings_give_square_spectrograms():
    assert stft(np.zeros((1, 8064), np.float32), StftSettings()).shape == (1, 128, 128)


def test_hops_that_cannot_be_inverted_are_refused():
    for hop in (-1, 0, 200):
        with pytest.raises(ValueError, match="hop|greater"):
            StftSettings(n_fft=255, hop=hop)
