"""The tutorial: its files are written and its commands are run, in their order, as they stand."""

from __future__ import annotations

import os
import re
import subprocess

import numpy as np
import pytest
import soundfile
import yaml
from conftest import tone_speech
from workflow_runs import BIN, ROOT, copy_project, planned

PAGE = ROOT / "docs/tutorial.md"


def recordings(folder) -> None:
    """What the page asks for: four speakers, and ten recordings of two kinds of noise."""
    rng = np.random.default_rng(0)
    for seed, speaker in enumerate(("anna", "ben", "carla", "dan", "eva")):
        (folder / "speech" / speaker).mkdir(parents=True)
        for k in range(6):
            wave = tone_speech(4.0, 16000, 10 * seed + k)
            soundfile.write(folder / "speech" / speaker / f"{k}.wav", wave, 16000)
    for kind, colour in (("kitchen", 1), ("street", 8)):
        (folder / "noise" / kind).mkdir(parents=True)
        for k in range(6):
            noise = np.convolve(rng.normal(0, 0.1, 80_000), np.ones(colour) / colour, "same")
            soundfile.write(folder / "noise" / kind / f"{k}.wav", noise, 16000)


def make_quick(preset) -> None:
    """A preset with a network of a few weights, to which the page changes nothing."""
    recipe = yaml.safe_load(preset.read_text())
    recipe["network"]["filters"] = [2, 2, 2, 2, 4]
    recipe["training"]["threads"] = 1
    preset.write_text(yaml.safe_dump(recipe))


@pytest.mark.slow
def test_the_commands_of_the_tutorial_work_as_described(tmp_path):
    folder = copy_project(tmp_path / "clone")
    make_quick(folder / "presets/quickstart.yaml")
    recordings(folder / "my")
    blocks = re.findall(r"```(sh|yaml)\n(.*?)```", PAGE.read_text(), re.DOTALL)
    path = f"{BIN}{os.pathsep}{os.environ['PATH']}"
    said = {}
    for kind, text in blocks:
        if kind == "yaml":
            (folder / "config.yaml").write_text(text)
            continue
        for command in text.splitlines():
            if command.startswith(("make install", "source ")):
                continue
            if command == "snakemake --cores all all" and command in said:
                jobs = planned(folder)
                assert jobs["train"] == 1 and not {"mix", "prepare", "spectrograms"} & set(jobs)
            run = subprocess.run(
                command, shell=True, cwd=folder, capture_output=True, text=True,
                env={**os.environ, "PYTHONPATH": str(folder / "src"), "PATH": path},
            )  # fmt: skip
            assert run.returncode == 0, f"{command}\n{run.stdout[-2000:]}{run.stderr[-2000:]}"
            said[command] = run.stdout
    assert str(folder / "reports/mine/report.html") in said["denoise where"]
    assert (folder / "reports/mine/listening.html").stat().st_size > 10_000
    assert "not there yet" in said["denoise why mine_loss-mae"]
    assert "mine_loss-mae" in said["denoise models"]
    assert len(list((folder / "enhanced").glob("*.wav"))) == 6
