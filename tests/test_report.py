"""What the report says in words, and which utterances it plays."""

from __future__ import annotations

import base64
import io
import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
from made import files_of_test_set, model_card, write_record

from denoise.core import files
from denoise.core.tables import write_table
from denoise.networks.card import ModelFolder
from denoise.report import background, figures, listening, pages, sections
from denoise.report.answer import summary
from denoise.report.build import _shared_start


def answer(board: pd.DataFrame, pairs: pd.DataFrame, speakers: int = 4) -> dict[str, object]:
    costs = {"minutes": 3.0, "parameters": 1000.0, "rtf": 0.02}
    drawn = figures.styles(board["variant"])
    return summary(board.assign(n=96, **costs), pairs, drawn, {"test": speakers})


@pytest.mark.parametrize(
    ("p_value", "low", "said", "headline"),
    [
        (0.01, 0.2, "0.50 dB, which is significant (95 % interval 0.20 to 0.80 dB", "better wins"),
        (0.26, 0.2, "0.50 dB, which is not certain, as the interval over speakers and the test",
         "better leads, but not significantly"),
        (0.01, -0.1, "0.50 dB, which is not certain, as the interval over speakers and the test",
         "better leads, but not significantly"),
        (0.26, -0.1, "0.50 dB, which is not significant (95 % interval -0.10 to 0.80 dB",
         "better leads, but not significantly"),
    ],
)  # fmt: skip
def test_a_lead_is_significant_only_if_interval_and_test_agree(p_value, low, said, headline):
    board = pd.DataFrame(
        [("noisy", "baseline", 1.0), ("worse", "variant", 5.0), ("better", "variant", 5.5)],
        columns=["variant", "kind", "si_sdr"],
    ).assign(test_set="test", pesq_nb=2.0, pesq_wb=float("nan"), stoi=0.9)
    pair = {"test_set": "test", "metric": "si_sdr", "first": "worse", "second": "better",
            "difference": -0.5, "ci_low": -0.8, "ci_high": -low, "p_holm": p_value}  # fmt: skip
    pesq = {**pair, "metric": "pesq_nb", "difference": 0.02, "ci_low": 0.01, "ci_high": 0.03}
    found = answer(board, pd.DataFrame([pair, pesq]))
    assert "In PESQ-NB the difference is -0.020: " in found["verdict"]
    assert found["over"] == "96 utterances of 4 speakers"
    one = answer(board, pd.DataFrame([pair, pesq]), speakers=1)
    assert "which is significant" not in one["verdict"]
    assert ("all utterances are of one speaker" in one["verdict"]) == (p_value < 0.05 or low > 0)
    assert found["verdict"].startswith(
        "better has the highest SI-SDR, 5.5 dB (+4.5 dB over the noisy input)"
    )
    assert said in found["verdict"] and found["headline"] == headline
    facts = {name: value for name, value, _ in found["facts"]}
    assert facts["Lead over worse"] == "+0.50 dB" and facts["Training"] == "3.0 min"
    assert facts["Use"] == "0.020 RTF"
    board.loc[len(board)] = ["louder", "baseline", 7.0, "test", 2.0, float("nan"), 0.9]
    found = answer(board, pd.DataFrame([pair, pesq]))
    assert "the highest SI-SDR of the variants" in found["verdict"]
    assert "louder has more, 7.0 dB" in found["verdict"]
    assert found["headline"] == "better is the best variant; the baseline louder is better"


def gains(**methods: list[float]) -> pd.DataFrame:
    """Utterances u00, u01, … with an SI-SDR of 0 dB before, and these after."""
    count = len(next(iter(methods.values())))
    rows = [(f"u{k:02d}", method, values[k]) for k in range(count)
            for method, values in {"noisy": [0.0] * count, **methods}.items()]  # fmt: skip
    return pd.DataFrame(rows, columns=["id", "method", "si_sdr"])


@pytest.mark.parametrize("count", [3, 4, 5])
def test_the_best_the_median_and_the_worst_are_always_played(count):
    chosen = listening.chosen(gains(v=list(map(float, range(11)))), ["v"], count)
    first = {reasons[0].split(" ")[0]: name for name, reasons in chosen.items()}
    assert (first["best"], first["median"], first["worst"]) == ("u10", "u05", "u00")
    assert len(chosen) == count


def test_of_other_variants_the_worst_is_played_once():
    table = gains(a=[1, 2, 3, 4, 5], b=[5, 4, 3, 2, 1], c=[0, 9, 9, 9, 9])
    chosen = listening.chosen(table, ["a", "b", "c"], 3)
    assert list(chosen) == ["u00", "u02", "u04"]
    assert chosen["u00"] == ["worst of a (+1.0 dB SI-SDR)", "worst of c (+0.0 dB SI-SDR)"]
    assert chosen["u04"] == ["best of a (+5.0 dB SI-SDR)", "worst of b (+1.0 dB SI-SDR)"]


def test_signals_are_played_with_their_speech_at_one_level():
    rng = np.random.default_rng(0)
    clean, noise = rng.normal(0, 0.05, (2, 20_000))
    noise -= clean * (clean @ noise) / (clean @ clean)
    waves = {"noisy": clean + 3 * noise, "quiet": 0.5 * clean, "clean": clean}
    levelled = listening.same_level(waves)
    for wave in levelled.values():
        gain = (wave @ levelled["clean"]) / (levelled["clean"] @ levelled["clean"])
        assert gain == pytest.approx(1, abs=1e-5)
    assert np.abs(levelled["noisy"]).max() <= 0.991
    # All by one factor: one that clips makes the others quieter too.
    loud = listening.same_level({"noisy": clean * 40, "clean": clean * 40})
    assert np.abs(loud["clean"]).max() == pytest.approx(0.99, abs=1e-4)
    nothing = listening.same_level({"silent": np.zeros(100), "clean": np.ones(100) * 0.1})
    assert not nothing["silent"].any()


def test_what_is_wrong_with_an_output_is_told_by_what_it_is_made_of():
    rng = np.random.default_rng(1)
    # Orthogonal and of one power, so that every ratio is that of the factors.
    clean, noise, other = np.linalg.qr(rng.normal(0, 1, (5_000, 3)))[0].T
    noisy = clean + noise
    assert listening.faults(clean, noisy, clean + 0.5 * noise).startswith(
        "mostly residual noise (SIR 6.0 dB"
    )
    both = listening.faults(clean, noisy, clean + 0.5 * noise + 0.5 * other)
    assert both == "residual noise and artefacts alike (SIR 6.0 dB, SAR 7.0 dB)"
    assert "artefacts and lost speech (SAR 6.0 dB" in listening.faults(
        clean, noisy, clean + 0.5 * other
    )
    assert listening.faults(clean, noisy, 0.25 * clean + 0.1 * noise).startswith(
        "speech attenuated by 12 dB, mostly residual noise (SIR 8.0 dB"
    )
    assert listening.faults(clean, noisy, np.zeros(5_000)) == "silence"


def test_audio_that_is_too_much_without_loss_is_compressed_and_then_left_out(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(2)
    folder = tmp_path / "stage"
    folder.mkdir()
    for name in ("noisy", "clean"):
        np.save(folder / f"{name}.npy", rng.normal(0, 0.1, 32_000).astype(np.float32))
    files.write_json(folder / "manifest.json", {"rate": 8000})
    about = {"samples": 16_000, "speaker": "s", "noise_type": "rain", "snr": 0.0}
    table = pd.DataFrame([{"id": f"u{k}", "offset": 16_000 * k, **about} for k in range(2)])
    write_table(folder / "mixtures.csv", table)
    sound = listening.TestAudio(files_of_test_set(folder), {})
    both = {"u0": ["worst"], "u1": ["best"]}
    for budget, count, kind in ((10**6, 2, "flac"), (60_000, 2, "mpeg"), (100, 1, "mpeg")):
        shown, lossless = listening.players(sound, [], both, budget)
        assert [one["id"] for one in shown] == ["u0", "u1"][:count]
        assert lossless is (kind == "flac")
        for one in shown:
            for source in one["signals"]["sources"]:
                assert source["uri"].startswith(f"data:audio/{kind};base64,")
    content = base64.b64decode(shown[0]["signals"]["sources"][0]["uri"].split(",")[1])
    heard, rate = soundfile.read(io.BytesIO(content))
    assert rate == 8000 and len(heard) == 16_000


def test_labels_leave_out_what_all_variants_begin_with():
    names = ["noisy", "quick_loss-huber_rate-1", "quick_loss-huber_rate-2"]
    found = figures.styles(names, names[1:])
    assert [style.label for style in found.values()] == ["noisy", "rate-1", "rate-2"]
    assert _shared_start(found) == "quick_loss-huber_"
    alone = figures.styles(names[:2], names[1:2])
    assert alone[names[1]].label == names[1] and _shared_start(alone) == ""


def test_text_cannot_end_the_script_that_it_stands_in():
    text = pages.embedded_json({"name": "</script><b>"})
    assert "<" not in text and json.loads(text) == {"name": "</script><b>"}


def test_figures_take_the_colours_of_the_page_and_name_their_series():
    figure = figures.metric_by_snr(
        pd.DataFrame({"method": ["a", "a"], "condition": [0, 5], "mean": [1, 2], "low": [0, 1],
                      "high": [2, 3]}), "si_sdr", figures.styles(["a"]),
    )  # fmt: skip
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg")
    svg = pages.inline(buffer.getvalue(), 'about "this"')
    assert svg.startswith('<svg role="img" aria-label="about &#34;this&#34;"')
    assert svg.count('data-series="0"') == 2
    assert figures.INK not in svg and "currentColor" in svg and "var(--line)" in svg
    assert not re.search(r'id="(?:figure|axes|patch|text|line2d)_', svg)


def test_a_saved_figure_names_its_methods_which_the_page_does_once(tmp_path):
    rows = pd.DataFrame({"variant": ["one", "other"], "rtf": [0.01, 0.03], "si_sdr": [1.0, 2.0],
                         "si_sdr_ci_low": [0.5, 1.5], "si_sdr_ci_high": [1.5, 2.5]})  # fmt: skip
    draw = pages.Pictures(tmp_path)
    figure = figures.trade_off(rows, "si_sdr", "rtf", "RTF", figures.styles(["one", "other"]))
    shown, saved = draw.svg("cost", figure, ""), (tmp_path / "cost.svg").read_text()
    for name in ("one", "other"):
        assert f">{name}</text>" in saved and f">{name}</text>" not in shown
    # Where the axis names them already there is nothing to add.
    draw.svg("named", figures.intervals(rows, "si_sdr", figures.styles(["one", "other"])), "")
    assert (tmp_path / "named.svg").read_text().count(">other</text>") == 1


def history(variant: str, loss: str, **columns: list[float]) -> pd.DataFrame:
    table = pd.DataFrame({"epoch": [1, 2], "loss": [2.0, 1.0], "val_loss": [2.5, 1.5], **columns})
    return table.assign(variant=variant, seed=0, loss_name=loss)


def test_losses_that_cannot_be_compared_have_curves_of_their_own():
    histories = [history("a", "mse", val_mae=[3, 2]), history("b", "bce"), history("c", "mse")]
    curves = figures.learning_curves(pd.concat(histories), figures.styles(["a", "b", "c"]))
    assert {name: len(figure.axes[0].lines) for name, figure in curves.items()} == {
        "training mse": 2, "validation mse": 2, "training bce": 1, "validation bce": 1,
        "validation mae": 1,
    }  # fmt: skip
    (line,) = curves["validation bce"].axes[0].lines
    np.testing.assert_array_equal(line.get_xydata(), [[1, 2.5], [2, 1.5]])


@pytest.mark.parametrize(("l2", "expected"), [(1e-4, 0.2), (0, None)])
def test_the_loss_without_penalties_is_that_of_the_best_epoch(l2, expected):
    histories = pd.concat([history("a", "mse", val_mse=[0.3, 0.2]), history("b", "mse")])
    network = {"name": "autoencoder", "l2": l2}
    card = model_card(network=network, best_epoch=2, training={"loss": "mse"})
    one = background.TrainedModel("a", ModelFolder(Path("a")), card)
    assert background._without_penalty(one, histories) == expected


def test_errors_in_different_scalings_have_no_best(tmp_path):
    features = {"stft": {}, "bins": None, "reference": "window", "floor_db": -80,
                "target": "noise", "target_scaling": {"divide": 82}, "cache": True}  # fmt: skip
    other = {**features, "target_scaling": {"divide": 41}}
    cached = {**features, "cache": False}
    for second, said in ((cached, True), (other, False)):
        record = write_record(tmp_path, "e", {"a": Path("a"), "b": Path("b")})
        recipes = {"a": {"features": features}, "b": {"features": second}}
        variants = {name: one.model_copy(update={"recipe": recipes[name]})
                    for name, one in record.variants.items()}  # fmt: skip
        changed = record.model_copy(update={"variants": variants})
        assert sections._one_scaling(changed) is said


def test_settings_are_told_as_a_person_would_write_them():
    assert pages.plain({"compressed_spectral": 1, "si_sdr": 0.003}) == (
        "compressed_spectral 1, si_sdr 0.003"
    )
    assert pages.plain([0.5, 2.0]) == "0.5 … 2" and pages.plain("adamw") == "adamw"


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0.0013, 0.05, [0.002, 0.005, 0.01, 0.02, 0.05]),
        (0.021, 0.034, [0.025, 0.03]),
        (3e5, 1.7e6, [3e5, 4e5, 6e5, 8e5, 1e6]),
        (900, 1.1e9, [1e3, 1e5, 1e7, 1e9]),
    ],
)
def test_the_axis_of_a_cost_has_a_few_round_values(low, high, ticks):
    assert figures._round_values(low, high) == ticks


def test_quality_is_drawn_against_a_cost_only_where_that_differs(tmp_path):
    rows = pd.DataFrame({"variant": ["a", "b"], "parameters": [1000.0] * 2, "rtf": [0.01, 0.03]})
    for metric in ("si_sdr", "pesq_nb", "pesq_wb"):
        rows[metric] = rows[f"{metric}_ci_low"] = rows[f"{metric}_ci_high"] = [1.0, 2.0]
    drawn = figures.styles(["a", "b"])
    found = sections._trade_offs("test", rows, drawn, pages.Pictures(tmp_path))
    assert [figure.count("real-time factor") > 0 for figure in found] == [True, True]
    assert [path.name for path in sorted(tmp_path.iterdir())] == [
        "test-pesq_wb-by-rtf.svg", "test-si_sdr-by-rtf.svg"
    ]  # fmt: skip
