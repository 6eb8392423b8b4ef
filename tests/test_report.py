"""What the report says in words, and which utterances it plays."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from denoise import report
from denoise.report import figures


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


def history(variant: str, loss: str, **columns: list[float]) -> pd.DataFrame:
    table = pd.DataFrame({"epoch": [1, 2], "loss": [2.0, 1.0], "val_loss": [2.5, 1.5], **columns})
    return table.assign(variant=variant, seed=0, loss_name=loss)


def test_losses_that_cannot_be_compared_have_a_row_of_curves_each():
    histories = [history("a", "mse", val_mae=[3, 2]), history("b", "bce"), history("c", "mse")]
    figure = figures.learning_curves(pd.concat(histories, ignore_index=True))
    labels = [axis.get_ylabel() for axis in figure.axes if axis.get_visible()]
    assert labels == ["training mse", "validation mse", "training bce", "validation bce",
                      "validation mae"]  # fmt: skip
    drawn = [
        sum(np.isfinite(line.get_ydata()).any() for line in axis.lines) for axis in figure.axes
    ]
    assert drawn[:5] == [2, 2, 1, 1, 1]


def test_the_loss_without_penalties_is_that_of_the_best_epoch():
    histories = pd.concat([history("a", "mse", val_mse=[0.3, 0.2]), history("b", "mse")])
    card = {"variant": "a", "seed": 0, "best_epoch": 2, "training": {"loss": "mse"}}
    assert report._without_penalty({**card, "network": {"l2": 1e-4}}, histories) == 0.2
    assert report._without_penalty({**card, "network": {"l2": 0}}, histories) is None
    assert report._without_penalty({**card, "network": {}}, histories) is None


def test_errors_in_different_scalings_have_no_best():
    features = {"stft": {}, "bins": None, "reference": "window", "floor_db": -80,
                "target": "noise", "target_scaling": {"divide": 82}, "cache": True}  # fmt: skip
    other = {**features, "target_scaling": {"divide": 41}}
    cached = {**features, "cache": False}
    for second, said in ((cached, True), (other, False)):
        variants = {"a": {"recipe": {"features": features}}, "b": {"recipe": {"features": second}}}
        assert report._one_scaling({"variants": variants}) is said


def test_settings_are_told_as_a_person_would_write_them():
    assert report._plain({"compressed_spectral": 1, "si_sdr": 0.003}) == (
        "compressed_spectral 1, si_sdr 0.003"
    )
    assert report._plain([0.5, 2.0]) == "0.5 … 2" and report._plain("adamw") == "adamw"
