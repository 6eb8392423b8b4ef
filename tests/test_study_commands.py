"""The commands that read a whole study: why, compare, models, where."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pandas as pd
import pytest
import yaml
from workflow_runs import BIN, dry_run

from denoise.core import files

VARIANT = "quickstart_loss-mae"


def denoise(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(BIN / "denoise"), *arguments], cwd=folder, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(folder / "src")},
    )  # fmt: skip


@pytest.fixture
def own(study, tmp_path) -> Path:
    """A copy of the study, to change."""
    return shutil.copytree(study, tmp_path / "own", symlinks=True)


def test_why_says_that_nothing_runs_or_which_setting_makes_what_run(own):
    assert denoise(own, "why", VARIANT).stdout == (
        f"Nothing to run: the results of {VARIANT} are up to date.\n"
    )
    config = yaml.safe_load((own / "config.yaml").read_text())
    config["set"]["training.epochs"] = 2
    (own / "config.yaml").write_text(yaml.safe_dump(config))
    told = denoise(own, "why", VARIANT)
    assert told.returncode == 0, told.stderr
    assert "  training.epochs: 1 -> 2\n" in told.stdout
    assert f"3 steps of {VARIANT} will run:" in told.stdout
    listed = json.loads(denoise(own, "why", VARIANT, "--json").stdout)
    assert listed["settings"] == {"training.epochs": [1, 2]}
    names = [job["job"].split(" ")[0] for job in listed["jobs"]]
    assert sorted(names) == ["Enhancing", "Scoring", "Training"]
    causes = {job["job"].split(" ")[0]: job["causes"] for job in listed["jobs"]}
    assert causes["Training"] and not causes["Enhancing"] and not causes["Scoring"]


@pytest.mark.slow
def test_why_takes_the_configuration_that_snakemake_is_given_too(own):
    (own / "more.yaml").write_text(yaml.safe_dump({"set": {"training.epochs": 3}}))
    told = denoise(own, "why", VARIANT, "--configfile", "more.yaml", "--json")
    assert told.returncode == 0, told.stderr
    assert json.loads(told.stdout)["settings"] == {"training.epochs": [1, 3]}
    assert len(json.loads(told.stdout)["jobs"]) == 3
    none = denoise(own, "why", VARIANT, "--configfile", "none.yaml")
    assert none.returncode == 1 and none.stderr.startswith("error: none.yaml does not exist")


def test_why_names_the_file_that_is_gone(own):
    (own / f"results/scores/{VARIANT}/seed0/test.csv").unlink()
    told = denoise(own, "why", VARIANT).stdout
    assert f"results/scores/{VARIANT}/seed0/test.csv not there yet" in told
    assert "Training" not in told
    wrong = denoise(own, "why", "quickstart_loss-hubr")
    assert wrong.returncode == 1 and "did you mean 'quickstart_loss-huber'" in wrong.stderr


def test_experiments_are_compared_over_the_same_utterances(own):
    one, other = "quickstart_loss-huber", "quickstart_loss-mse"
    run = denoise(own, "compare", "tried", str(own / "reports/tried"), "--variants", one, other,
                  "--json")  # fmt: skip
    told = json.loads(run.stdout)
    assert told["settings"] == {"training.loss": ["huber", "mse"]} and told["same_utterances"]
    rows = {row["measure"]: row for row in told["measures"]}
    pairs = pd.read_csv(own / "reports/tried/pairwise.csv")
    pair = pairs[(pairs["metric"] == "si_sdr") & (pairs["first"] == one)
                 & (pairs["second"] == other)].iloc[0]  # fmt: skip
    row = rows["SI-SDR (dB)"]
    assert row["second - first"] == pytest.approx(-pair["difference"], abs=1e-6)
    assert row["p_wilcoxon"] == pytest.approx(pair["p_wilcoxon"], rel=1e-4)
    smallest = min(rows.values(), key=lambda row: row["p_wilcoxon"])
    assert smallest["p_holm"] == pytest.approx(min(1, len(rows) * smallest["p_wilcoxon"]), rel=1e-6)
    text = denoise(own, "compare", "tried", "tried", "--variants", one, other).stdout
    assert "training.loss: huber | mse" in text and "PESQ-NB" in text


@pytest.mark.slow
def test_what_another_experiment_has_made_anew_is_not_taken_for_this_one(own):
    """The results of a variant lie under its name, whichever experiment it belongs to."""
    one = "quickstart_loss-huber"
    before = denoise(own, "compare", "tried", "tried", "--variants", one, VARIANT).stdout
    path = own / f"results/scores/{one}/seed0/test.csv"
    table = pd.read_csv(path)
    table["si_sdr"] += 1
    table.to_csv(path, index=False)
    assert denoise(own, "compare", "tried", "tried", "--variants", one, VARIANT).stdout == before
    run = denoise(own, "listen", "tried", "--methods", one, VARIANT, "--force")
    assert run.returncode == 1 and run.stderr.startswith(
        f"error: the results of {one} are not those in the report of tried"
    )
    assert denoise(own, "listen", "tried", "--methods", VARIANT, "--force").returncode == 0
    path.unlink()
    run = denoise(own, "listen", "tried", "--methods", one, "--force")
    assert run.returncode == 1 and f"{path.relative_to(own)} is missing" in run.stderr


def test_a_run_that_replaces_another_experiments_results_says_so(own):
    config = yaml.safe_load((own / "config.yaml").read_text())
    config["experiment"] = "second"
    (own / "config.yaml").write_text(yaml.safe_dump(config))
    assert "warning" not in dry_run(own, "all").stderr
    config["set"]["training.epochs"] = 2
    (own / "config.yaml").write_text(yaml.safe_dump(config))
    said = dry_run(own, "all").stderr
    assert said.count("warning: ") == 1 and VARIANT in said
    assert "in the experiment tried (training.epochs is 1 there and 2 here)" in said
    config["variants"] = [{"name": "second"}]
    (own / "config.yaml").write_text(yaml.safe_dump(config))
    assert "warning" not in dry_run(own, "all").stderr


def test_other_test_sets_are_not_compared_by_utterance(own):
    about = files.read_json(own / "reports/tried/study.json")
    about["test_sets"]["test"] = "another"
    shutil.copytree(own / "reports/tried", own / "reports/again")
    files.write_json(own / "reports/again/study.json", about)
    run = denoise(own, "compare", "tried", "again")
    assert run.returncode == 0 and "hold different mixtures" in run.stderr
    assert "second - first" not in run.stdout
    about["test_sets"] = {"other": "another"}
    files.write_json(own / "reports/again/study.json", about)
    run = denoise(own, "compare", "tried", "again")
    assert run.returncode == 1 and "have no test set in common" in run.stderr
    run = denoise(own, "compare", "tried", "agian")
    assert run.returncode == 1 and "did you mean 'again'" in run.stderr


def test_what_there_is_is_told_to_scripts_too(study):
    trained = json.loads(denoise(study, "models", "--json").stdout)["trained"]
    assert {row["variant"] for row in trained} >= {VARIANT}
    assert all(isinstance(row["si_sdr"], float) and row["pesq_wb"] is None for row in trained)
    report = json.loads(denoise(study, "where", "--json").stdout)["report"]
    assert Path(report) == study / "reports/tried/report.html"


def test_who_has_read_enough_gets_no_traceback(study):
    run = subprocess.run(
        f"{BIN}/denoise models --json | head -1", shell=True, cwd=study, capture_output=True,
        text=True,
    )  # fmt: skip
    assert run.stdout == "{\n" and run.stderr == ""


def test_a_run_says_what_it_is_doing_and_what_is_left(study):
    said = (study.parent / "said").read_text()
    training = re.findall(r"^  Training (\S+), seed 0 \(\d+ s\)", said, re.MULTILINE)
    assert VARIANT in training or len(training) > 1
    steps = re.findall(r"^\[\d\d:\d\d\] (\d+) of (\d+) steps", said, re.MULTILINE)
    done = [int(one) for one, _ in steps]
    assert done and done == sorted(done) and len({total for _, total in steps}) == 1
    # Before anything is known of trainings, how many there are; never less than to the end.
    assert re.search(r"^\[\d\d:\d\d\] \d+ of \d+ steps, 3 trainings to begin; running:", said, re.M)
