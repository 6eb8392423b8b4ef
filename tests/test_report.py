"""What the report says in words, and which utterances it plays."""

from __future__ import annotations

import pandas as pd
import pytest

from denoise import report


@pytest.mark.parametrize(
    ("p_value", "low", "said"),
    [
        (0.01, 0.2, "0.50 dB, which is significant (95 % interval 0.20 to 0.80 dB"),
        (0.26, 0.2, "0.50 dB, which is not certain, as the interval over speakers and the test"),
        (0.01, -0.1, "0.50 dB, which is not certain, as the interval over speakers and the test"),
        (0.26, -0.1, "0.50 dB, which is not significant (95 % interval -0.10 to 0.80 dB"),
    ],
)
def test_a_lead_is_significant_only_if_interval_and_test_agree(p_value, low, said):
    board = pd.DataFrame(
        [("noisy", "baseline", 1.0), ("worse", "variant", 5.0), ("better", "variant", 5.5)],
        columns=["variant", "kind", "si_sdr"],
    ).assign(test_set="test", pesq_nb=2.0, pesq_wb=float("nan"))
    pair = {"test_set": "test", "metric": "si_sdr", "first": "worse", "second": "better",
            "difference": -0.5, "ci_low": -0.8, "ci_high": -low, "p_holm": p_value}  # fmt: skip
    text = report._verdict(board, pd.DataFrame([pair]), "test")
    assert text.startswith("better has the highest SI-SDR, 5.5 dB (+4.5 dB over the noisy input)")
    assert said in text
    board.loc[len(board)] = ["louder", "baseline", 7.0, "test", 2.0, float("nan")]
    text = report._verdict(board, pd.DataFrame([pair]), "test")
    assert "the highest SI-SDR of the variants" in text and "louder has more, 7.0 dB" in text


@pytest.mark.parametrize("count", [3, 4, 5])
def test_the_best_the_median_and_the_worst_are_always_played(count):
    rows = [(f"u{k:02d}", method, gain) for k in range(11) for method, gain in
            (("noisy", 0.0), ("v", float(k)))]  # fmt: skip
    table = pd.DataFrame(rows, columns=["id", "method", "si_sdr"])
    chosen = {label.split(" ")[0]: name for label, name in
              report.example_ids(table, "v", count).items()}  # fmt: skip
    assert (chosen["best"], chosen["median"], chosen["worst"]) == ("u10", "u05", "u00")
