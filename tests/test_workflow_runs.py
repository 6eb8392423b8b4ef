"""Whole runs of other kinds: paired data, other numbers of cores, and wrong input."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
import yaml
from conftest import write_mirror
from made import model_of, scores_of
from studies import small
from workflow_runs import TINY, configure, copy_project, dry_run, snakemake

from denoise.corpora.synthetic import SPEAKERS as VOICES
from denoise.networks.card import read_card

SPEAKERS = tuple(VOICES)


def digests(folder: Path, *patterns: str) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for pattern in patterns
        for path in sorted(folder.glob(pattern))
    }


@pytest.mark.slow
def test_one_core_and_eight_give_identical_results(small_study, tmp_path, web_mirror):
    outputs = (
        "results/mixtures/*/*.csv",
        "results/scores/**/*.csv",
        "results/test_sets/*/*.npy",
        "reports/small/leaderboard.csv",
    )
    folder = small(tmp_path / "eight", web_mirror)
    run = snakemake(folder, "reports/small/leaderboard.csv", cores=8)
    assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-3000:]
    found = digests(folder, *outputs)
    assert len(found) == 8 and found == digests(small_study, *outputs)


@pytest.mark.slow
def test_a_voicebank_study_skips_mixing_and_logs_to_an_mlflow_server(
    tmp_path, web_mirror, mlflow_server
):
    uri, artifacts = mlflow_server
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
                {**pairs, "subsets": ["train-28spk"], "split": "train"},
                {**pairs, "subsets": ["test"], "split": "test"},
            ],
            "data.noise": [],
            "data.splits": {"validation": 0.1, "test": 0.2, "validation_speakers": ["p287"]},
        },
        sweep={},
        seeds=[0, 1],
        baselines=["noisy"],
        download={"mirror": web_mirror, "retries": 0},
    )
    run = snakemake(folder, "all", MLFLOW_TRACKING_URI=uri)
    assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-6000:]
    table = pd.read_csv(scores_of(folder, "quickstart", "pairs"))
    assert sorted(table["snr_target"]) == [2.5, 5, 7.5]
    splits = pd.concat(pd.read_csv(path) for path in folder.glob("results/splits/*.csv"))
    assert splits.groupby("split")["speaker"].unique().map(list).to_dict() == {
        "test": ["p232"], "train": ["p226"], "validation": ["p287"],
    }  # fmt: skip
    assert not (folder / "results/mlflow/mlflow.db").exists()
    client = mlflow.MlflowClient(uri)
    (experiment,) = [each for each in client.search_experiments() if each.name == "pairs"]
    runs = client.search_runs([experiment.experiment_id])
    children = [run for run in runs if "mlflow.parentRunId" in run.data.tags]
    assert len(runs) == 3 and {run.info.status for run in children} == {"FINISHED"}
    board = pd.read_csv(folder / "reports/pairs/leaderboard.csv").set_index("variant")
    assert board.loc["quickstart", "seeds"] == len(children) == 2
    (child,) = [run for run in children if run.data.params["seed"] == "0"]
    assert child.data.metrics["test/si_sdr"] == pytest.approx(table["si_sdr"].mean(), rel=1e-4)
    assert list(artifacts.rglob("model.keras"))


@pytest.mark.slow
def test_variants_with_different_sample_rates_share_one_test_set(tmp_path):
    folder = copy_project(tmp_path / "project")
    recipe = yaml.safe_load((folder / "presets" / "quickstart.yaml").read_text())
    speech, noise = ({"corpus": "synthetic", "subsets": [name]} for name in ("speech", "noise"))
    recipe |= {
        "data": {
            "speech": [{**speech, "speakers": list(SPEAKERS[:4]), "split": "train"}],
            "noise": [{**noise, "noise_types": ["rain", "wind"], "split": "train"}],
        },
        "audio": {"sample_rate": 16000, "max_duration_s": 3.0},
        "mixing": {"segment": 48706, "speech_stride": 48706, "pad": True, "windows": 24,
                   "validation_windows": 4},
        "features": {
            "stft": {"n_fft": 511, "hop": 255}, "bins": 256, "reference": "utterance",
            "target": "clean", "input_scaling": {"kind": "min_max"},
            "target_scaling": {"kind": "min_max"},
        },
        "network": {"name": "autoencoder", "filters": [2, 4], "bottleneck": 4},
        "training": {"loss": "bce", "metrics": ["soft_iou", "mse"], "epochs": 1, "threads": 1,
                     "optimiser": {"name": "adamw", "clip_norm": 1.0, "ema": 0.9},
                     "learning_rate": 0.01, "learning_rate_batch": 256},
    }  # fmt: skip
    del recipe["sweep"]
    (folder / "wide.yaml").write_text(yaml.safe_dump(recipe))
    common = {
        "data": {
            "speech": [{**speech, "speakers": list(SPEAKERS[4:6])}],
            "noise": [{**noise, "noise_types": ["hum"]}],
            "audio": {"sample_rate": 16000},
        },
        "score_rate": 8000,
        "utterances": 4,
    }
    tiny = {
        **TINY,
        "data.speech.0": {**speech, "speakers": list(SPEAKERS[:4]), "split": "train"},
        "data.noise.0": {**noise, "noise_types": ["rain", "wind"], "split": "train"},
        "data.splits.by_window": True,
    }
    configure(
        folder,
        experiment="compared",
        variants=[{"name": "narrow", "set": tiny}, {"preset": "wide.yaml"}],
        set={"test_sets": {"common": common}},
        sweep={},
        baselines=["noisy"],
    )
    run = snakemake(folder, "all")
    assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-6000:]
    board = pd.read_csv(folder / "reports/compared/leaderboard.csv").set_index("variant")
    assert set(board.index) == {"narrow", "wide", "noisy"} and set(board["n"]) == {4}
    assert board["pesq_nb"].notna().all()
    assert board["pesq_wb"].notna().to_dict() == {"narrow": False, "wide": True, "noisy": True}
    scales = read_card(model_of(folder, "wide", experiment="compared") / "card.json").scales
    assert set(scales) == {"input", "target"}
    html = (folder / "reports/compared/report.html").read_text()
    assert html.count("as published: on windows of the training recordings") == 1

    kept = folder / "kept"
    shutil.copytree(model_of(folder, "narrow", experiment="compared"), kept)
    settings = yaml.safe_load((folder / "config.yaml").read_text())
    configure(folder, **settings, models={"earlier": "kept"})
    run = snakemake(folder, "all")
    assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-6000:]
    assert "rule train" not in run.stdout + run.stderr
    board = pd.read_csv(folder / "reports/compared/leaderboard.csv").set_index("variant")
    assert board["kind"].to_dict() == {"narrow": "variant", "wide": "variant",
                                       "noisy": "baseline", "earlier": "baseline"}  # fmt: skip
    assert board.loc["earlier", "si_sdr"] == board.loc["narrow", "si_sdr"]
    assert np.isnan(board.loc["earlier", "pesq_wb"])
    assert "the ready model in kept" in (folder / "reports/compared/report.html").read_text()


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"preset": "no-such"}, "error: unknown preset 'no-such'"),
        ({"set": {"features.stft.hop": -1}}, "error: config.yaml: set: features.stft.hop is -1"),
    ],
)
def test_an_invalid_configuration_fails_before_any_job_starts(tmp_path, config, said):
    folder = copy_project(tmp_path / "project")
    configure(folder, **config)
    run = dry_run(folder, "all")
    assert run.returncode != 0
    assert said in run.stderr + run.stdout
    assert "Traceback" not in run.stderr + run.stdout
    assert not (folder / "results").exists()
    (folder / "config.yaml").rename(folder / "own.yaml")
    configure(folder)
    run = dry_run(folder, "all", "--configfile", "own.yaml")
    # It replaces config.yaml, and errors name it.
    assert said.replace("config.yaml", "own.yaml") in run.stderr


@pytest.mark.slow
def test_an_html_page_instead_of_an_archive_stops_the_study_and_is_named(tmp_path):
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


@pytest.mark.slow
def test_a_training_in_the_workflow_can_start_worker_processes(tmp_path):
    folder = copy_project(tmp_path / "project")
    processes = {
        "mixing.segment": 2976,
        "features.cache": False,
        "training.loss": "si_sdr",
        "training.loaders": 1,
        "training.adversarial": {"kind": "metric", "processes": 1, "filters": [2]},
    }
    configure(folder, variants=[{"name": "tried", "set": processes}], set=TINY, sweep={})
    run = snakemake(folder, "--until", "train")
    assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-6000:]
    (path,) = folder.glob("results/models/*/seed0/history.csv")
    history = pd.read_csv(path)
    assert history[["val_pesq", "val_si_sdr"]].notna().all(axis=None)
