"""The examples of docs/extending.md work as they stand, each in under 30 lines of code."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import encoded, hiss, tar_of

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
SECTIONS = {
    part.split("\n", 1)[0]: re.findall(r"```(python|diff)\n# (\S+)\n(.*?)```", part, re.DOTALL)
    for part in PAGE.split("\n## ")[1:]
}


def code_lines(blocks) -> int:
    """Lines that are neither empty, nor a docstring, nor there before."""
    count = 0
    for kind, _, text in blocks:
        lines = text.splitlines()
        if kind == "diff":
            lines = [line[1:] for line in lines if line.startswith("+")]
        text = re.sub(r'"""(.*?)"""', "", "\n".join(lines), flags=re.DOTALL)
        count += sum(bool(line.strip()) for line in text.splitlines())
    return count


def apply(blocks, folder: Path) -> None:
    """Apply blocks of the page to a copy of the project's sources in `folder`."""
    for kind, name, text in blocks:
        path = folder / name
        if kind == "python":
            path.write_text(text)
            continue
        lines = text.splitlines(keepends=True)
        before, after = (
            "".join(line[1:] for line in lines if line[0] in f" {sign}") for sign in "-+"
        )
        content = path.read_text()
        assert content.count(before) == 1, f"{name} no longer has {before!r} once"
        path.write_text(content.replace(before, after))


def use(section: str, tmp_path: Path, code: str, **given: object) -> dict:
    """Apply a section, run `code` with the result, and return what it puts into `found`."""
    shutil.copytree(ROOT / "src", tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__"))
    apply(SECTIONS[section], tmp_path)
    head = "import json, sys; given = json.loads(sys.argv[1]); found = {}\n"
    ended = subprocess.run(
        [sys.executable, "-c", f"{head}{code}\nprint(json.dumps(found))", json.dumps(given)],
        env={**os.environ, "PYTHONPATH": str(tmp_path / "src")},
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 0, ended.stderr[-3000:]
    return json.loads(ended.stdout.splitlines()[-1])


@pytest.mark.parametrize("section", SECTIONS)
def test_examples_are_short(section):
    assert 0 < code_lines(SECTIONS[section]) < 30


def test_the_network_of_the_example_builds_from_the_configuration(tmp_path):
    code = """
from pathlib import Path
from denoise.networks.registry import build_network
from denoise.study.plan import make_plan
network = {"name": "plain", "filters": [4, 8]}
plan = make_plan({"preset": "quickstart", "sweep": {}, "set": {"network": network}},
                 Path(given["presets"]))
(variant,) = plan.variants.values()
model = build_network(variant.recipe.network, (8, 8, 1), 2)
found = {"parameters": model.count_params(), "output": list(model.output_shape)}
"""
    found = use("A network", tmp_path, code, presets=str(ROOT / "presets"))
    # 3x3 from 1 to 4, 3x3 from 4 to 8, 1x1 from 8 to 2, with biases.
    assert found == {"parameters": 40 + 296 + 18, "output": [None, 8, 8, 2]}


def test_the_loss_of_the_example_trains_by_its_name(tmp_path):
    code = """
import numpy as np
from denoise.networks.registry import build_network
from denoise.networks.unet import UNetSettings
from denoise.training import losses
from denoise.training.settings import TrainingSettings
name = TrainingSettings(loss="charbonnier").loss
model = build_network(UNetSettings(filters=(2, 4)), (8, 8, 1))
model.compile("adam", losses.LOSSES[name])
zeros = np.zeros((3, 8, 8, 1), np.float32)
found = {"at_zero": float(np.mean(losses.LOSSES[name](zeros, zeros + 3))),
         "trained": float(model.train_on_batch(zeros, zeros))}
"""
    found = use("A loss", tmp_path, code)
    assert found["at_zero"] == pytest.approx((9 + 1e-6) ** 0.5)
    assert found["trained"] == pytest.approx(1e-3, abs=1e-3)


def test_the_measure_of_the_example_stands_in_tables_and_figures(tmp_path):
    code = """
import numpy as np
from denoise.metrics import registry
from denoise.report import figures
noise = np.random.default_rng(0).standard_normal(8000).astype(np.float32)
values = registry.score_utterance(noise, 10 * noise, 8000)
found = {"lsd": values["lsd"], "title": figures.title("lsd"), "last": list(registry.METRICS)[-2:]}
"""
    found = use("A measure of the results", tmp_path, code)
    # Ten times the amplitude is 20 dB in every bin.
    assert found == {
        "lsd": pytest.approx(20, abs=1e-6),
        "title": "LSD (dB)",
        "last": ["lsd", "mse"],
    }


def test_the_corpus_of_the_example_is_indexed(tmp_path):
    names = [
        f"musan/{folder}/{kind}-{number}.wav"
        for folder, kind in (
            ("noise/free-sound", "a"),
            ("noise/sound-bible", "b"),
            ("music/x", "c"),
        )
        for number in range(2)
    ]
    archive = tmp_path / "musan.tar.gz"
    archive.write_bytes(tar_of({name: encoded(hiss(0.5, 8000, 0), 8000, "WAV") for name in names}))
    code = """
from pathlib import Path
from denoise.core.tables import read_table
from denoise.corpora.indexing import index_subset
from denoise.corpora.sources import SourceSettings
source = SourceSettings(corpus="musan")
target = Path(given["target"])
index_subset("musan", source.resolved_subsets()[0], [Path(given["archive"])], target)
table = read_table(target)
found = {"kinds": sorted(table["noise_type"]), "seconds": table["duration"].max()}
"""
    found = use(
        "A corpus", tmp_path, code, target=str(tmp_path / "noise.csv"), archive=str(archive)
    )
    assert found == {"kinds": ["free-sound"] * 2 + ["sound-bible"] * 2, "seconds": 0.5}
