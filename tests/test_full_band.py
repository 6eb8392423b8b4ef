"""What lies above a model's band is kept and follows it; strength, limits and channels."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from conftest import hiss, tone_speech
from made import model_card
from scipy.signal import stft as scipy_stft
from test_streaming import make_model

from denoise.api import ready_models
from denoise.audio import UnusableAudio, resample
from denoise.core.errors import UserError
from denoise.enhancement.enhancer import Enhancer
from denoise.enhancement.settings import EnhancementSettings
from denoise.features.settings import FeatureSettings

RATE = 8000
CARD = model_card(segment=8064, network={"name": "unet"})
"""Of a U-Net at 8 kHz that predicts noise levels, of windows of one second."""
RATES = (5000, 8000, 11_025, 16_000, 22_050, 44_100, 48_000, 96_000, 192_000)


class Lowering:
    """A network that lowers every bin by so many dB, the highest quarter by `top`."""

    frames, states = 128, ()

    def __init__(self, decibels: float, top: float | None = None) -> None:
        self.levels = np.full((128, 1, 1), decibels)
        if top is not None:
            self.levels[96:] = top

    def predict(self, inputs: np.ndarray) -> np.ndarray:
        assert inputs.shape[1:] == (128, 128, 1)
        return np.broadcast_to((self.levels - 6) / 82, inputs.shape).astype(np.float32)


def enhancer(decibels: float, top: float | None = None, **settings) -> Enhancer:
    return Enhancer(Lowering(decibels, top), CARD, EnhancementSettings(**settings))


def level_db(wave: np.ndarray, rate: int, low: float, high: float) -> float:
    """Of the frequencies from `low` to `high`, by a transform of all of it."""
    power = np.square(np.abs(np.fft.rfft(wave, axis=0)))
    frequencies = np.fft.rfftfreq(len(wave), 1 / rate)
    return float(10 * np.log10(power[(frequencies >= low) & (frequencies < high)].mean()))


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("size", [400, 1 << 20])
def test_zero_attenuation_returns_the_input_up_to_its_nyquist_frequency(rate, size):
    wave = hiss(1.5, rate, 1)[:, None]
    blocks = [wave[start : start + size] for start in range(0, len(wave), size)]
    back = np.concatenate(list(enhancer(0.0).enhance_blocks(blocks, rate, 1)))
    assert back.shape == wave.shape
    np.testing.assert_allclose(back, wave, atol=1e-5)
    # In thirds of an octave, and the last percent below the Nyquist frequency.
    edges = [*(100 * 2 ** (np.arange(0, 3 * np.log2(rate / 2 / 100)) / 3)), 0.495 * rate, rate / 2]
    for low, high in itertools.pairwise(edges):
        if high > low:
            found = level_db(back[:, 0], rate, low, high) - level_db(wave[:, 0], rate, low, high)
            assert abs(found) < 0.1, (low, high)


@pytest.mark.parametrize("rate", [16_000, 22_050, 44_100, 48_000, 192_000])
def test_noise_above_the_model_band_is_attenuated_as_much_as_below(rate):
    wave = hiss(2, rate, 2)
    back = enhancer(12.0).enhance_any(wave[:, None], rate)[:, 0]
    np.testing.assert_allclose(back, 10 ** (-12 / 20) * wave, atol=2e-3)
    for low, high in ((500, 3000), (3800, 4300), (4500, 0.45 * rate), (0.47 * rate, 0.5 * rate)):
        fall = level_db(wave, rate, low, high) - level_db(back, rate, low, high)
        assert fall == pytest.approx(12, abs=0.1), (low, high)


def test_frequencies_above_the_model_band_get_the_gain_of_its_top_bins():
    wave = hiss(2, 48_000, 3)
    back = enhancer(0.0, top=20.0).enhance_any(wave[:, None], 48_000)[:, 0]
    change = [
        level_db(back, 48_000, low, high) - level_db(wave, 48_000, low, high)
        for low, high in ((500, 2500), (3200, 3900), (4200, 9000), (12_000, 23_900))
    ]
    np.testing.assert_allclose(change, [0, -20, -20, -20], atol=0.5)


@pytest.mark.parametrize("rate", [44_100, 48_000])
def test_a_click_has_no_echo_and_no_notch_at_the_edge_of_the_band(rate):
    wave = np.zeros((2 * rate, 1), np.float32)
    wave[rate] = 0.5
    back = enhancer(6.0).enhance_any(wave, rate)[:, 0]
    assert back[rate] == pytest.approx(0.5 * 10 ** (-6 / 20), abs=2e-3)
    back[rate] = 0
    assert np.abs(back).max() < 2e-3


def test_model_bandwidth_limits_the_output_to_the_model_band():
    wave = hiss(2, 48_000, 4)[:, None]
    back = enhancer(0.0, bandwidth="model").enhance_any(wave, 48_000)[:, 0]
    assert level_db(back, 48_000, 4200, 24_000) < level_db(wave[:, 0], 48_000, 4200, 24_000) - 60
    expected = resample(resample(wave[:, 0], 48_000, RATE), RATE, 48_000)[: len(wave)]
    np.testing.assert_allclose(back, expected, atol=1e-4)


@pytest.mark.parametrize("rate", [8000, 44_100, 48_000])
def test_no_frequency_is_attenuated_beyond_the_limit(rate):
    wave = hiss(2, rate, 5)
    limited = enhancer(60.0, max_attenuation_db=12).enhance_any(wave[:, None], rate)[:, 0]
    np.testing.assert_allclose(limited, 10 ** (-12 / 20) * wave, atol=2e-3)
    below = enhancer(3.0, max_attenuation_db=12).enhance_any(wave[:, None], rate)[:, 0]
    np.testing.assert_allclose(below, 10 ** (-3 / 20) * wave, atol=2e-3)


@pytest.mark.parametrize("rate", [8000, 44_100, 48_000])
@pytest.mark.parametrize("strength", [0.0, 0.25, 0.8])
def test_strength_mixes_enhanced_and_input_signals_linearly(rate, strength):
    wave = np.stack([tone_speech(2, rate, 1), hiss(2, rate, 6)], axis=1)
    whole = enhancer(15.0).enhance_any(wave, rate)
    mixed = enhancer(15.0, strength=strength).enhance_any(wave, rate)
    np.testing.assert_allclose(mixed, strength * whole + (1 - strength) * wave, atol=1e-3)


class Deciding:
    """A network that keeps what is loud in its window and lowers the rest by 30 dB."""

    frames, states = 128, ()

    def predict(self, inputs: np.ndarray) -> np.ndarray:
        return np.where(inputs > 0.3, -6 / 82, 24 / 82).astype(np.float32)


def test_linked_channels_keep_the_level_difference_between_channels():
    rate = 16_000
    voice, noise = tone_speech(2, rate, 7), hiss(4, rate, 8)
    # The voice half left; noise that differs from channel to channel.
    left = voice + 0.02 * noise[: len(voice)]
    right = 0.4 * voice + 0.2 * noise[len(voice) :][: len(voice)]
    wave = np.stack([left, right], axis=1)
    linked = Enhancer(Deciding(), CARD).enhance_any(wave, rate)
    apart = Enhancer(Deciding(), CARD, EnhancementSettings(link_channels=False))
    separate = apart.enhance_any(wave, rate)

    def shift_db(found: np.ndarray) -> np.ndarray:
        """How far the level difference of the channels moved, where there is something to hear."""
        before, after = (
            np.abs(scipy_stft(signal.T, rate, nperseg=512)[2]) + 1e-9 for signal in (wave, found)
        )
        heard = after.min(axis=0) > 1e-4
        moved = 20 * np.log10((after[0] / after[1]) / (before[0] / before[1]))
        return np.abs(moved[heard])

    # The frames of this transform lie beside those of the network, and straddle its decisions.
    assert np.median(shift_db(linked)) < 0.1 < 0.3 < np.median(shift_db(separate))
    for channel in (0, 1):
        alone = apart.enhance_any(wave[:, channel : channel + 1], rate)[:, 0]
        np.testing.assert_allclose(separate[:, channel], alone, atol=1e-5)


def test_equal_or_silent_channels_are_enhanced_like_a_single_channel():
    wave = tone_speech(2, 16_000, 9) + 0.01 * hiss(2, 16_000, 10)
    alone = Enhancer(Deciding(), CARD).enhance_any(wave[:, None], 16_000)[:, 0]
    three = np.stack([wave, 0.5 * wave, 0 * wave], axis=1)
    found = Enhancer(Deciding(), CARD).enhance_any(three, 16_000)
    np.testing.assert_allclose(found[:, 0], alone, atol=1e-4)
    np.testing.assert_allclose(found[:, 1], 0.5 * alone, atol=1e-4)
    assert not found[:, 2].any()


@pytest.fixture(scope="module")
def causal(tmp_path_factory):
    return make_model(tmp_path_factory.mktemp("models") / "causal", causal=True)


@pytest.mark.parametrize(("rate", "channels"), [(48_000, 1), (32_000, 2), (44_100, 2), (8000, 1)])
def test_a_stream_at_any_sample_rate_equals_offline_enhancement(causal, rate, channels):
    loaded = Enhancer.load(causal)
    wave = np.stack([tone_speech(1, rate, c) + 0.1 * hiss(1, rate, c) for c in range(channels)], 1)
    whole = loaded.enhance_any(wave, rate)
    stream = loaded.stream(rate, channels)
    taken, given = 0, []
    for start in range(0, len(wave), stream.hop):
        block = wave[start : start + stream.hop]
        taken += len(block)
        given.append(stream.process(block))
        assert taken - sum(map(len, given)) < stream.latency
    given.append(stream.flush())
    np.testing.assert_allclose(np.concatenate(given), whole, atol=1e-5)


def test_integer_multiples_of_the_model_rate_add_no_stream_latency(causal):
    loaded = Enhancer.load(causal)
    n_fft = loaded.features.settings.stft.n_fft
    assert {rate: loaded.stream(rate).latency for rate in (16_000, 48_000, 192_000)} == {
        16_000: n_fft, 48_000: 3 * n_fft, 192_000: 12 * n_fft,
    }  # fmt: skip
    assert loaded.stream(44_100).latency > 44_100 / 16_000 * n_fft


def test_a_stream_rejects_blocks_with_the_wrong_channel_count(causal):
    stream = Enhancer.load(causal).stream(48_000, 2)
    with pytest.raises(ValueError, match=r"\(10, 3\).* must have 2 channels"):
        stream.process(np.zeros((10, 3), np.float32))
    with pytest.raises(ValueError, match="must have 2 channels"):
        stream.process(np.zeros(10, np.float32))


def test_a_non_causal_model_cannot_stream():
    with pytest.raises(UserError, match="looks at later audio and cannot follow a stream"):
        Enhancer(Lowering(0), CARD).stream()


def test_utterance_reference_gives_the_same_result_at_any_sample_rate():
    """With a reference of the whole utterance, whose level does not depend on the rate."""
    features = FeatureSettings(reference="utterance")
    card = CARD.model_copy(update={"features": features})
    low = tone_speech(2, RATE, 11) + 0.01 * hiss(2, RATE, 12)
    high = resample(low, RATE, 48_000)
    expected = Enhancer(Deciding(), card).enhance(low)
    found = resample(
        Enhancer(Deciding(), card).enhance_any(high[:, None], 48_000)[:, 0], 48_000, RATE
    )
    kept = slice(400, len(low) - 400)
    error = np.square(found[kept] - expected[kept]).mean() / np.square(expected[kept]).mean()
    assert 10 * np.log10(error) < -20


def test_an_implausibly_high_sample_rate_is_rejected():
    with pytest.raises(UnusableAudio, match=r"has 234,897,024 Hz: recordings of up to"):
        Enhancer.load(ready_models()["best"]).enhance_any(np.zeros((100, 1)), 234_897_024)
