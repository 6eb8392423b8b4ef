"""A study is a folder: made anywhere, with parts of its own, stopped, copied and gone on with."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pandas as pd
import pytest
import yaml
from conftest import encoded, hiss, tar_of, write_mirror
from made import model_card, scores_of
from test_extending import EXAMPLES
from workflow_runs import BIN, ROOT, TINY

from denoise.networks.unet import UNetSettings

PARTS = ("my_losses.py", "my_network.py", "my_metric.py", "my_corpus.py")


def denoise(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(BIN / "denoise"), *arguments],
        cwd=folder, capture_output=True, text=True, env=environment(),
    )  # fmt: skip


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT / "src")}


def said_by(folder: Path, *arguments: str) -> str:
    ended = denoise(folder, *arguments)
    assert ended.returncode == 0, ended.stdout[-2000:] + ended.stderr[-3000:]
    return ended.stdout


def trainings(folder: Path) -> int:
    """How many a run would do."""
    return json.loads(said_by(folder, "plan", "--json"))["steps"].get("train", 0)


def write_study(folder: Path, mirror: Path) -> None:
    """What a user would do after `denoise new`: the parts, and a config.yaml that sweeps them."""
    for name in PARTS:
        (folder / name).write_text(EXAMPLES[name])
    settings = {key: value for key, value in TINY.items() if key != "network.filters"}
    config = yaml.safe_load((folder / "config.yaml").read_text()) | {
        "extensions": list(PARTS),
        "set": {
            **settings,
            "data.noise": [{"corpus": "streets"}],
            "data.speech.0.hours": 0.06,
            "network": {"name": "plain", "filters": [2, 2]},
            "test_sets.test.utterances": 4,
            "training.epochs": 2,
        },
        "sweep": {"training.loss": ["charbonnier", "mse"], "network.filters": [[2], [2, 2]]},
        "baselines": ["noisy"],
        "download": {"mirror": str(mirror), "retries": 0},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config))


@pytest.fixture(scope="module")
def streets(tmp_path_factory) -> Path:
    """A mirror of the corpus that the study brings along."""
    names = [f"streets/noise/{kind}/{kind}-{n}.wav" for kind in ("hum", "fan") for n in range(5)]
    members = {name: encoded(hiss(2, 8000, k), 8000, "WAV") for k, name in enumerate(names)}
    folder = tmp_path_factory.mktemp("mirror")
    return write_mirror(folder, {"streets/streets.tar.gz": tar_of(members)})


def killed_while_training(folder: Path) -> None:
    """Run the study, and kill it and all its processes in the middle of a training."""
    with (folder / "output.log").open("wb") as log:
        running = subprocess.Popen(
            [str(BIN / "denoise"), "run", "--cores", "2"],
            cwd=folder, stdout=log, stderr=log, env=environment(), start_new_session=True,
        )  # fmt: skip
    deadline = time.monotonic() + 300
    while not list(folder.glob("results/models/*/seed0/checkpoints/epoch-*")):
        assert running.poll() is None, (folder / "output.log").read_text()[-3000:]
        assert time.monotonic() < deadline, "no training began"
        time.sleep(0.05)
    os.killpg(running.pid, signal.SIGKILL)
    running.wait()


@pytest.mark.slow
def test_a_study_with_extensions_survives_a_kill_and_a_copy(tmp_path, streets):
    folder = tmp_path / "somewhere" / "losses"
    said_by(tmp_path, "new", str(folder))
    write_study(folder, streets)
    told = said_by(folder, "plan")
    assert re.search(r"losses: 4 variants: \S+charbonnier\S*, ", told)
    assert re.search(r"^ +4 +train$", told, re.MULTILINE)
    assert re.search(r"^ +1 +fetch archives, 1 MB: 1 from the mirror$", told, re.MULTILINE)
    assert not (folder / "resources").exists()

    killed_while_training(folder)
    ended = denoise(folder, "run", "--cores", "2")
    assert ended.returncode == 0, ended.stdout[-3000:] + ended.stderr[-5000:]
    board = pd.read_csv(folder / "reports" / "losses" / "leaderboard.csv")
    assert len(board) == 5 and board["lsd"].between(0, 60).all()
    label = next(name for name in board["variant"] if "charbonnier" in name)
    assert pd.read_csv(scores_of(folder, label, "losses"))["lsd"].notna().all()
    assert "denoise ui, then open http://127.0.0.1:5000/start#/" in said_by(folder, "where")
    assert "charbonnier" in said_by(folder, "models")
    assert "Nothing to do" in said_by(folder, "plan")

    copied = tmp_path / "elsewhere" / "losses"
    shutil.copytree(folder, copied, symlinks=True)
    shutil.rmtree(folder)
    assert "Nothing to do" in said_by(copied, "plan")
    path = copied / "my_losses.py"
    unused = "\n\n@loss('other')\ndef other(target, output):\n    return target - output\n"
    path.write_text(EXAMPLES["my_losses.py"] + unused)
    assert "Nothing to do" in said_by(copied, "plan")
    path.write_text((EXAMPLES["my_losses.py"] + unused).replace("1e-6", "1e-4"))
    assert trainings(copied) == 2
    assert "my_losses.py" in said_by(copied, "why", label)
    ended = denoise(copied, "run", "--cores", "2")
    assert ended.returncode == 0, ended.stdout[-3000:] + ended.stderr[-5000:]
    assert "Nothing to do" in said_by(copied, "plan")


def test_new_makes_a_study_that_can_be_planned_anywhere(tmp_path):
    told = said_by(tmp_path, "new", "my study".replace(" ", "-"), "--preset", "unet-huber-esc50")
    folder = tmp_path / "my-study"
    assert "my-study && denoise plan" in told
    assert sorted(path.name for path in folder.iterdir()) == [
        ".gitignore", "README.md", "config.yaml",
    ]  # fmt: skip
    assert len((folder / "README.md").read_text().splitlines()) <= 8
    config = yaml.safe_load((folder / "config.yaml").read_text())
    assert config["preset"] == "unet-huber-esc50" and config["experiment"] == "my-study"
    found = json.loads(said_by(folder, "plan", "--json"))
    assert found["experiment"] == "my-study" and found["steps"]["train"] == 1
    named = {one["name"]: one for one in found["downloads"]}
    assert named["librispeech/train-clean-100.tar.gz"]["bytes"] == 6300 * 10**6
    assert named["esc50/ESC-50-master.zip"]["source"] == "publisher"
    assert found["training_seconds"] is None


DRY_RUN = """
job      count
-----  -------
all          1
train        1
total        2

"""


def test_plan_estimates_time_from_similar_trainings_and_disk_from_settings(tmp_path, monkeypatch):
    from denoise.networks.card import write_card
    from denoise.study.plan import make_plan
    from denoise.study.preview import preview, steps_of

    monkeypatch.chdir(tmp_path)
    plan = make_plan({"preset": "quickstart", "sweep": {}}, ROOT / "presets")
    assert steps_of(DRY_RUN) == {"all": 1, "train": 1}
    assert preview(plan, DRY_RUN).training_seconds is None
    (recipe,) = (variant.recipe for variant in plan.variants.values())
    for name, network in (("same", recipe.network), ("other", UNetSettings(filters=(2, 4)))):
        folder = tmp_path / "results" / "models" / name / "seed0"
        folder.mkdir(parents=True)
        (folder / "history.csv").write_text("epoch\n1\n2\n3\n4\n5\n")
        card = model_card(name=name, network=network, segment=8064, features=recipe.features)
        took = {"training_windows": 1000, "wall_time_s": 100.0 if name == "same" else 1.0}
        write_card(folder / "card.json", card.model_copy(update=took))
    found = preview(plan, DRY_RUN)
    windows = round(0.5 * 3600 * 8000 / 8064)
    # Five epochs of 1,000 windows in 100 s are 50 windows a second; eight epochs are asked for.
    assert found.training_seconds == pytest.approx(windows * 8 / 50)
    assert found.timed_by == 1
    # Input and target of 128 x 128 in float16.
    assert found.disk["spectrogram caches"] == windows * 128 * 128 * 2 * 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["new", "there"], "there is not empty: give a new folder"),
        (["new", "a/b c"], "the folder's name 'b c', which becomes the name of the study: names"),
        (["new", "x", "--preset", "nothing"], "unknown preset 'nothing'"),
        (["plan"], "there is no config.yaml here"),
        (["run"], "there is no config.yaml here: run this in the folder of a study, or create a"),
        (["ui"], "no run is recorded in this folder yet: type `denoise run` first"),
        (["ui", "--port", "0"], "--port 0 must be between 1 and 65535"),
    ],
)
def test_commands_outside_a_study_fail_with_a_one_line_error(tmp_path, arguments, message):
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "notes.txt").touch()
    ended = denoise(tmp_path, *arguments)
    assert ended.returncode == 1 and ended.stderr.startswith(f"error: {message}"), ended.stderr
    assert len(ended.stderr.splitlines()) == 1 and not (tmp_path / "a").exists()


def test_run_passes_everything_on_to_snakemake(tmp_path):
    said_by(tmp_path, "new", "s")
    told = denoise(tmp_path / "s", "run", "-n", "--quiet", "all", "--cores", "3", "--", "all")
    assert told.returncode == 0, told.stderr
    assert "[SNAKEMAKE ARGUMENT ...]" in said_by(tmp_path, "run", "--help")
    ended = denoise(tmp_path / "s", "run", "-n", "nothing")
    assert ended.returncode == 1 and "nothing" in ended.stdout + ended.stderr


@pytest.mark.parametrize(
    ("given", "cores"),
    [
        ([], True), (["-n"], True), (["--cores", "4"], False), (["-c4"], False),
        (["--jobs=3"], False), (["--profile", "slurm"], False), (["-call"], False),
        (["--configfile", "x"], True),
    ],
)  # fmt: skip
def test_all_cores_are_used_unless_told_otherwise(tmp_path, monkeypatch, given, cores):
    from denoise.study.command import snakemake_words

    monkeypatch.chdir(tmp_path)
    (tmp_path / "Snakefile").touch()
    words = snakemake_words(given)
    assert (words[3:5] == ["--cores", "all"]) == cores and "--snakefile" not in words
    assert words[-len(given) or len(words) :] == given
