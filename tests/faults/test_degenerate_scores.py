"""Signals that a metric is not defined for: a status, and never a wrong number."""

from __future__ import annotations

import math

import numpy as np
import pytest
from conftest import hiss, tone_speech

from denoise.metrics.registry import METRICS, score_utterance

RATE = 16_000
SPEECH = tone_speech(2.0, RATE, 1).astype(np.float64)
NOISY = SPEECH + 0.02 * hiss(2.0, RATE, 1)
SILENCE = np.zeros(len(SPEECH))


def scored(clean: np.ndarray, estimate: np.ndarray) -> dict[str, float | str]:
    values = score_utterance(clean.astype(np.float32), estimate.astype(np.float32), RATE)
    for name in METRICS:
        value = values[name]
        assert math.isnan(value) or math.isfinite(value), name
        # What the libraries give instead of an error.
        if name in ("pesq_wb", "pesq_nb"):
            assert math.isnan(value) or 1.0 <= value <= 4.65, value
        if name in ("stoi", "estoi"):
            assert math.isnan(value) or value not in (0.0, 1e-5)
        if math.isnan(value) and name != "mse_spec":
            assert values["status"] != "ok", name
    return values


@pytest.mark.parametrize(
    ("clean", "estimate", "undefined"),
    [
        (SILENCE, NOISY, {"si_sdr", "snr", "pesq_wb", "stoi"}),
        (SPEECH, SILENCE, {"si_sdr", "pesq_wb", "stoi"}),
        (SILENCE, SILENCE, {"si_sdr", "snr", "pesq_wb", "stoi"}),
        (SPEECH[:320], NOISY[:320], {"pesq_wb", "stoi"}),
        (SPEECH[:3200], NOISY[:3200], {"pesq_wb", "stoi"}),
        (SPEECH[:1], NOISY[:1], {"pesq_wb", "stoi"}),
        (SPEECH[:0], NOISY[:0], {"si_sdr", "snr", "pesq_wb", "stoi"}),
        (np.full(RATE, 0.1), NOISY[:RATE], {"si_sdr", "snr", "pesq_wb", "stoi"}),
        (SPEECH, np.full(len(SPEECH), 0.1), {"si_sdr", "snr", "pesq_wb", "stoi"}),
        (SPEECH, -SPEECH, {"si_sdr"}),
        (SPEECH, -0.3 * NOISY, {"si_sdr"}),
        (1e-30 * SPEECH, NOISY, set()),
        (SPEECH, 1e-30 * NOISY, set()),
        (1e4 * SPEECH, NOISY, set()),
    ],
    ids=["silent reference", "silent output", "both silent", "20 ms", "0.2 s", "one sample", "none",
         "constant reference", "constant output", "turned over", "noisy and turned over",
         "almost silent reference", "almost silent output", "loud reference"],
)  # fmt: skip
def test_undefined_metrics_are_nan_and_explained_in_the_status(
    fault_class, clean, estimate, undefined
):
    with fault_class("metrics: undefined"):
        values = scored(clean, estimate)
        for name in undefined:
            assert math.isnan(values[name]), (name, values[name])
        if undefined:
            assert values["status"] != "ok" and "\n" not in str(values["status"])


def test_identical_signals_get_the_best_possible_scores(fault_class):
    with fault_class("metrics: identical"):
        values = scored(SPEECH, SPEECH)
        # The top of the mapping of ITU-T P.862.2.
        assert values["pesq_wb"] == pytest.approx(
            0.999 + 4 / (1 + math.exp(-1.3669 * 4.5 + 3.8224))
        )
        assert values["stoi"] == pytest.approx(1)
        assert math.isnan(values["si_sdr"]) or values["si_sdr"] > 100


@pytest.mark.parametrize("gain", [0.01, 0.5, 10.0])
def test_a_gain_changes_only_level_dependent_metrics(fault_class, gain):
    with fault_class("metrics: level"):
        before, after = scored(SPEECH, NOISY), scored(SPEECH, gain * NOISY)
        assert after["si_sdr"] == pytest.approx(before["si_sdr"], abs=1e-3)
        assert after["pesq_wb"] == pytest.approx(before["pesq_wb"], abs=0.05)
        assert after["stoi"] == pytest.approx(before["stoi"], abs=1e-3)
        assert after["snr"] < before["snr"] - 1


@pytest.mark.parametrize("delay", [1, 160, 1600])
def test_a_delay_lowers_sample_based_metrics(fault_class, delay):
    with fault_class("metrics: delay"):
        late = np.concatenate([np.zeros(delay), NOISY[:-delay]])
        before, after = scored(SPEECH, NOISY), scored(SPEECH, late)
        assert after["si_sdr"] < before["si_sdr"] - 3
        assert after["status"] == "ok"


def test_signals_of_different_lengths_are_not_compared(fault_class):
    with fault_class("metrics: lengths"), pytest.raises(ValueError, match="samples"):
        score_utterance(SPEECH, NOISY[:-1], RATE)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_non_finite_signals_have_no_scores(fault_class, value):
    with fault_class("metrics: not finite"):
        spoilt = NOISY.copy()
        spoilt[100] = value
        for pair in ((SPEECH, spoilt), (spoilt, SPEECH)):
            values = scored(*pair)
            assert all(math.isnan(values[name]) for name in ("si_sdr", "pesq_wb", "stoi"))
