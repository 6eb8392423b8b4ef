"""The commands that read a whole study: why, compare, models, where."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pandas as pd
import pytest
import yaml
from made import model_of, record_of, scores_of
from workflow_runs import BIN, dry_run

from denoise.api import find_model
from denoise.core import files
from denoise.core.errors import UserError

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


def test_why_names_the_changed_setting_and_the_steps_it_causes(own):
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
def test_why_accepts_configfile(own):
    config = yaml.safe_load((own / "config.yaml").read_text())
    config["set"]["training.epochs"] = 3
    (own / "more.yaml").write_text(yaml.safe_dump(config))
    (own / "config.yaml").unlink()
    told = denoise(own, "why", VARIANT, "--configfile", "more.yaml", "--json")
    assert told.returncode == 0, told.stderr
    assert json.loads(told.stdout)["settings"] == {"training.epochs": [1, 3]}
    assert len(json.loads(told.stdout)["jobs"]) == 3
    none = denoise(own, "why", VARIANT, "--configfile", "none.yaml")
    assert none.returncode == 1 and none.stderr.startswith("error: none.yaml does not exist")


def test_why_names_a_missing_file(own):
    path = scores_of(own, VARIANT)
    path.unlink()
    told = denoise(own, "why", VARIANT).stdout
    assert f"{path.relative_to(own)} not there yet" in told
    assert "Training" not in told
    wrong = denoise(own, "why", "quickstart_loss-hubr")
    assert wrong.returncode == 1 and "did you mean 'quickstart_loss-huber'" in wrong.stderr


def test_experiments_are_compared_over_the_same_utterances(own):
    one, other = "quickstart_loss-huber", "quickstart_loss-mse"
    run = denoise(own, "compare", "tried", str(own / "reports/tried"), "--variants", one, other,
                  "--json")  # fmt: skip
    told = json.loads(run.stdout)
    assert told["settings"] == {"training.loss": ["huber", "mse"]} and told["same_utterances"]
    rows = {row["metric"]: row for row in told["metrics"]}
    pairs = pd.read_csv(own / "reports/tried/pairwise.csv")
    pair = pairs[(pairs["metric"] == "si_sdr") & (pairs["first"] == one)
                 & (pairs["second"] == other)].iloc[0]  # fmt: skip
    row = rows["SI-SDR (dB)"]
    assert row["second - first"] == pytest.approx(-pair["difference"], abs=1e-6)
    assert row["p"] == pytest.approx(pair["p"], rel=1e-4)
    assert row["low"] == pytest.approx(-pair["ci_high"], abs=1e-6)
    smallest = min(rows.values(), key=lambda row: row["p"])
    assert smallest["p_holm"] == pytest.approx(min(1, len(rows) * smallest["p"]), rel=1e-6)
    assert {row["claim"] for row in rows.values()} <= {"models", "not shown"}
    assert row["seeds"] == 1 and row["sd_seed"] is None
    text = denoise(own, "compare", "tried", "tried", "--variants", one, other).stdout
    assert "training.loss: huber | mse" in text and "PESQ-NB" in text


def test_a_second_experiment_does_not_overwrite_models_of_the_first(own):
    config = yaml.safe_load((own / "config.yaml").read_text())
    config["experiment"] = "second"
    config["set"]["training.epochs"] = 2
    (own / "config.yaml").write_text(yaml.safe_dump(config))
    said = dry_run(own, "all")
    assert "warning" not in said.stderr and "Training" in said.stdout + said.stderr
    made = json.loads(denoise(own, "why", VARIANT, "--json").stdout)["jobs"]
    (training,) = [job for job in made if job["job"].startswith("Training")]
    (cause,) = training["causes"]
    assert str(model_of(own, VARIANT).relative_to(own)) not in cause and "not there yet" in cause


def test_models_are_found_by_variant_or_experiment_and_variant(own, monkeypatch):
    monkeypatch.chdir(own)
    folder = model_of(own, VARIANT).relative_to(own)
    assert find_model(VARIANT) == find_model(f"tried/{VARIANT}") == folder
    # Another experiment calls another model so, and config.yaml is of neither.
    record = record_of(own).model_dump(mode="json")
    other = str(model_of(own, "quickstart_loss-mse").relative_to(own))
    record["experiment"], record["methods"][VARIANT]["models"] = "second", {"0": other}
    files.write_json(own / "reports/second/study.json", record)
    assert find_model(VARIANT) == folder  # config.yaml plans the experiment tried
    (own / "config.yaml").rename(own / "own.yaml")
    with pytest.raises(UserError, match=rf"name second/{VARIANT} or tried/{VARIANT}"):
        find_model(VARIANT)
    assert find_model(f"second/{VARIANT}") == Path(other)
    with pytest.raises(UserError, match=rf"no model 'third/{VARIANT}'"):
        find_model(f"third/{VARIANT}")


def test_unreferenced_models_are_listed_and_deleted_only_on_request(own):
    unused = denoise(own, "models", "--unused")
    assert unused.stdout == "" and "every model is named" in unused.stderr
    folder, scores = model_of(own, VARIANT).parent, scores_of(own, VARIANT)
    config = yaml.safe_load((own / "config.yaml").read_text())
    config["sweep"]["training.loss"].remove("mae")
    (own / "config.yaml").write_text(yaml.safe_dump(config))
    assert denoise(own, "models", "--unused").stdout == ""  # the report names it
    shutil.rmtree(own / "reports/tried")
    listed = denoise(own, "models", "--unused").stdout
    assert listed.startswith(f"unused: {folder.relative_to(own)} (") and listed.count("\n") == 1
    assert folder.exists() and scores.exists()
    refused = denoise(own, "models", "--delete")
    assert refused.returncode == 1 and "--unused" in refused.stderr
    mine = own / "results/models/mine"
    mine.mkdir()
    (mine / "notes.txt").write_text("precious")
    (own / "results/models/link").symlink_to(folder)
    with (own / ".snakemake/denoise.lock").open("a") as held:
        fcntl.flock(held, fcntl.LOCK_SH)  # as a running workflow does
        refused = denoise(own, "models", "--unused", "--delete")
        assert refused.returncode == 1 and "`snakemake` is running" in refused.stderr
    assert folder.exists()
    assert denoise(own, "models", "--unused", "--delete").stdout.startswith("deleted: ")
    assert not folder.exists() and not scores.exists()
    assert (mine / "notes.txt").read_text() == "precious"
    assert len(list((own / "results/models").iterdir())) == 4


def test_models_of_a_planned_run_are_not_listed_as_unused(own):
    """As of `snakemake --config`, before the report says what they are called."""
    folder = model_of(own, VARIANT).parent
    config = yaml.safe_load((own / "config.yaml").read_text())
    config["sweep"]["training.loss"].remove("mae")
    (own / "config.yaml").write_text(yaml.safe_dump(config))
    shutil.rmtree(own / "reports/tried")
    assert denoise(own, "models", "--unused").stdout.startswith("unused: ")
    losses = '{"training.loss": ["mae"]}'
    planned = dry_run(own, "all", "--config", f"sweep={losses}", "experiment=other")
    assert planned.returncode == 0, planned.stderr
    assert denoise(own, "models", "--unused").stdout == ""
    assert folder.exists()


def test_possibly_used_models_are_never_deleted(own):
    """Models are unused only if the configuration and all reports can be read and name them not."""
    config = yaml.safe_load((own / "config.yaml").read_text())
    start = model_of(own, VARIANT).relative_to(own)
    labels = ("quickstart_loss-huber", "quickstart_loss-mse")
    others = [model_of(own, label).relative_to(own) for label in labels]
    config["sweep"] = {"training.loss": ["log_cosh"]}
    config["set"]["training.start_from"] = str(start)
    config["models"] = {"ready": str((own / others[0]).absolute())}
    (own / "config.yaml").write_text(yaml.safe_dump(config))
    record = (own / "reports/tried/study.json").read_text()
    (own / "reports/tried/study.json").write_text("{}")
    refused = denoise(own, "models", "--unused", "--delete")
    assert refused.returncode == 1 and "reports/tried/study.json" in refused.stderr
    (own / "reports/tried/study.json").unlink()
    refused = denoise(own, "models", "--unused", "--delete")
    assert refused.returncode == 1
    assert "there is no study.json beside reports/tried/report.html" in refused.stderr
    (own / "reports/tried/report.html").unlink()
    (own / "config.yaml").write_text("preset: quickstrat\n")
    refused = denoise(own, "models", "--unused", "--delete")
    assert refused.returncode == 1 and "quickstrat" in refused.stderr
    (own / "config.yaml").write_text(yaml.safe_dump(config))
    listed = denoise(own, "models", "--unused").stdout
    assert listed.startswith(f"unused: {others[1].parent} (") and listed.count("\n") == 1
    (own / others[1] / "checkpoints").mkdir()  # it is being trained
    assert denoise(own, "models", "--unused").stdout == ""
    (own / "reports/tried/study.json").write_text(record)
    # What was trained here can be scored and started from, and is not trained again for it.
    planned = dry_run(own, "all")
    assert planned.returncode == 0, planned.stderr[-2000:]
    assert f"{start}/model.keras" not in planned.stdout.replace(f"{own}/", "")


def test_why_names_changed_source_files_and_refuses_unknown_seeds(own):
    losses = own / "src/denoise/training/losses.py"
    text = losses.read_text()
    losses.write_text(text.replace("mean_absolute_error(", "mean_squared_error("))
    assert losses.read_text() != text
    said = denoise(own, "why", VARIANT).stdout
    assert "code changed: training/losses.py" in said
    refused = denoise(own, "why", VARIANT, "--seed", "7")
    assert refused.returncode == 1 and "unknown seed of config.yaml '7'" in refused.stderr


def test_other_test_sets_are_not_compared_by_utterance(own):
    about = files.read_json(own / "reports/tried/study.json")
    about["test_sets"]["test"]["noisy"] = "results/test_sets/another/noisy.npy"
    shutil.copytree(own / "reports/tried", own / "reports/again")
    files.write_json(own / "reports/again/study.json", about)
    run = denoise(own, "compare", "tried", "again")
    assert run.returncode == 0 and "hold different mixtures" in run.stderr
    assert "second - first" not in run.stdout
    about["test_sets"] = {"other": about["test_sets"]["test"]}
    files.write_json(own / "reports/again/study.json", about)
    run = denoise(own, "compare", "tried", "again")
    assert run.returncode == 1 and "have no test set in common" in run.stderr
    run = denoise(own, "compare", "tried", "agian")
    assert run.returncode == 1 and "did you mean 'again'" in run.stderr


def test_models_and_where_print_json(study):
    trained = json.loads(denoise(study, "models", "--json").stdout)["trained"]
    assert {row["variant"] for row in trained} >= {VARIANT}
    assert all(isinstance(row["si_sdr"], float) and row["pesq_wb"] is None for row in trained)
    report = json.loads(denoise(study, "where", "--json").stdout)["report"]
    assert Path(report) == study / "reports/tried/report.html"


def test_a_closed_pipe_causes_no_traceback(study):
    run = subprocess.run(
        f"{BIN}/denoise models --json | head -1", shell=True, cwd=study, capture_output=True,
        text=True,
    )  # fmt: skip
    assert run.stdout == "{\n" and run.stderr == ""


def test_a_run_reports_current_steps_and_remaining_work(study):
    said = (study.parent / "said").read_text()
    training = re.findall(r"^  Training (\S+) \(\d+ s\)", said, re.MULTILINE)
    assert VARIANT.removeprefix("quickstart_") in training or len(training) > 1
    steps = re.findall(r"^\[\d\d:\d\d\] (\d+) of (\d+) steps", said, re.MULTILINE)
    done = [int(one) for one, _ in steps]
    assert done and done == sorted(done) and len({total for _, total in steps}) == 1
    # Before anything is known of trainings, how many there are; never less than to the end.
    assert re.search(r"^\[\d\d:\d\d\] \d+ of \d+ steps, 3 trainings to begin; running:", said, re.M)
