"""What the report says in words, and which utterances it plays."""

from __future__ import annotations

import base64
import gzip
import io
import itertools
import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
from made import files_of_test_set, model_card, write_record

from denoise.core import files
from denoise.core.labels import in_brief
from denoise.core.tables import write_table
from denoise.networks.card import ModelFolder
from denoise.report import background, exports, figures, listening, pages, paper, sections, tables
from denoise.report.answer import summary


def board_of(**si_sdr: tuple[str, float]) -> pd.DataFrame:
    """A leaderboard from the kind and SI-SDR of each method; PESQ is 2, STOI 0.9."""
    rows = []
    for name, (kind, value) in si_sdr.items():
        row = {"variant": name, "kind": kind, "test_set": "test", "split": "test", "n": 96,
               "minutes": 3.0, "parameters": 1000.0, "rtf": 0.02}  # fmt: skip
        measured = {"si_sdr": value, "si_sdr_80": value, "pesq_nb": 2.0, "stoi": 0.9,
                    **dict.fromkeys(("dnsmos_ovrl", "wer", "dwer"), np.nan)}  # fmt: skip
        for metric, mean in (measured | {"pesq_wb": float("nan")}).items():
            row |= {metric: mean, f"{metric}_ci_low": mean - 0.2, f"{metric}_ci_high": mean + 0.2}
        rows.append(row)
    return pd.DataFrame(rows)


def pairs_of(board: pd.DataFrame, claim: str = "settings", **about: object) -> pd.DataFrame:
    """Every pair in SI-SDR and PESQ, whose interval is 0.3 dB to both sides."""
    rows = []
    means = dict(zip(board["variant"], board["si_sdr"], strict=True))
    for first, second in itertools.combinations(sorted(means), 2):
        for metric, difference in (("si_sdr", means[first] - means[second]), ("pesq_nb", 0.02)):
            rows.append(
                {"test_set": "test", "metric": metric, "first": first, "second": second,
                 "difference": difference, "ci_low": difference - 0.3, "ci_high": difference + 0.3,
                 "p_holm": 0.26 if claim == "not shown" else 0.01, "claim": claim, "seeds": 3,
                 "speakers": 4, "agreeing": 3, "seeds_needed": 7.0,
                 "speakers_needed": 32.0, "utterances_needed": 768.0, **about}
            )  # fmt: skip
    return pd.DataFrame(rows)


def answer(board: pd.DataFrame, pairs: pd.DataFrame) -> dict[str, object]:
    return summary(board, pairs, figures.styles(board["variant"]), "test")


TWO = {"noisy": ("baseline", 1.0), "worse": ("variant", 5.0), "better": ("variant", 5.5)}


@pytest.mark.parametrize(
    ("about", "headline", "why"),
    [
        ({}, "better wins", "shown, with the same sign in 3 of 3 seeds"),
        ({"claim": "models", "seeds": 1}, "better wins, as far as single trainings show",
         "shown for these models"),
        ({"claim": "not shown"},
         "No difference is shown between better and worse",
         "not shown (would take about 7 seeds or 770 utterances of 32 speakers)"),
        ({"claim": "not shown", "p_holm": 0.01, "agreeing": 2},
         "No difference is shown between better and worse",
         "not shown, as only 2 of 3 seeds agree"),
        ({"claim": "not shown", "p_holm": 0.01, "seeds": 2},
         "No difference is shown between better and worse",
         "not shown, as 2 seeds are too few"),
    ],
)  # fmt: skip
def test_the_headline_claims_only_what_the_comparison_supports(about, headline, why):
    board = board_of(**TWO)
    found = answer(board, pairs_of(board, **about))
    assert found["headline"] == headline and found["certain"] is ("No " not in headline)
    p = "0.26" if about == {"claim": "not shown"} else "0.010"
    lead = f"Its lead over worse is +0.50 dB (95 % interval +0.20 to +0.80, p = {p}): {why}."
    assert lead in found["verdict"]
    assert found["verdict"].startswith("better has 5.50 dB SI-SDR (+4.50 dB over the noisy input)")
    # Its sign is turned where the pair stands the other way round.
    assert "In PESQ-NB the difference is +0.02 (95 % interval -0.28 to +0.32" in found["verdict"]
    one_seed = "With one seed it is unknown what another training would give" in found["verdict"]
    assert one_seed is (about.get("seeds") == 1)
    assert found["over"] == "96 utterances of 4 speakers"
    facts = {name: value for name, value, _ in found["facts"]}
    assert facts["Lead over worse"] == "+0.50 dB" and facts["Training"] == "3.0 min"
    assert facts["Use"] == "0.020 RTF" and facts["SI-SDR"] == "5.50 dB"


def test_the_first_line_says_that_a_baseline_is_better():
    board = board_of(**TWO, louder=("baseline", 7.0))
    found = answer(board, pairs_of(board))
    assert found["headline"] == (
        "The baseline louder wins: 1.5 dB SI-SDR more than the best variant, better"
    )
    assert "louder is ahead of it by +1.50 dB" in found["verdict"]
    found = answer(board, pairs_of(board, claim="not shown"))
    assert found["headline"] == (
        "No variant is ahead of the baseline louder; the best of them is better"
    )
    assert not found["certain"]


def test_the_first_line_says_that_nothing_is_better_than_the_noisy_input():
    board = board_of(**{**TWO, "noisy": ("baseline", 6.1)}, louder=("baseline", 6.0))
    found = answer(board, pairs_of(board))
    assert found["headline"] == (
        "No variant improves on the noisy input: the best, better, has 0.6 dB less SI-SDR"
    )
    assert "It is behind the noisy input by -0.60 dB" in found["verdict"]


def test_a_winner_must_be_significantly_better_than_every_variant():
    board = board_of(**TWO, third=("variant", 5.2))
    pairs = pairs_of(board)
    assert answer(board, pairs)["headline"] == "better wins"
    with_worse = (pairs["first"] == "better") & (pairs["second"] == "worse")
    pairs.loc[with_worse, "claim"] = "not shown"
    found = answer(board, pairs)
    assert found["headline"].startswith("No variant is shown to be the best; better leads by 0.30")
    assert "It is not shown to be better than worse." in found["verdict"] and not found["certain"]
    # Ahead by its mean alone, as it has no score for what is hard.
    pairs = pairs_of(board)
    pairs.loc[with_worse, "difference"] *= -1
    assert "No variant is shown to be the best" in answer(board, pairs)["headline"]


def test_a_single_variant_is_compared_with_the_noisy_input():
    board = board_of(noisy=("baseline", 1.0), only=("variant", 5.0))
    told = answer(board, pairs_of(board))["headline"]
    assert told == "only gains 4.0 dB SI-SDR over the noisy input"
    told = answer(board, pairs_of(board, claim="not shown"))["headline"]
    assert told == "only gains 4.0 dB SI-SDR, which is not shown to be an improvement"
    speaker = answer(board, pairs_of(board, speakers=1))["verdict"]
    assert "All utterances are of one speaker" in speaker


def test_the_verdict_mentions_gains_caused_by_rumble_below_80_hz():
    board = board_of(**TWO)
    assert "80 Hz" not in answer(board, pairs_of(board))["verdict"]
    board.loc[board["variant"] == "noisy", "si_sdr_80"] = 4.9
    assert (
        "Above 80 Hz, where speech is, the gain is +0.6 dB"
        in (answer(board, pairs_of(board))["verdict"])
    )
    board.loc[board["variant"] == "worse", "si_sdr_80"] = 9.0
    told = answer(board, pairs_of(board))["verdict"]
    assert "Above 80 Hz, where speech is, worse is ahead (+3.50 dB)" in told


def gains(**methods: list[float]) -> pd.DataFrame:
    """Utterances u00, u01, … with an SI-SDR of 0 dB before, and these after."""
    count = len(next(iter(methods.values())))
    rows = [(f"u{k:02d}", method, values[k]) for k in range(count)
            for method, values in {"noisy": [0.0] * count, **methods}.items()]  # fmt: skip
    return pd.DataFrame(rows, columns=["id", "method", "si_sdr"])


@pytest.mark.parametrize("count", [3, 4, 5])
def test_best_median_and_worst_utterances_are_always_playable(count):
    chosen = listening.chosen(gains(v=list(map(float, range(11)))), ["v"], count)
    first = {reasons[0].split(" ")[0]: name for name, reasons in chosen.items()}
    assert (first["best"], first["median"], first["worst"]) == ("u10", "u05", "u00")
    assert len(chosen) == count


def test_worst_utterances_of_other_variants_are_listed_once():
    table = gains(a=[1, 2, 3, 4, 5], b=[5, 4, 3, 2, 1], c=[0, 9, 9, 9, 9])
    chosen = listening.chosen(table, ["a", "b", "c"], 3)
    assert list(chosen) == ["u00", "u02", "u04"]
    assert chosen["u00"] == ["worst of a (+1.0 dB SI-SDR)", "worst of c (+0.0 dB SI-SDR)"]
    assert chosen["u04"] == ["best of a (+5.0 dB SI-SDR)", "worst of b (+1.0 dB SI-SDR)"]


def test_reasons_for_listening_have_the_labels_of_the_page():
    chosen = listening.chosen(
        gains(quick_loss=[1, 2]), ["quick_loss"], 3, {"quick_loss": "loss=mse"}
    )
    assert chosen["u00"] == ["worst of loss=mse (+1.0 dB SI-SDR)"]


def test_played_signals_have_equal_speech_levels():
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


def test_faults_of_an_output_are_named_from_its_sir_and_sar():
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


def test_audio_over_the_size_budget_becomes_mp3_and_then_is_omitted(tmp_path, monkeypatch):
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


def test_methods_are_drawn_by_their_short_names():
    found = figures.styles(["noisy", "quick_loss-huber"], {"quick_loss-huber": "loss=huber"})
    assert [style.label for style in found.values()] == ["noisy", "loss=huber"]


def test_settings_are_abbreviated():
    assert in_brief({"training.loss": "mse", "mixing.snr_range_db": [-5, 15]}) == (
        "loss=mse, snr \N{MINUS SIGN}5…15"
    )
    assert in_brief({"a.kind": "x", "b.kind": "y"}) == "a.kind=x, b.kind=y"
    assert in_brief({"training.loss": "my_losses.py:charbonnier"}) == "loss=charbonnier"
    assert in_brief({"network.filters": [8, 16, 32], "training.loss": {"mse": 1, "mae": 0.5}}) == (
        "filters=8/16/32, loss=mse 1+mae 0.5"
    )


@pytest.mark.parametrize(
    ("value", "low", "high", "told"),
    [(9.3193, 8.966, 9.673, "9.32"), (0.88583, 0.855, 0.917, "0.886"), (13.6, 1.2, 26.0, "14"),
     (-0.001, -0.2, 0.2, "0.00"), (0.00072, -0.008, 0.0094, "0.0007")],
)  # fmt: skip
def test_values_are_rounded_to_the_precision_of_their_interval(value, low, high, told):
    assert pages.number(value, low, high) == told


def test_embedded_json_cannot_close_its_script_element():
    text = pages.embedded_json({"name": "</script><b>"})
    assert "<" not in text and json.loads(text) == {"name": "</script><b>"}


def test_inline_figures_use_page_colours_and_mark_their_series():
    figure = figures.metric_by_snr(
        pd.DataFrame({"method": ["a", "a"], "condition": [0, 5], "mean": [1, 2], "low": [0, 1],
                      "high": [2, 3]}), "si_sdr", figures.styles(["a"]),
    )  # fmt: skip
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg")
    svg = exports.inline(buffer.getvalue(), 'about "this"')
    assert svg.startswith('<svg role="img" aria-label="about &#34;this&#34;"')
    assert svg.count('data-series="0"') == 2
    assert figures.INK not in svg and "currentColor" in svg and "var(--line)" in svg
    assert not re.search(r'id="(?:figure|axes|patch|text|line2d)_', svg)


def test_saved_figures_have_a_legend_and_figures_on_the_page_do_not(tmp_path):
    rows = pd.DataFrame({"variant": ["one", "other"], "rtf": [0.01, 0.03], "si_sdr": [1.0, 2.0],
                         "si_sdr_ci_low": [0.5, 1.5], "si_sdr_ci_high": [1.5, 2.5]})  # fmt: skip
    out = exports.Exports(tmp_path)
    figure = figures.trade_off(rows, "si_sdr", "rtf", "RTF", figures.styles(["one", "other"]))
    shown, saved = out.figure("cost", figure, ""), (tmp_path / "figures/cost.svg").read_text()
    for name in ("one", "other"):
        assert f">{name}</text>" in saved and f">{name}</text>" not in shown
    # Where the axis names them already there is nothing to add.
    out.figure("named", figures.intervals(rows, "si_sdr", figures.styles(["one", "other"])), "")
    assert (tmp_path / "figures/named.svg").read_text().count(">other</text>") == 1


def test_figures_and_tables_are_saved_as_files_and_embedded_in_the_page(tmp_path):
    out = exports.Exports(tmp_path)
    table = pd.DataFrame({"Method": ["loss=mse", "a_b & c"], "PESQ": [1.9512, float("nan")]})
    figure = figures.learning_curves(history("a", "mse"), figures.styles(["a"]))["training mse"]
    links = out.figure("curves", figure, "", table) + out.table("board", table, "All 5 %.")
    paths = ["figures/curves.svg", "figures/curves.pdf", "figures/curves.csv",
             "tables/board.csv", "tables/board.tex"]  # fmt: skip
    assert list(out.packed()) == paths
    for path in paths:
        content = (tmp_path / path).read_bytes()
        assert gzip.decompress(base64.b64decode(out.packed()[path])) == content
        assert f'href="{path}"' in links
    assert (tmp_path / "figures/curves.pdf").read_bytes().startswith(b"%PDF")
    assert pd.read_csv(tmp_path / "tables/board.csv").equals(table)
    text = (tmp_path / "tables/board.tex").read_text()
    assert r"a\_b \& c & -- \\" in text and r"\caption{All 5 \%.}" in text
    assert "loss=mse & 1.951 \\\\" in text and r"\begin{tabular}{lr}" in text
    bold = exports.latex_table(pd.DataFrame({"Method": ["m"], "SNR": ["**2 ± 1**"]}), "", "l")
    assert r"m & \textbf{2 $\pm$ 1} \\" in bold


def test_figure_files_are_reproducible(tmp_path):
    contents = []
    for name in ("first", "second"):
        figure = figures.learning_curves(history("a", "mse"), figures.styles(["a"]))["training mse"]
        exports.Exports(tmp_path / name).figure("curves", figure, "")
        contents.append([path.read_bytes() for path in sorted((tmp_path / name).rglob("*.*"))])
    assert contents[0] == contents[1] and len(contents[0]) == 2


def test_citations_are_converted_to_latex_and_a_bibliography():
    text = "PESQ [@rix2001pesq; @itu2007p8622] at \N{MINUS SIGN}5 dB & 3 % [@holm1979]."
    assert paper.as_latex(text) == (
        r"PESQ~\cite{rix2001pesq,itu2007p8622} at $-$5 dB \& 3 \%~\cite{holm1979}."
    )
    entries = paper.bibliography(text)
    assert re.findall(r"^@\w+\{(\w+),", entries, re.MULTILINE) == [
        "rix2001pesq", "itu2007p8622", "holm1979"
    ]  # fmt: skip
    assert entries.count("{") == entries.count("}")
    with pytest.raises(KeyError, match="nobody2000"):
        paper.bibliography("[@nobody2000]")


def test_data_sets_list_the_variants_trained_on_them(tmp_path):
    record = write_record(tmp_path, "e", {"a": Path("a"), "b": Path("b")})
    told = [background.used_by(names, record) for names in (["a", "b"], ["b"], [])]
    assert told == ["", "b", "only for test sets"]


def test_the_methods_paragraph_names_settings_that_differ_between_variants(tmp_path):
    record = write_record(tmp_path, "e", {"a": Path("a"), "b": Path("b")})
    recipe = {"training": {"loss": {"mse": 1}, "epochs": 3}, "network": {"name": "unet"}}
    other = {"training": {"loss": {"mse": 1, "mae": 2}, "epochs": 9}, "network": {"name": "unet"}}
    recipes = {"a": recipe, "b": other}
    variants = {
        name: one.model_copy(update={"recipe": recipes[name]})
        for name, one in record.variants.items()
    }
    changed = record.model_copy(update={"variants": variants, "sweep": ("training.loss",)})
    assert paper._others(changed) == (
        "The settings named are those of a; other configurations differ in training.epochs."
    )
    assert paper._others(record) == ""


@pytest.mark.parametrize(
    ("changes", "kept", "discriminator"),
    [
        ({}, "the epoch with the lowest validation loss was kept", ""),
        ({"keep": "last"}, "the last epoch was kept", ""),
        ({"adversarial": {"kind": "metric"}}, "the epoch with the highest validation PESQ was kept",
         "A metric discriminator was added"),
        ({"adversarial": {"kind": "least_squares"}},
         "the epoch with the highest validation PESQ was kept", "A least-squares discriminator"),
    ],
)  # fmt: skip
def test_the_methods_paragraph_states_which_epoch_was_kept(tmp_path, changes, kept, discriminator):
    record = write_record(tmp_path, "e", {"a": Path("a")})
    recipe = {
        "training": {
            "epochs": 3,
            "batch_size": 8,
            "learning_rate": 0.001,
            "keep": "best",
            "optimiser": {"name": "adam"},
            "schedule": {"kind": "cosine"},
            **changes,
        }
    }
    said = paper._training(record, recipe, [])
    assert kept in said and discriminator in said
    assert discriminator or "discriminator" not in said


@pytest.mark.parametrize(
    ("by_window", "sets"),
    [(False, "training, validation and test sets"), (True, "training and test sets")],
)
def test_the_methods_paragraph_claims_separate_speakers_only_where_they_are(by_window, sets):
    recipe = {"data": {"splits": {"by_window": by_window}, "noise": []}}
    counts = {"train": 3, "validation": 0 if by_window else 1, "test": 2}
    splits = [
        {"split": part, "speakers": count, "noise_types": ""} for part, count in counts.items()
    ]
    said = paper._split(recipe, {"splits": splits})
    assert f"No speaker is in more than one of the {sets}: 3 speakers for training" in said


def test_mixture_distributions_are_drawn_for_known_properties_only():
    known = pd.DataFrame({"snr": [0.0, 5.0], "noise_type": ["rain", "wind"], "seconds": [1.0, 2.0]})
    found = figures.distributions({"training": known, "test": known})
    assert list(found) == ["snr", "seconds", "noise_type"]
    figure, shares = found["noise_type"]
    labels = [text.get_text() for text in figure.axes[0].get_yticklabels()]
    assert labels == ["rain", "wind"]
    assert [bar.get_width() for bar in figure.axes[0].patches] == [50] * 4
    assert shares["training"].tolist() == [50, 50]
    assert found["snr"][1]["test"].sum() == 100
    unknown = known.assign(snr=float("nan"), noise_type="")
    assert list(figures.distributions({"pairs": unknown})) == ["seconds"]


def history(variant: str, loss: str, **columns: list[float]) -> pd.DataFrame:
    table = pd.DataFrame({"epoch": [1, 2], "loss": [2.0, 1.0], "val_loss": [2.5, 1.5], **columns})
    return table.assign(variant=variant, seed=0, loss_name=loss)


def test_incomparable_losses_are_drawn_in_separate_figures():
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


def test_no_best_error_is_marked_across_different_target_scalings(tmp_path):
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
        assert tables.one_scaling(changed) is said


def test_setting_values_are_formatted_for_readers():
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


def test_trade_offs_are_drawn_only_for_costs_that_differ(tmp_path):
    rows = pd.DataFrame({"variant": ["a", "b"], "parameters": [1000.0] * 2, "rtf": [0.01, 0.03]})
    rows["macs_a_second"] = [2e6, 2e6]
    for metric in ("si_sdr", "pesq_nb", "pesq_wb"):
        rows[metric] = rows[f"{metric}_ci_low"] = rows[f"{metric}_ci_high"] = [1.0, 2.0]
    drawn = figures.styles(["a", "b"])
    found = sections._trade_offs("test", rows, drawn, exports.Exports(tmp_path))
    assert [figure.count("real-time factor") > 0 for figure in found] == [True, True]
    assert [path.name for path in sorted(tmp_path.rglob("*.svg"))] == [
        "test-pesq_wb-by-rtf.svg", "test-si_sdr-by-rtf.svg"
    ]  # fmt: skip


@pytest.mark.parametrize("scale", [1.0, 8.5e-4, 3e-4, 7e-6])
def test_axis_labels_do_not_overlap(scale):
    table = pd.DataFrame({"metric": "stoi", "setting": "training.loss", "value": ["huber", "mse"],
                          "effect": [scale, -scale], "ci_low": [-9 * scale] * 2,
                          "ci_high": [9 * scale] * 2})  # fmt: skip
    figure = figures.main_effects(table, "stoi")
    figure.draw_without_rendering()
    boxes = [label.get_window_extent() for label in figure.axes[0].get_xticklabels()
             if label.get_text() and label.get_visible()]  # fmt: skip
    assert len(boxes) >= 3
    assert all(one.x1 + 2 < other.x0 for one, other in itertools.pairwise(boxes))


def test_the_methods_paragraph_states_attenuation_limit_and_strength(tmp_path):
    record = write_record(tmp_path, "tried", {"gentle": Path("a"), "whole": Path("b")})
    limits = {"enhancement": {"max_attenuation_db": 12.0, "strength": 0.8}}
    variants = {
        name: one.model_copy(update={"recipe": limits if name == "gentle" else {}})
        for name, one in record.variants.items()
    }
    assert paper.applied(record.model_copy(update={"variants": variants})) == (
        "With gentle no bin was attenuated by more than 12 dB and the output has a share of 0.8 of "
        "the enhanced signal, the rest being the input."
    )
