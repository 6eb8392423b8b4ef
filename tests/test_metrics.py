"""Metrics against closed forms and published end points; failures are statuses, not numbers."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
from conftest import hiss, tone_speech
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import toeplitz
from scipy.signal import resample_poly

from denoise.evaluation.conditions import by_condition, main_effects, snr_condition
from denoise.evaluation.leaderboard import leaderboard
from denoise.evaluation.statistics import holm
from denoise.metrics import signal
from denoise.metrics.composite import (
    _band_levels,
    composite,
    log_likelihood_ratio,
    weighted_spectral_slope,
)
from denoise.metrics.pesq import pesq
from denoise.metrics.registry import SCORED, score_utterance
from denoise.metrics.sdr import high_passed, si_sdr, si_sdr_above, unlike
from denoise.metrics.signal import frames_of, segmental_snr
from denoise.metrics.stoi import stoi_and_estoi
from denoise.metrics.validity import Undefined

RATE = 16000


@pytest.fixture(scope="module")
def speech():
    return tone_speech(3, RATE, 0)


def orthogonal_noise(clean: np.ndarray, snr: float) -> np.ndarray:
    noise = np.random.default_rng(0).standard_normal(len(clean))
    noise -= np.dot(noise, clean) / np.dot(clean, clean) * clean
    return noise * np.linalg.norm(clean) / np.linalg.norm(noise) * 10 ** (-snr / 20)


@settings(max_examples=20, deadline=None)
@given(snr=st.floats(-20, 40), gain=st.floats(0.05, 4))
def test_snr_and_si_sdr_have_their_closed_form(speech, snr, gain):
    clean = speech.astype(np.float64)
    estimate = clean + orthogonal_noise(clean, snr)
    assert signal.snr(clean, estimate) == pytest.approx(snr, abs=1e-3)
    # Noise orthogonal to the signal leaves SI-SDR equal to the SNR, at any gain.
    assert si_sdr(clean, gain * estimate) == pytest.approx(snr, abs=1e-3)


def test_segmental_snr_of_a_scaled_signal_equals_its_frame_snr():
    clean = np.random.default_rng(0).standard_normal(RATE)
    # The error is 0.1 of the signal in every frame: 20 dB. Ten times the signal: -19 dB, limited.
    assert segmental_snr(clean, 1.1 * clean, RATE) == pytest.approx(20, abs=1e-6)
    assert segmental_snr(clean, 10 * clean, RATE) == pytest.approx(-10)
    assert segmental_snr(clean, 1.0001 * clean, RATE) == pytest.approx(35)


def test_pesq_of_identical_signals_is_the_published_maximum(speech):
    # P.862.1 and P.862.2 map the raw score 4.5 to these.
    narrow = 0.999 + 4 / (1 + np.exp(-1.4945 * 4.5 + 4.6607))
    wide = 0.999 + 4 / (1 + np.exp(-1.3669 * 4.5 + 3.8224))
    assert pesq(speech, speech, RATE, "nb") == pytest.approx(narrow, abs=1e-3)
    assert pesq(speech, speech, RATE, "wb") == pytest.approx(wide, abs=1e-3)


def torch_randn(seed: int, count: int) -> np.ndarray:
    """What ``torch.manual_seed(seed); torch.randn(count)`` gives on a CPU: Box-Muller over blocks
    of 16 uniform numbers of 24 bits from the Mersenne Twister."""
    bits = np.random.MT19937()
    bits._legacy_seeding(seed)
    uniform = (bits.random_raw(count) & 0xFFFFFF).astype(np.float32) / np.float32(1 << 24)
    first, second = uniform.reshape(-1, 2, 8).transpose(1, 0, 2)
    radius, angle = np.sqrt(-2 * np.log(1 - first)), 2 * np.pi * second
    blocks = np.concatenate([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
    return blocks.ravel().astype(np.float32)


# Printed in the documentation of torchmetrics: versions 0.9 (seed 1) and 1.9 (seed 42) of
# perceptual_evaluation_speech_quality and short_time_objective_intelligibility.
@pytest.mark.parametrize(
    ("seed", "narrow", "wide", "intelligibility"),
    [(1, 2.2076, 1.7359, -0.0100), (42, 2.2885, 1.6805, -0.084)],
)
def test_pesq_and_stoi_have_their_published_values(seed, narrow, wide, intelligibility):
    estimate, clean = np.split(torch_randn(seed, 16_000), 2)
    assert pesq(clean, estimate, 8_000, "nb") == pytest.approx(narrow, abs=5e-5)
    assert pesq(clean, estimate, 16_000, "wb") == pytest.approx(wide, abs=5e-5)
    assert stoi_and_estoi(clean, estimate, 8_000)[0] == pytest.approx(intelligibility, abs=3e-4)


def test_stoi_is_one_for_identical_signals_and_falls_with_noise(speech):
    noise = hiss(3, RATE, 1)
    values = [stoi_and_estoi(speech, speech + gain * noise, RATE) for gain in (0, 0.3, 1, 3)]
    assert values[0] == pytest.approx((1, 1), abs=1e-6)
    assert values == sorted(values, reverse=True)
    assert all(extended < plain for plain, extended in values[1:])


@pytest.mark.parametrize("rate", [8_000, 10_000, 16_000, 44_100])
def test_stoi_and_estoi_match_pystoi_with_a_single_resampling(rate):
    from pystoi import stoi

    clean = tone_speech(2, rate, 3)
    estimate = 0.5 * clean + hiss(2, rate, 4)
    expected = [stoi(clean, estimate, rate, extended=extended) for extended in (False, True)]
    assert stoi_and_estoi(clean, estimate, rate) == pytest.approx(expected, abs=1e-9)


def test_stoi_with_digital_silence_is_deterministic(speech):
    estimate = np.where(np.arange(len(speech)) % (RATE // 2) < RATE // 4, speech, 0)
    np.random.seed(1)  # noqa: NPY002
    first = stoi_and_estoi(speech, estimate, RATE)
    drawn = np.random.random()  # noqa: NPY002
    assert stoi_and_estoi(speech, estimate, RATE) == first
    np.random.seed(1)  # noqa: NPY002
    assert np.random.random() == drawn  # noqa: NPY002


def test_stoi_is_undefined_for_mostly_silent_speech():
    clean = tone_speech(2, RATE, 3)
    clean[RATE // 4 :] *= 1e-4
    with pytest.raises(Undefined, match=r"less than 0\.4 s of it is not silent"):
        stoi_and_estoi(clean, clean, RATE)


def test_log_likelihood_ratio_of_known_predictors_is_exact():
    """Against the definition, computed with full matrices for one frame of filtered noise."""
    rng = np.random.default_rng(0)
    clean, other = rng.standard_normal(480), np.cumsum(rng.standard_normal(480)) * 0.1
    window = np.hanning(482)[1:-1]

    def predictor(frame):
        r = np.correlate(frame, frame, "full")[479 : 479 + 17]
        r[0] += 1e-10
        a = np.linalg.solve(toeplitz(r[:-1]), r[1:])
        return np.concatenate([[1], -a]), toeplitz(r)

    a_clean, matrix = predictor(clean * window)
    a_other, _ = predictor(other * window)
    expected = np.log((a_other @ matrix @ a_other) / (a_clean @ matrix @ a_clean))
    assert log_likelihood_ratio(clean, other, RATE) == pytest.approx(expected, rel=1e-6)


def test_identical_signals_have_zero_distances_and_maximal_composites(speech):
    assert log_likelihood_ratio(speech, speech, RATE) == pytest.approx(0, abs=1e-9)
    assert weighted_spectral_slope(speech, speech, RATE) == pytest.approx(0, abs=1e-9)
    top = composite(speech, speech, RATE, 4.64)
    assert top["csig"] == 5 and top["covl"] == 5


def test_composites_follow_the_published_regression(speech, monkeypatch):
    # Worked by hand from Hu & Loizou's coefficients with LLR 1, WSS 20, segmental SNR 5, PESQ 2.5.
    monkeypatch.setattr("denoise.metrics.composite.log_likelihood_ratio", lambda *signals: 1.0)
    monkeypatch.setattr("denoise.metrics.composite.weighted_spectral_slope", lambda *signals: 20.0)
    monkeypatch.setattr("denoise.metrics.composite.segmental_snr", lambda *signals: 5.0)
    got = composite(speech, 0.5 * speech, RATE, 2.5)
    assert got == pytest.approx({"csig": 3.3915, "cbak": 3.004, "covl": 2.9545})


def test_spectral_slope_distance_of_a_constant_tilt_is_its_squared_slope(speech, monkeypatch):
    # With the same difference of slopes in every band, the weights cancel out.
    levels = _band_levels(frames_of(speech, RATE), RATE)
    tilted = levels + 1.5 * np.arange(levels.shape[1])
    given = iter([levels, tilted])
    monkeypatch.setattr("denoise.metrics.composite._band_levels", lambda frames, rate: next(given))
    assert weighted_spectral_slope(speech, speech, RATE) == pytest.approx(1.5**2)


@pytest.mark.parametrize(
    ("clean", "estimate", "said"),
    [
        (np.zeros(RATE), tone_speech(1, RATE, 0), "silent reference"),
        (tone_speech(1, RATE, 0), np.zeros(RATE), "silent estimate"),
        (tone_speech(0.02, RATE, 0), hiss(0.02, RATE, 0), "shorter than"),
        (tone_speech(1, RATE, 0), np.full(RATE, np.nan), "NaN"),
    ],
)
def test_unscorable_signals_get_a_status_and_nan_scores(clean, estimate, said):
    row = score_utterance(clean.astype(np.float32), estimate.astype(np.float32), RATE)
    assert said in row["status"]
    assert np.isnan(row["pesq_wb"]) and np.isnan(row["stoi"])


def test_other_sample_rates_are_resampled_to_a_pesq_rate():
    clean = tone_speech(2, 44_100, 3)
    estimate = clean + 0.1 * hiss(2, 44_100, 4)
    row = score_utterance(clean, estimate, 44_100)
    assert row["status"] == "ok"
    low = [resample_poly(wave, 160, 441).astype(np.float32) for wave in (clean, estimate)]
    assert row["pesq_wb"] == pytest.approx(pesq(*low, 16_000, "wb"), abs=0.05)


def test_missing_wide_band_pesq_at_8_khz_is_not_a_failure():
    clean = tone_speech(2, 8000, 0)
    row = score_utterance(clean, clean + 0.05 * hiss(2, 8000, 1), 8000)
    assert row["status"] == "ok" and np.isnan(row["pesq_wb"]) and row["pesq_nb"] > 1


def test_si_sdr_above_80_hz_ignores_rumble():
    """A tone of 20 Hz in the reference, which the estimate lacks, decides SI-SDR alone."""
    rng = np.random.default_rng(0)
    time = np.arange(4 * RATE) / RATE
    speech = tone_speech(4, RATE, 0)
    rumble = 2 * speech.std() * np.sqrt(2) * np.sin(2 * np.pi * 20 * time)
    error = 0.1 * speech.std() * rng.normal(size=len(speech))
    everywhere = si_sdr(speech + rumble, speech + error)
    # The projection onto both leaves a fifth of the energy: 10 log10(1 / 4).
    assert everywhere == pytest.approx(10 * np.log10(0.2 / 0.8), abs=0.1)
    above = si_sdr_above(speech + rumble, speech + error, RATE)
    assert above == pytest.approx(si_sdr_above(speech, speech + error, RATE), abs=0.01)
    assert above == pytest.approx(20, abs=0.2)
    assert unlike(everywhere, above) and not unlike(above, above + 1)


@pytest.mark.parametrize("corner", [80.0, 300.0])
def test_the_high_pass_gain_matches_its_formula(corner):
    """A Butterworth filter of fourth order, twice: 1 / (1 + (corner / f)^8) of the amplitude."""
    time = np.arange(4 * RATE) / RATE
    for ratio in (0.5, 1, 2, 4):
        tone = np.sin(2 * np.pi * corner * ratio * time)
        found = high_passed(tone, RATE, corner)[RATE:-RATE]
        expected = 1 / (1 + ratio**-8)
        assert np.sqrt(2) * found.std() == pytest.approx(expected, rel=0.02)
        if ratio >= 1:  # and no delay
            assert np.dot(found, tone[RATE:-RATE]) / np.dot(tone, tone) * 2 == pytest.approx(
                expected, rel=0.02
            )


def test_si_sdr_above_80_hz_is_undefined_for_rumble_alone():
    rumble = 0.1 * np.sin(2 * np.pi * 5 * np.arange(2 * RATE) / RATE)
    with pytest.raises(Undefined, match="silent"):
        si_sdr_above(rumble, rumble + 0.01 * hiss(2, RATE, 0), RATE)
    short = tone_speech(0.01, RATE, 0)
    assert np.isfinite(si_sdr_above(short, short + 0.001 * hiss(0.01, RATE, 0), RATE))


def test_holm_correction_matches_a_textbook_example():
    # Holm (1979): 0.01 x4, 0.02 x3, 0.03 x2, 0.04 x1, kept monotone.
    assert holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])


def grid_scores(seeds=(0, 1)) -> pd.DataFrame:
    """Scores of a 2 x 3 grid whose settings add to the level of each utterance."""
    rng = np.random.default_rng(0)
    base = {f"u{k}": rng.normal(5, 2) for k in range(12)}
    rows = []
    for loss, loss_effect in (("huber", 1.0), ("mse", -1.0)):
        for level, level_effect in (("low", -3.0), ("mid", 0.5), ("high", 2.5)):
            for seed, number in itertools.product(seeds, range(12)):
                row = dict.fromkeys(SCORED, 1.0)
                about = {"split": "test", "recording": "r", "sex": "F", "noise_type": "rain",
                         "snr_target": 0.0, "snr_input": 0.0, "status": "ok"}  # fmt: skip
                row["si_sdr"] = base[f"u{number}"] + loss_effect + level_effect + (seed - 0.5)
                rows.append({**about, **row, "method": f"{loss}-{level}", "seed": seed,
                             "test_set": "test", "id": f"u{number}",
                             "speaker": f"s{number % 4}"})  # fmt: skip
    return pd.DataFrame(rows)


def test_main_effects_of_an_additive_grid_are_recovered():
    scores = grid_scores()
    swept = {
        f"{loss}-{level}": {"training.loss": loss, "mixing.level": level}
        for loss in ("huber", "mse")
        for level in ("low", "mid", "high")
    }
    effects = main_effects(scores, swept, ["si_sdr"])
    found = effects.set_index(["setting", "value"])
    for (setting, value), expected in {
        ("training.loss", "huber"): 1.0, ("training.loss", "mse"): -1.0,
        ("mixing.level", "low"): -3.0, ("mixing.level", "mid"): 0.5, ("mixing.level", "high"): 2.5,
    }.items():  # fmt: skip
        row = found.loc[(setting, value)]
        assert row["effect"] == pytest.approx(expected)
        # Alike for every utterance: only the seeds differ, by 1 dB, whose variance of 1/2 has one
        # degree of freedom from each of 6 variants.  The squared weights of the variants sum up
        # to 1/6 for an effect of two, and to 1/3 for one of three.
        half = 2.4469 * np.sqrt(0.5 / 2 * (1 / 6 if setting == "training.loss" else 1 / 3))
        assert row["ci_high"] - expected == pytest.approx(half, rel=1e-4)
        assert row["ci_low"] - expected == pytest.approx(-half, rel=1e-4)
        assert row["claim"] == "not shown" and row["seeds"] == 2
        assert row["variants"] == (3 if setting == "training.loss" else 2)
    of_huber = scores[scores["method"].str.startswith("huber")]
    assert found.loc[("training.loss", "huber"), "mean"] == pytest.approx(of_huber["si_sdr"].mean())


def test_failed_utterances_are_counted_and_not_averaged():
    base = dict.fromkeys(SCORED, 1.0)
    about = {
        "split": "validation",
        "recording": "r",
        "sex": "F",
        "noise_type": "rain",
        "snr_target": 0.0,
        "snr_input": 0.0,
    }
    rows = []
    for method, shift in (("v", 2.0), ("noisy", 0.0)):
        for number in range(4):
            row = {**about, **base, "method": method, "seed": 0, "test_set": "test",
                   "id": f"u{number}", "speaker": f"s{number}", "status": "ok"}  # fmt: skip
            row["si_sdr"] = number + shift
            if method == "v" and number == 3:
                row |= {"si_sdr": np.nan, "status": "si_sdr: silent estimate"}
            rows.append(row)
    board = leaderboard(pd.DataFrame(rows), ["v"]).set_index("variant")
    assert board.loc["v", "si_sdr"] == 3.0 and board.loc["v", "n_failed"] == 1
    assert board.loc["noisy", "kind"] == "baseline" and board.loc["v", "kind"] == "variant"
    assert set(board["split"]) == {"validation"}


def conditions() -> pd.DataFrame:
    """Four utterances of two speakers: the method gains 1 to 4 dB."""
    rows = [(f"u{k}", method, f"s{k % 2}", 5.0 * (k // 2), k + gain)
            for k in range(4) for method, gain in (("noisy", 0.0), ("m", k + 1.0))]  # fmt: skip
    names = ["id", "method", "speaker", "snr_target", "si_sdr"]
    return pd.DataFrame(rows, columns=names).assign(snr_input=1.0, seed=0)


def test_condition_means_use_only_the_utterances_of_the_condition():
    table = conditions()
    snrs = snr_condition(table)
    found = by_condition(table, "si_sdr", snrs).set_index(["method", "condition"])
    assert found.loc[("m", 0.0), "mean"] == 2.0 and found.loc[("noisy", 5.0), "mean"] == 2.5
    gains = by_condition(table, "si_sdr", snrs, gain=True).set_index("condition")
    assert list(gains["mean"]) == [1.5, 3.5] and list(gains["n"]) == [2, 2]
    # Two speakers: the half width is Student's quantile of one degree of freedom, 12.706, times
    # the standard error, half of their difference.
    assert list(gains["low"]) == pytest.approx([1.5 - 6.353, 3.5 - 6.353], abs=1e-3)
    table.loc[(table["id"] == "u0") & (table["method"] == "m"), "si_sdr"] = np.nan
    gains = by_condition(table, "si_sdr", snrs, gain=True).set_index("condition")
    assert gains.loc[0.0, "mean"] == 2.0 and gains.loc[0.0, "n"] == 1


def test_continuous_snrs_are_reported_in_bins_of_5_db():
    table = conditions().assign(snr_target=np.nan)
    table["snr_input"] = table["id"].map({"u0": -0.1, "u1": 0.0, "u2": 4.9, "u3": np.inf})
    found = snr_condition(table)
    assert found.to_dict() == {"u0": -2.5, "u1": 2.5, "u2": 2.5}
