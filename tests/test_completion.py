"""What bash offers at a press of the tab key."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from workflow_runs import BIN

# As bash calls a completing function: the command, the word, the word before it.
_PRESS = """
source "$1"; shift
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=()
_shtab_denoise denoise "${@: -1}" "${COMP_WORDS[COMP_CWORD - 1]}"
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture(scope="module")
def script(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("completion") / "denoise.bash"
    told = subprocess.run([BIN / "denoise", "--completion", "bash"], stdout=subprocess.PIPE)
    path.write_bytes(told.stdout)
    return path


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["sc"], "score"),
        (["enhance", "--mo"], "--model"),
        (["enhance", "no"], "noisy.wav"),
        (["enhance", "--model", ""], "best mine_a mine_b reports results small stream"),
        (["export", "mi"], "mine_a mine_b"),
        (["export", ".g"], ".git"),
        (["score", "--clean", ""], ".git reports results"),
        (["why", ""], "mine_a mine_b"),
        (["compare", "first", ""], "first reports results"),
        (["compare", "first", "first", "--variants", "mine_a", "mine_"], "mine_a mine_b"),
        (["listen", "first", "--methods", "r"], "rnnoise"),
        (["listen", "first", "--kind", ""], "ab mushra"),
    ],
)
def test_verbs_files_and_names_are_completed(script, tmp_path, words, offered):
    for folder in ("results", "reports/first", ".git"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "reports/first/leaderboard.csv").write_text(
        "variant,kind\nmine_a,variant\nmine_b,variant\nrnnoise,baseline\n"
    )
    (tmp_path / "noisy.wav").touch()
    run = subprocess.run(
        ["bash", "-c", _PRESS, "press", script, "denoise", *words],
        cwd=tmp_path, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert sorted(run.stdout.split()) == offered.split()
    assert run.stderr == ""


def test_bundled_models_are_completed_when_nothing_is_trained(script, tmp_path):
    run = subprocess.run(
        ["bash", "-c", _PRESS, "press", script, "denoise", "enhance", "--model", ""],
        cwd=tmp_path, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert run.stdout.split() == ["best", "stream", "small"] and run.stderr == ""
