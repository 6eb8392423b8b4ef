"""The workflow as a whole: one tiny study over every corpus, and what re-runs after a change."""

from __future__ import annotations

import functools
import hashlib
import http.server
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pandas as pd
import pytest
import yaml

ROOT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent
ESC50 = {"corpus": "esc50", "categories": ["rain", "dog"]}
TINY = {
    "data.splits": {"validation": 0.2, "test": 0.2},
    "mixing.window": 992,
    "mixing.speech_hop": 2016,
    "mixing.hours": 0.02,
    "mixing.validation_hours": 0.01,
    "features.stft": {"n_fft": 63, "hop": 31},
    "network.filters": [2, 4],
    "training.epochs": 1,
    "training.threads": 1,
}


def snakemake(folder: Path, *arguments: str, cores: int = 2) -> subprocess.CompletedProcess[str]:
    """Run snakemake in `folder`; returns the ended process with its output."""
    return subprocess.run(
        [str(BIN / "snakemake"), "--cores", str(cores), *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(folder / "src")},
    )


def planned(folder: Path, *arguments: str) -> dict[str, int]:
    """Which rules a dry run would run, and how often."""
    run = snakemake(folder, "-n", "all", *arguments)
    assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-3000:]
    jobs: dict[str, int] = {}
    for line in (run.stdout + run.stderr).splitlines():
        parts = line.split()
        if len(parts) == 2 and parts[1].isdigit() and parts[0] not in {"total", "count"}:
            jobs[parts[0]] = int(parts[1])
    return jobs


def configure(folder: Path, **config) -> None:
    (folder / "config.yaml").write_text(yaml.safe_dump({"preset": "quickstart", **config}))


def copy_project(target: Path) -> Path:
    """The project's files, as a clone would have them."""
    target.mkdir()
    for name in ("Snakefile", "workflow", "presets", "profiles", "src", "locks"):
        path = ROOT / name
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(path, target / name, ignore=ignore) if path.is_dir() else shutil.copy(
            path, target / name
        )
    return target


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture(scope="session")
def web_mirror(mirror):
    """The mirror over HTTP on this machine."""
    handler = functools.partial(_Quiet, directory=str(mirror))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


def study(mirror: str, noise: Path) -> dict:
    """All corpora but VoiceBank in one study: LibriSpeech and synthetic speech, three noises."""
    return {
        "experiment": "tiny",
        "set": {
            **TINY,
            "data.speech": [
                {"corpus": "librispeech", "subsets": ["train-clean-5"], "use": "train"},
                {"corpus": "librispeech", "subsets": ["dev-clean-2"], "use": "test"},
                {"corpus": "synthetic", "subsets": ["speech"], "use": "train", "hours": 0.005},
            ],
            "data.noise": [
                ESC50,
                {"corpus": "folder", "path": str(noise)},
                {"corpus": "synthetic", "subsets": ["noise"], "hours": 0.01},
            ],
            "test_sets": {"test": {"level": {"snr_db": [0, 10]}}},
        },
        "sweep": {"training.loss": ["huber"]},
        "seeds": [0, 1],
        "download": {"mirror": mirror, "retries": 0},
    }


@pytest.fixture(scope="module")
def done(tmp_path_factory, web_mirror) -> Path:
    """A folder in which the tiny study has been run."""
    import soundfile
    from conftest import hiss

    folder = copy_project(tmp_path_factory.mktemp("study") / "project")
    noise = folder.parent / "my noise"
    noise.mkdir()
    for number in range(5):
        soundfile.write(noise / f"fan_{number}.wav", hiss(3, 22050, 50 + number), 22050)
    configure(folder, **study(web_mirror, noise))
    run = snakemake(folder, "all")
    assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-6000:]
    return folder


@pytest.fixture
def config(done):
    """The study's configuration, restored after the test."""
    path = done / "config.yaml"
    original = path.read_text()
    yield yaml.safe_load(original)
    path.write_text(original)


def test_the_study_ends_with_a_leaderboard_and_a_report(done):
    board = pd.read_csv(done / "reports" / "tiny" / "leaderboard.csv").set_index("variant")
    assert set(board["kind"]) == {"variant", "baseline", "oracle"}
    assert set(board.index) == {"noisy", "noisereduce", "oracle", "tiny_loss-huber"}
    assert board.loc["tiny_loss-huber", "seeds"] == 2
    assert board.loc["oracle", "si_sdr"] > board.loc["noisy", "si_sdr"] + 5
    for column in ("n", "n_failed", "si_sdr_ci_low", "si_sdr_ci_high", "mse_spec"):
        assert column in board
    html = (done / "reports" / "tiny" / "report.html").read_text()
    assert 'src="http' not in html and "tiny_loss-huber" in html and "data:audio/mpeg" in html


def test_scores_have_a_row_for_each_utterance_with_what_it_is(done):
    table = pd.read_csv(done / "results/scores/tiny_loss-huber/seed0/test.csv")
    assert len(table) == 4
    assert set(table["speaker"]) == {21, 22} and set(table["status"]) == {"ok"}
    assert table["snr_in"].sub(table["snr_asked"]).abs().max() < 0.01


def test_mlflow_has_a_parent_and_a_child_for_each_run(done):
    import mlflow

    client = mlflow.MlflowClient(f"sqlite:///{done / 'results/mlflow/mlflow.db'}")
    experiment = client.get_experiment_by_name("tiny")
    runs = client.search_runs([experiment.experiment_id])
    children = [run for run in runs if "mlflow.parentRunId" in run.data.tags]
    assert len(runs) == 3 and len(children) == 2
    for run in children:
        assert run.info.status == "FINISHED"
        assert len(client.get_metric_history(run.info.run_id, "val_loss")) == 1
        assert "test.si_sdr" in run.data.metrics and run.data.params["training.epochs"] == "1"
        assert {item.dataset.name for item in run.inputs.dataset_inputs} == {"train", "validation"}


def test_there_is_nothing_to_do_the_second_time(done):
    assert planned(done) == {}


def test_a_touched_file_re_runs_nothing(done):
    for path in (
        *done.glob("src/denoise/**/*.py"),
        *done.glob("workflow/**/*.py"),
        *done.glob("results/audio/*/*"),
        done / "config.yaml",
    ):
        path.touch()
    assert planned(done) == {}


def test_a_loss_added_to_the_sweep_only_trains_it(done, config):
    config["sweep"]["training.loss"].append("mae")
    configure(done, **config)
    jobs = planned(done)
    assert jobs.pop("train") == 2 and jobs.pop("enhance") == 2 and jobs.pop("score") == 2
    assert set(jobs) == {"all", "track", "leaderboard", "write_report", "track_experiment"}


def test_a_noise_level_added_prepares_no_audio_again(done, config):
    config["sweep"]["mixing.level"] = [{"snr_range_db": [-5, 15]}, {"gain": [0.2, 0.8]}]
    configure(done, **config)
    jobs = planned(done)
    assert jobs["mix"] == 1 and jobs["spectrograms"] == 2
    assert not {"fetch", "index", "prepare", "split", "test_set", "baseline"} & set(jobs)


@pytest.fixture
def edited(done):
    """A function that appends code to a module of the study's copy; undone after the test."""
    originals: dict[Path, str] = {}

    def edit(name: str, text: str) -> None:
        path = done / "src" / "denoise" / name
        originals.setdefault(path, path.read_text())
        path.write_text(originals[path] + text)

    yield edit
    for path, text in originals.items():
        path.write_text(text)


CHANGE = "\n_CHANGED = 1\n"
AFTER_SCORES = {"all", "leaderboard", "write_report", "track", "track_experiment"}


@pytest.mark.parametrize(
    ("module", "first", "never"),
    [
        ("report/figures.py", {"write_report", "track"}, {"train", "score", "leaderboard"}),
        ("metrics.py", {"score"}, {"train", "enhance", "mix", "baseline"}),
        ("enhancement.py", {"enhance"}, {"train", "mix", "prepare"}),
        ("training.py", {"train"}, {"mix", "spectrograms", "prepare"}),
        ("mixing.py", {"mix", "test_set"}, {"prepare", "index", "split"}),
        ("corpora/esc50.py", {"index"}, {"fetch"}),
    ],
)
def test_an_edited_module_re_runs_what_uses_it(done, edited, module, first, never):
    edited(module, CHANGE)
    jobs = planned(done)
    assert first <= set(jobs), jobs
    assert not never & set(jobs), jobs


def test_a_comment_or_docstring_re_runs_nothing(done, edited):
    edited("mixing.py", "\n# A comment.\n")
    edited("settings.py", '\n"""A note."""\n')
    assert planned(done) == {}


def digests(folder: Path, *patterns: str) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for pattern in patterns
        for path in sorted(folder.glob(pattern))
    }


def test_one_core_and_eight_give_identical_results(done, tmp_path):
    """Everything after the downloads is made again with other cores in another folder."""
    outputs = ("results/mixtures/*/*.csv", "results/scores/**/*.csv",
               "results/test_sets/*/*.npy", "reports/tiny/leaderboard.csv")  # fmt: skip
    other = copy_project(tmp_path / "other")
    shutil.copytree(done / "resources", other / "resources")
    shutil.copy(done / "config.yaml", other)
    run = snakemake(other, "all", cores=8)
    assert run.returncode == 0, run.stderr[-3000:]
    first, second = digests(done, *outputs), digests(other, *outputs)
    assert len(first) > 10 and first == second


def test_voicebank_runs_without_mixing(tmp_path, web_mirror):
    folder = copy_project(tmp_path / "project")
    pairs = {"corpus": "voicebank_demand"}
    configure(
        folder,
        experiment="pairs",
        set={
            **{key: value for key, value in TINY.items() if "hours" not in key},
            "mixing.hours": None,
            "mixing.validation_hours": None,
            "data.speech": [
                {**pairs, "subsets": ["train-28spk"], "use": "train"},
                {**pairs, "subsets": ["test"], "use": "test"},
            ],
            "data.noise": [],
            "data.splits": {"validation_speakers": ["p287"]},
        },
        sweep={},
        download={"mirror": web_mirror, "retries": 0},
    )
    run = snakemake(folder, "all")
    assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-6000:]
    table = pd.read_csv(folder / "results/scores/pairs/seed0/test.csv")
    assert sorted(table["snr_asked"]) == [2.5, 5, 7.5]
    splits = pd.concat(pd.read_csv(path) for path in folder.glob("results/splits/*.csv"))
    assert splits.groupby("split")["speaker"].unique().map(list).to_dict() == {
        "test": ["p232"], "train": ["p226"], "validation": ["p287"],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"preset": "no-such"}, "error: unknown preset 'no-such'"),
        ({"set": {"features.stft.hop": -1}}, "error: config.yaml: set: features.stft.hop is -1"),
    ],
)
def test_a_wrong_configuration_ends_before_any_job_with_one_line(tmp_path, config, said):
    folder = copy_project(tmp_path / "project")
    configure(folder, **config)
    run = snakemake(folder, "-n", "all")
    assert run.returncode != 0
    assert said in run.stderr + run.stdout
    assert "Traceback" not in run.stderr + run.stdout
    assert not (folder / "results").exists()


def test_an_archive_that_is_a_web_page_stops_the_study_with_its_name(tmp_path):
    from conftest import write_mirror

    page = b"<!DOCTYPE html><html><body>Sign in</body></html>"
    mirror = write_mirror(tmp_path / "mirror", {"librispeech/dev-clean-2.tar.gz": page})
    folder = copy_project(tmp_path / "project")
    speech = {"corpus": "librispeech", "subsets": ["dev-clean-2"]}
    configure(
        folder,
        set={**TINY, "data.speech": [speech]},
        sweep={},
        download={"mirror": str(mirror), "retries": 0, "timeout_s": 2},
    )
    run = snakemake(folder, "resources/archives/librispeech/dev-clean-2.tar.gz")
    assert run.returncode != 0
    assert "error: cannot get dev-clean-2.tar.gz of librispeech" in run.stderr
    assert "a web page came instead of the archive" in run.stderr
