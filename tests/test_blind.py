"""Blind listening tests: their pages, their keys, and what is made of the ratings."""

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
from made import write_record

from denoise import cli
from denoise.core import files
from denoise.core.arrays import save_array
from denoise.core.errors import UserError
from denoise.core.tables import write_table
from denoise.evaluation import listening
from denoise.report import blind

RATE = 8000


@pytest.fixture
def experiment(tmp_path, monkeypatch):
    """An experiment of two variants and a baseline on four utterances of a second."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    clean = rng.normal(0, 0.1, 4 * RATE).astype(np.float32)
    noise = rng.normal(0, 0.1, 4 * RATE).astype(np.float32)
    stage = tmp_path / "results/test_sets/test"
    stage.mkdir(parents=True)
    save_array(stage / "clean.npy", clean)
    save_array(stage / "noisy.npy", clean + noise)
    files.write_json(stage / "manifest.json", {"rate": RATE})
    about = {"speaker": "s", "sex": "F", "noise_type": "rain", "snr": 0.0, "snr_target": 0.0}
    rows = [{"id": f"u{k}", "offset": k * RATE, "samples": RATE, **about} for k in range(4)]
    write_table(stage / "mixtures.csv", pd.DataFrame(rows))
    gains = {"noisy": 0.0, "good": 9.0, "fair": 5.0, "logmmse": 2.0}
    for name, gain in gains.items():
        out = tmp_path / f"results/enhanced/{name}/seed0/test.npy"
        save_array(out, clean + noise * 10 ** (-gain / 20))
        scores = pd.DataFrame(rows)[["id", "speaker", "sex", "noise_type", "snr_target"]].assign(
            split="test", recording="r", snr_input=0.0, status="ok",
            **dict.fromkeys(blind_metrics(), np.nan),
        )  # fmt: skip
        scores["si_sdr"] = gain + 0.1 * np.arange(4)
        write_table(tmp_path / f"results/scores/{name}/seed0/test.csv", scores)
    report = tmp_path / "reports/tried"
    variants = {name: Path("results/models") / name for name in ("good", "fair")}
    write_record(tmp_path, "tried", variants, baselines=("noisy", "logmmse"))
    kinds = {"good": "variant", "fair": "variant"}
    board = [{"variant": name, "kind": kinds.get(name, "baseline"), "test_set": "test",
              "si_sdr": gain} for name, gain in gains.items()]  # fmt: skip
    write_table(report / "leaderboard.csv", pd.DataFrame(board))
    return report


def test_listen_reports_missing_enhanced_audio_in_one_line(experiment, capsys):
    Path("results/enhanced/good/seed0/test.npy").unlink()
    with pytest.raises(SystemExit):
        cli.main(["listen", "tried"])
    said = capsys.readouterr().err
    assert "results/enhanced/good/seed0/test.npy is missing: run `snakemake`" in said
    assert not (experiment / "listening.html").exists()


def blind_metrics() -> list[str]:
    from denoise.metrics.registry import SCORED

    return list(SCORED)


def test_the_listening_page_does_not_reveal_the_methods(experiment, capsys):
    cli.main(["listen", "tried"])
    page = (experiment / "listening.html").read_text()
    key = files.read_json(experiment / "listening.json")
    shown = re.search(r'id="test">(.*?)</script>', page, re.DOTALL).group(1)
    told = re.sub(r"data:audio/flac;base64,[^\"]*", "", shown)
    for name in ("good", "fair", "logmmse", "noisy", "clean", "u0"):
        assert name not in told
    for trial in key["trials"].values():
        assert set(trial["versions"].values()) == {"good", "fair", "logmmse", "clean", "noisy"}
    sounds = re.findall(r"data:audio/flac;base64,([^\"]*)", shown)
    assert len(sounds) == 6 * len(key["trials"]) == len(set(sounds))  # the reference is there twice
    orders = {tuple(trial["versions"].values()) for trial in key["trials"].values()}
    assert len(orders) > 1  # the same number is not always the same method
    with pytest.raises(SystemExit):
        cli.main(["listen", "tried"])
    assert "exists already" in capsys.readouterr().err
    cli.main(["listen", "tried", "--force", "--kind", "ab", "--methods", "good", "fair", "--json"])
    told = json.loads(capsys.readouterr().out)
    assert told["kind"] == "ab" and told["methods"] == ["good", "fair"]
    assert {len(trial["versions"]) for trial in told["trials"].values()} == {2}


def test_the_trial_order_is_random_and_reproducible_with_a_seed(experiment, capsys):
    keys = []
    for seed in ([], [], ["--seed", "7"], ["--seed", "7"]):
        cli.main(["listen", "tried", "--force", *seed])
        keys.append(files.read_json(experiment / "listening.json"))
    assert keys[0]["seed"] != keys[1]["seed"] and int(keys[0]["seed"]) > 2**64
    assert keys[0]["id"] != keys[1]["id"]
    assert keys[2] == keys[3]
    page = (experiment / "listening.html").read_text()
    cli.main(["listen", "tried", "--force"])
    assert (experiment / "listening.html").read_text() != page
    assert files.read_json(experiment / "listening.json")["seed"] not in page
    capsys.readouterr()


def test_two_encodings_of_one_sound_differ_only_in_dither(experiment):
    wave = 0.1 * np.sin(np.arange(8000) / 5)
    rng = np.random.default_rng(0)
    sounds = [blind._encoded(wave, RATE, rng).split(",")[1] for _ in range(2)]
    first, second = (soundfile.read(io.BytesIO(base64.b64decode(sound)))[0] for sound in sounds)
    assert (first != second).any()
    # Two steps of 16 bits: a triangle of one to each side, and the rounding of both.
    assert np.abs(first - second).max() <= 4 / 2**15
    # Its mean square and that of rounding are 1/6 and 1/12 of a step squared.
    assert np.mean((first - wave) ** 2) * 4**15 == pytest.approx(1 / 4, rel=0.1)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["tried", "-o", "reports/tried/listening.json"], "listening.json must end in .html"),
        (["tried", "--utterances", "100000000000"], "must be at least 1 and at most 200"),
        (["tried", "--seed", "-1"], "--seed -1 must not be negative"),
        (["tryed"], "unknown experiment with a report 'tryed' (did you mean 'tried'?)"),
        (["tried", "--methods", "goood"], "unknown method 'goood' (did you mean 'good'?)"),
        (["tried", "--test-set", "other"], "unknown test set 'other': there are test"),
        (["tried", "--utterances", "0"], "--utterances 0 must be at least 1"),
        (["tried", "--kind", "ab", "--methods", "good"], "needs two methods at least"),
        ([], "name an experiment"),
        (["--score", "nothing.json"], "nothing.json: No such file"),
        (["--score", "reports/tried/study.json"], "is no file of ratings"),
    ],
)
def test_listen_reports_wrong_arguments_in_one_line(experiment, capsys, arguments, said):
    with pytest.raises(SystemExit) as ended:
        cli.main(["listen", *arguments])
    assert ended.value.code == 1
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1
    assert not (experiment / "listening.html").exists()


def rated(key, listener: str, scores: dict[str, float]) -> dict[str, object]:
    """What a listener saves who gives each method always the same score."""
    ratings = [
        {"trial": trial, "seconds": 9.0,
         "scores": {version: scores[name] for version, name in about["versions"].items()}}
        for trial, about in key["trials"].items()
    ]  # fmt: skip
    return {"test": key["id"], "experiment": "tried", "kind": "mushra", "listener": listener,
            "ratings": ratings}  # fmt: skip


def test_scores_exclude_listeners_who_miss_the_hidden_reference(experiment, capsys):
    cli.main(["listen", "tried"])
    key = files.read_json(experiment / "listening.json")
    (experiment / "report.html").write_text(f"<main>{blind.section('tried', None)}</main>")
    assert "Nobody has listened" in (experiment / "report.html").read_text()
    base = {"good": 80, "fair": 60, "logmmse": 40, "noisy": 20, "clean": 100}
    listeners = {
        "ann": base,
        "bob": {name: score - (10 if name != "clean" else 0) for name, score in base.items()},
        "deaf": {**base, "clean": 50, "noisy": 100},
    }
    for name, scores in listeners.items():
        files.write_json(experiment.parent / f"{name}.json", rated(key, name, scores))
    # Saved half-way too: the whole file counts.
    half = rated(key, "ann", base)
    half["ratings"] = half["ratings"][:1]
    files.write_json(experiment.parent / "ann-again.json", half)
    capsys.readouterr()
    cli.main(["listen", "--score", str(experiment.parent / "*.json"), "--json"])
    told = json.loads(capsys.readouterr().out)
    assert told["listeners"] == 2 and told["left_out"] == ["deaf"]
    table = {row["method"]: row for row in told["rows"]}
    assert list(table) == ["clean", "good", "fair", "logmmse", "noisy"]
    assert table["good"]["score"] == 75 and table["good"]["n"] == 2 * len(key["trials"])
    # Of two listeners 5 to both sides: Student's quantile of one degree of freedom is 12.706; the
    # scale ends at 100.
    assert table["good"]["low"] == pytest.approx(75 - 5 * 12.7062, abs=1e-3)
    assert table["good"]["high"] == 100
    page = (experiment / "report.html").read_text()
    assert "Nobody has listened" not in page and "1 left out" in page
    assert ">75.0<" in page and page.endswith("</main>")
    assert (
        (experiment / "listening.csv").read_text().startswith("method,score,low,high,n\nclean,100")
    )


def test_preferences_are_shares_with_an_interval_and_a_sign_test(experiment):
    cli.main(["listen", "tried", "--kind", "ab", "--methods", "good", "fair", "--utterances", "4"])
    key = files.read_json(experiment / "listening.json")
    trials = key["trials"]
    assert len(trials) == 4
    ratings = []
    for number, (trial, about) in enumerate(trials.items()):
        place = {name: version for version, name in about["versions"].items()}
        preferred = place["good"] if number < 3 else None
        ratings.append({"trial": trial, "preferred": preferred})
    listeners = [{"listener": str(k), "ratings": ratings} for k in range(3)]
    table, left_out = listening.score(key, listeners)
    (row,) = table.to_dict("records")
    assert left_out == [] and (row["first"], row["second"]) == ("good", "fair")
    assert (row["preferred_first"], row["preferred_second"], row["ties"]) == (9, 0, 3)
    assert row["share"] == 1 and row["p"] == pytest.approx(2 / 2**9)
    # Wilson, for 9 of 9: the lower end is n / (n + z²).
    assert row["low"] == pytest.approx(9 / (9 + 1.959964**2), abs=1e-6)


def test_invalid_ratings_are_rejected(experiment):
    cli.main(["listen", "tried"])
    key = files.read_json(experiment / "listening.json")
    base = dict.fromkeys(("good", "fair", "logmmse", "noisy", "clean"), 50)
    path = experiment / "ann.json"
    files.write_json(path, rated(key, "ann", base))
    with pytest.raises(UserError, match="no listener found the hidden reference"):
        listening.score(*listening.read_ratings([path], lambda name: experiment / "listening.json"))
    for change, said in (
        ({"test": "other"}, "is of another listening test"),
        ({"ratings": [{"trial": "t99", "scores": {}}]}, "there is no trial 't99'"),
        ({"ratings": [{"trial": "t00", "scores": {"v0": 500}}]}, "scores must be 0 to 100"),
        ({"ratings": [{"trial": "t00", "scores": {"v99": 5}}]}, "there is no version 'v99'"),
        ({"ratings": "none"}, "is no file of ratings"),
    ):
        files.write_json(path, {**rated(key, "ann", base), **change})
        with pytest.raises(UserError, match=said):
            listening.read_ratings([path], lambda name: experiment / "listening.json")
