"""The examples of docstrings run and give what they say."""

from __future__ import annotations

import doctest
import importlib
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import hiss, tone_speech

import denoise

SOURCE = Path(denoise.__file__).parent
MODULES = sorted(
    ".".join(path.relative_to(SOURCE.parent).with_suffix("").parts).removesuffix(".__init__")
    for path in SOURCE.rglob("*.py")
    if ">>> " in path.read_text()
)


@pytest.fixture(scope="module")
def names():
    """What the examples take as given: noisy speech at 48 kHz, and its parts."""
    rate = 48_000
    clean = tone_speech(2, rate, 1)
    noisy = clean + 0.1 * hiss(2, rate, 2)
    return {
        "denoise": denoise,
        "np": np,
        "Path": Path,
        "rate": rate,
        "clean": clean,
        "noisy": noisy,
        "enhanced": noisy,
        "blocks": np.split(noisy, 100),
        "play": lambda block: None,
    }


def test_the_api_reference_covers_the_public_package():
    page = (SOURCE.parents[1] / "docs/api.md").read_text()
    shown = {importlib.import_module(path.rpartition(".")[0]).__dict__[path.rpartition(".")[2]]
             for path in re.findall(r"^::: (\S+)", page, re.M)}  # fmt: skip
    offered = [getattr(denoise, name) for name in denoise.__all__ if name != "metrics"]
    offered += [getattr(denoise.metrics, name) for name in denoise.metrics.__all__]
    assert shown >= set(offered)
    assert all(each.__doc__ for each in shown)


@pytest.mark.parametrize("name", MODULES)
def test_examples_of_docstrings_work(name, names, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    soundfile.write("talk.wav", names["noisy"], names["rate"])
    module = importlib.import_module(name)
    finder = doctest.DocTestFinder(exclude_empty=True)
    said: list[str] = []
    tried = 0
    for found in finder.find(module, name, globs={**vars(module), **names}):
        runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
        runner.run(found, out=said.append)
        tried += len(found.examples)
    assert tried
    assert not said, "".join(said)
