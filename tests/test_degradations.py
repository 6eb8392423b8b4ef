"""Degradations: their strength, which side they are applied to, and that they repeat."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from conftest import hiss, tone_speech
from pydantic import ValidationError
from test_config import plan
from test_reverberation import pack

from denoise.core.errors import UserError
from denoise.core.tables import read_table, write_table
from denoise.mixing.augmentation import AugmentationSettings, Mixer
from denoise.mixing.degradations import (
    DegradationSettings,
    degrade,
    describe,
    from_text,
    to_text,
)
from denoise.mixing.draw import draw_windows
from denoise.mixing.files import Recordings
from denoise.mixing.levels import set_levels
from denoise.mixing.render import packs_of, render
from denoise.mixing.settings import MixingSettings
from denoise.mixing.transmission import (
    CODECS,
    clip,
    code,
    limit_band,
    lose_packets,
    quantise,
)
from denoise.report.background import conditions

RATE = 8000
ALL = {
    "band_limit": {"share": 0.5, "high_hz": [1500, 3000], "low_hz": [100, 300]},
    "clipping": {"share": 0.5},
    "quantisation": {"share": 0.5},
    "codec": {"share": 0.5},
    "packet_loss": {"share": 0.5},
}


@pytest.fixture(scope="module")
def table(tmp_path_factory) -> pd.DataFrame:
    root = tmp_path_factory.mktemp("degradations")
    voices = {f"s{k}": tone_speech(4, RATE, k) for k in range(4)}
    noises = {f"n{k}": hiss(1.5 + k, RATE, k) for k in range(3)}
    speech = pack(root / "speech/audio.npy", voices, {name: name for name in voices})
    noise = pack(root / "noise/audio.npy", noises, {name: name for name in noises})
    given = Recordings(speech.assign(speaker=speech["id"]), noise.assign(noise_type="hiss"))
    chosen = MixingSettings(segment=8000, speech_stride=1000, snr_db=(0, 10), degradations=ALL)
    return set_levels(draw_windows(given, chosen, "train", RATE, 0), RATE, 0)


def tone(frequency: float, rate: int = RATE, seconds: float = 1) -> np.ndarray:
    return np.sin(2 * np.pi * frequency * np.arange(int(seconds * rate)) / rate).astype(np.float32)


def decibels(ratio: float) -> float:
    return 20 * np.log10(ratio)


def delay(wave: np.ndarray, before: np.ndarray) -> int:
    """By how many samples a wave is later, where their cross-correlation is largest."""
    size = 2 * len(wave)
    found = np.fft.irfft(np.fft.rfft(wave, size) * np.conj(np.fft.rfft(before, size)), size)
    return (int(np.argmax(found)) + len(wave)) % size - len(wave)


def test_clipping_by_6_db_limits_a_tone_to_half_its_peak():
    cut = clip(tone(50), RATE, db=20 * np.log10(2))
    assert np.abs(cut).max() == pytest.approx(0.5, abs=1e-5)
    # A sine is above half its peak in two thirds of its time.
    assert np.mean(np.abs(cut) > 0.4999) == pytest.approx(2 / 3, abs=0.01)
    untouched = np.abs(tone(50)) < 0.499
    np.testing.assert_array_equal(cut[untouched], tone(50)[untouched])


@pytest.mark.parametrize("bits", [6, 8, 12])
def test_a_quantised_tone_has_the_theoretical_snr(bits):
    """6.02 dB for each bit and 1.76 dB (Bennett, Bell System Technical Journal 27, 1948)."""
    wave = tone(440.123)
    error = quantise(0.3 * wave, RATE, bits) / 0.3 - wave
    ratio = decibels(np.std(wave) / np.std(error))
    # With as many steps below zero as above it, there is one step less than 2 ** bits.
    assert ratio == pytest.approx(6.02 * bits + 1.76, abs=0.7)
    assert len(np.unique(quantise(wave, RATE, bits))) <= 2**bits - 1


def test_silence_stays_silence():
    silence = np.zeros(RATE, np.float32)
    everything = {
        "band_limit": {"high_hz": 3000.0}, "clipping": {"db": 6.0}, "quantisation": {"bits": 8},
        "codec": {"name": "opus", "kbit_s": 16.0},
        "packet_loss": {"lost": 0.1, "packet_ms": 20, "burst": 2, "seed": 0},
    }  # fmt: skip
    for wave in degrade(silence, silence, RATE, everything):
        assert np.isfinite(wave).all() and np.abs(wave).max() < 1e-6


def test_packet_loss_has_the_configured_rate_and_burst_length():
    wave = np.ones(400 * RATE, np.float32)
    kept = lose_packets(wave, RATE, lost=0.1, packet_ms=20, burst=3, seed=4)
    packets = kept.reshape(-1, 160)
    assert set(packets.mean(axis=1)) == {0.0, 1.0}
    gone = packets[:, 0] == 0
    bursts = np.count_nonzero(np.diff(gone.astype(int)) == 1) + int(gone[0])
    assert gone.mean() == pytest.approx(0.1, abs=0.02)  # of 20,000 packets in 667 bursts
    assert gone.sum() / bursts == pytest.approx(3, abs=0.4)
    np.testing.assert_array_equal(kept, lose_packets(wave, RATE, 0.1, 20, 3, 4))
    assert (lose_packets(wave[: 10 * RATE], RATE, 0.0, 20, 3, 4) == 1).all()


def test_band_limitation_keeps_the_passband_without_delay():
    rate, inner = 16000, slice(4000, -4000)
    for frequency, gain in ((1000, 0), (3400, -6.02)):
        limited = limit_band(tone(frequency, rate), rate, high_hz=3400)
        level = decibels(np.std(limited[inner]) / np.std(tone(frequency, rate)[inner]))
        assert level == pytest.approx(gain, abs=0.05)
    np.testing.assert_allclose(
        limit_band(tone(1000, rate), rate, 3400)[inner], tone(1000, rate)[inner], atol=2e-3
    )
    for gone in (6800, 75):
        limited = limit_band(tone(gone, rate), rate, high_hz=3400, low_hz=150)
        assert decibels(np.std(limited[inner]) / np.std(tone(gone, rate)[inner])) < -58
    # Above half the rate there is nothing to be limited.
    np.testing.assert_array_equal(limit_band(tone(1000), RATE, 7000), tone(1000))


@pytest.mark.parametrize("rate", [8000, 16000, 20000, 22050, 48000])
@pytest.mark.parametrize("name", CODECS)
def test_codecs_do_not_delay_speech(name, rate):
    wave = 0.01 * tone_speech(2, rate, 1)
    how = {"mp3": {"kbit_s": 24}, "opus": {"kbit_s": 48}, "vorbis": {"quality": 0.3}}.get(name, {})
    back = code(wave, rate, name, **how)
    assert back.shape == wave.shape and back.dtype == np.float32
    # Opus changes the rate inside, and is early or late by a part of a sample of 16 kHz.
    assert abs(delay(back, wave)) <= (0.00005 * rate if name == "opus" else 0)
    assert decibels(np.std(wave) / np.std(back - wave)) > 10


@pytest.mark.parametrize("name", ["mp3", "opus"])
def test_a_higher_bit_rate_lowers_the_coding_error(name):
    wave = tone_speech(2, 16000, 1)
    errors = [np.std(code(wave, 16000, name, kbit_s) - wave) for kbit_s in (12, 24, 64)]
    assert errors == sorted(errors, reverse=True) and errors[2] < 0.7 * errors[0]


def test_codecs_and_band_limits_are_applied_to_the_clean_target_too():
    noisy, clean = tone_speech(1, RATE, 1) + hiss(1, RATE, 0), tone_speech(1, RATE, 1)
    for kind, how in {
        "clipping": {"db": 6.0}, "quantisation": {"bits": 6},
        "packet_loss": {"lost": 0.3, "packet_ms": 20, "burst": 2, "seed": 0},
    }.items():  # fmt: skip
        worse, kept = degrade(noisy, clean, RATE, {kind: how})
        np.testing.assert_array_equal(kept, clean)
        assert np.abs(worse - noisy).max() > 0.005
    for kind, how in {"band_limit": {"high_hz": 300.0}, "codec": {"name": "gsm"}}.items():
        for before, after in zip(
            (noisy, clean), degrade(noisy, clean, RATE, {kind: how}), strict=True
        ):
            assert np.std(after - before) > 0.05 * np.std(before)


def test_each_degradation_is_drawn_with_its_share_and_range():
    settings = DegradationSettings(
        clipping={"share": 0.25, "db": [3, 9]}, codec={"share": 1, "names": ["opus", "gsm"]}
    )
    drawn = [settings.draw(np.random.default_rng(seed)) for seed in range(1000)]
    clipped = [one["clipping"]["db"] for one in drawn if "clipping" in one]
    assert len(clipped) == pytest.approx(250, abs=60)
    assert 3 <= min(clipped) < 3.3 and 8.7 < max(clipped) <= 9
    names = [one["codec"]["name"] for one in drawn]
    assert names.count("gsm") == pytest.approx(500, abs=70)
    rates = [one["codec"]["kbit_s"] for one in drawn if one["codec"]["name"] == "opus"]
    assert min(rates) >= 12 and max(rates) <= 64
    # Evenly in octaves: as many below 27.7 kbit/s, the middle of the octaves, as above.
    assert np.median(rates) == pytest.approx(np.sqrt(12 * 64), rel=0.12)
    assert all(from_text(to_text(one)) == one for one in drawn)
    assert not any(DegradationSettings().draw(np.random.default_rng(k)) for k in range(20))


def test_the_mixture_table_lists_the_degradations_that_are_rendered(table, tmp_path):
    write_table(tmp_path / "table.csv", table)
    again = read_table(tmp_path / "table.csv")
    packs = packs_of(again)
    kinds = [json.loads(text) if text else {} for text in again["degradations"]]
    for kind in ALL:
        assert np.mean([kind in one for one in kinds]) == pytest.approx(0.5, abs=0.18)
    for row, done in list(zip(again.to_dict("records"), kinds, strict=True))[:20]:
        noisy, clean = render(row, packs, RATE)
        undamaged = render({**row, "degradations": ""}, packs, RATE)
        expected = degrade(*undamaged, RATE, done)
        np.testing.assert_allclose((noisy, clean), expected, atol=1e-6)
        assert np.array_equal(noisy, undamaged[0]) == (not done)


def test_degradations_are_drawn_anew_in_every_epoch(table):
    def spoilt(epoch: int, *, drawn: bool) -> np.ndarray:
        settings = AugmentationSettings(gain_range_db=(-1, 0), degradations=drawn)
        waves = Mixer(table, RATE, settings).batch(np.arange(len(table)), epoch)
        return np.array([np.mean(wave[:, 0] == 0) > 0.005 for wave in waves])

    lost = table["degradations"].str.contains("packet_loss").to_numpy()
    assert np.mean(spoilt(1, drawn=False)[~lost]) < 0.2
    first, second = spoilt(1, drawn=True), spoilt(2, drawn=True)
    np.testing.assert_array_equal(first, spoilt(1, drawn=True))
    assert (first != second).any() and first[~lost].any()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"clipping": {"db": [9, 3]}}, "db [9.0, 3.0] must go from low to high"),
        ({"clipping": {"db": [-3, 3]}}, "must lie within 0 and 60"),
        ({"quantisation": {"bits": [1, 3]}}, "must lie within 2 and 16"),
        ({"codec": {"names": ["mp4"]}}, "unknown codec 'mp4'"),
        ({"codec": {"names": []}}, "at least one codec"),
        ({"codec": {"kbit_s": [0, 3]}}, "must lie within 1 and 1000"),
        ({"packet_loss": {"lost": [0.5, 1]}}, "must lie within 0 and 0.9"),
        ({"packet_loss": {"lost": [0.1, 0.8]}}, "lost 0.8 must be at most 0.67 with bursts of 2"),
        ({"band_limit": {"high_hz": [0, 3000]}}, "must be greater than 0"),
        ({"band_limit": {"low_hz": [300, 3000]}}, "must lie below high_hz"),
        ({"band_limit": {"share": 1.5}}, "less than or equal to 1"),
    ],
)
def test_invalid_ranges_are_rejected(given, said):
    with pytest.raises((ValidationError, ValueError)) as error:
        DegradationSettings.model_validate(given)
    assert said in str(error.value)


def test_degradations_are_described_in_words(table):
    drawn = {
        "band_limit": {"high_hz": 3400.0, "low_hz": 300.0},
        "clipping": {"db": 6.0},
        "quantisation": {"bits": 8},
        "codec": {"name": "opus", "kbit_s": 24.0},
        "packet_loss": {"lost": 0.05, "packet_ms": 20, "burst": 2, "seed": 0},
    }
    assert describe(drawn) == (
        "300 to 3400 Hz, clipped by 6 dB, 8 bits, opus at 24 kbit/s, 5 % of packets lost"
    )
    assert describe({"codec": {"name": "vorbis", "quality": 0.3}}) == "vorbis of quality 0.3"
    assert describe({"codec": {"name": "gsm"}}) == "gsm" and describe({}) == ""
    clipped = table["degradations"].str.contains("clipping")
    assert f"{100 * clipped.mean():.0f} % clipped" in conditions(table).split("; ")


def test_a_band_limit_above_half_the_sample_rate_is_rejected():
    limit = {"share": 0.5, "high_hz": [3000, 7000]}
    with pytest.raises(UserError, match="high_hz .* reaches beyond 4000 Hz, half of the sample"):
        plan(set={"mixing.degradations.band_limit": limit})
    with pytest.raises(UserError, match="test_sets.test.degradations.band_limit.high_hz"):
        plan(set={"test_sets.test.degradations.band_limit": limit})
    assert plan(set={"mixing.degradations.band_limit": {**limit, "high_hz": [2000, 4000]}})
