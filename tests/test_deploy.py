"""The workflow as a module of somebody's own folder, as snakedeploy writes it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess

import pytest
import yaml
from workflow_runs import BIN, ROOT, TINY, configure, copy_project, planned, snakemake


def git(folder, *arguments: str) -> None:
    who = ["-c", "user.name=tests", "-c", "user.email=tests@localhost"]
    subprocess.run(["git", *who, *arguments], cwd=folder, check=True, capture_output=True)


def hosted(folder) -> dict[str, str]:
    """Put the project into a repository; the environment in which it lies at github.com."""
    project = copy_project(folder / "lab")
    shutil.copy(ROOT / "config.yaml", project)
    shutil.copytree(ROOT / "config", project / "config", symlinks=True)
    git(project, "init", "--initial-branch", "main")
    git(project, "add", "--all")
    git(project, "commit", "--message", "all")
    git(folder, "clone", "--bare", str(project), str(folder / "hosts/lab/denoise"))
    return {
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": f"url.file://{folder}/hosts/.insteadOf",
        "GIT_CONFIG_VALUE_0": "https://github.com/",
        "XDG_CACHE_HOME": str(folder / "cache"),
    }


@pytest.mark.slow
def test_a_deployed_workflow_runs_the_same_jobs_as_a_clone(tmp_path, monkeypatch):
    for name, value in hosted(tmp_path).items():
        monkeypatch.setenv(name, value)
    study = tmp_path / "study"
    run = subprocess.run(
        [str(BIN / "snakedeploy"), "deploy-workflow", "https://github.com/lab/denoise",
         str(study), "--branch", "main"],
        capture_output=True, text=True, env=os.environ,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    assert yaml.safe_load((study / "config/config.yaml").read_text())["preset"] == "quickstart"

    clone = copy_project(tmp_path / "clone")
    config = {"set": TINY, "sweep": {"training.loss": ["huber", "mae"]}}
    configure(clone, **config)
    shutil.copy(clone / "config.yaml", study / "config/config.yaml")
    jobs = planned(study)
    assert jobs == planned(clone) and jobs["train"] == 2

    target = "resources/corpora/synthetic/noise.csv"
    for folder in (study, clone):
        run = snakemake(folder, target)
        assert run.returncode == 0, run.stdout[-2000:] + run.stderr[-2000:]
    assert (study / target).read_bytes() == (clone / target).read_bytes()


def test_profiles_name_existing_rules_and_group_compatible_rules():
    rules: dict[str, str] = {}
    for path in (ROOT / "workflow" / "rules").glob("*.smk"):
        for block in re.split(r"^rule ", path.read_text(), flags=re.MULTILINE)[1:]:
            rules[block.partition(":")[0]] = block
    for path in (ROOT / "profiles").glob("*/config.yaml"):
        profile = yaml.safe_load(path.read_text())
        for key in ("set-resources", "groups", "set-threads"):
            for entry in profile.get(key, ()):
                assert re.split("[:=]", entry)[0] in rules, (path, entry)
    # Snakemake wants one value of a text in all jobs of a group.
    for name, block in rules.items():
        asked = re.search(r"^    resources:\n((?:        .*\n)+)", block, re.MULTILINE)
        names = re.findall(r"^        (\w+)=", asked[1], re.MULTILINE) if asked else []
        assert {*names} <= {"gpu", "downloads"}, name
