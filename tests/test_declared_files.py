"""Rules pass what they declare: scripts read all of it, and nothing else of the study."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest

CODE = ("src/", "workflow/", ".snakemake/")
UNDECLARED = {
    # An index lists the recordings, which stay where other studies may read them.
    "prepare": "resources/corpora/",
    # A training goes on from its own checkpoints.
    "train": "results/models/",
    # Its pictures and audio, which a library in C has written.
    "track": "results/tracking/",
    # Snakemake's times of jobs, which no rule can declare as its output.
    "write_report": "results/benchmarks/",
}
"""What scripts may read beside their inputs."""

OPTIONAL = ("dnsmos", "transcribe", "wer")
"""Scripts of metrics that the study does not ask for."""


UNREAD = {("enhance", "model")}
"""Read instead of ``model.onnx`` where a network cannot be converted."""


def jobs(study: Path) -> list[tuple[dict, set[str]]]:
    """Of every job that ran: what its rule declares, and what it read and had not written."""
    found = []
    for declared in sorted((study.parent / "opened").glob("*.json")):
        written, read = set(), set()
        for line in declared.with_suffix(".opened").read_text().splitlines():
            how, path = line.split(" ", 1)
            if how == "write":
                written.add(path)
            elif path not in written and not path.startswith(CODE):
                read.add(path)
        found.append((json.loads(declared.read_text()), read))
    return found


def below(path: str, folders: list[str]) -> bool:
    return any(path == folder or path.startswith(f"{folder}/") for folder in folders)


@pytest.fixture(scope="module")
def ran(study) -> list[tuple[dict, set[str]]]:
    found = jobs(study)
    rules = {declared["rule"] for declared, _ in found}
    scripts = {path.stem for path in (study / "workflow" / "scripts").glob("*.py")}
    assert scripts - {"report", "scaling", *OPTIONAL} <= rules and "write_report" in rules
    return found


def test_every_declared_input_is_read(ran):
    unread = {
        (declared["rule"], name)
        for declared, read in ran
        for name, paths in declared["input"].items()
        if paths and not any(below(path, paths) for path in read)
    }
    assert unread == UNREAD


def test_nothing_undeclared_is_read(ran):
    undeclared = {
        (declared["rule"], path)
        for declared, read in ran
        for path in read
        if not below(path, [*itertools.chain(*declared["input"].values()), *declared["output"]])
        and not path.startswith(UNDECLARED.get(declared["rule"], " "))
    }
    assert undeclared == set()
