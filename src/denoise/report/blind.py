"""Blind listening tests: the page for listeners, and its part of the report.

The page knows nothing of the methods that it plays: which version is which stands in a key beside
the report, and their numbers differ from trial to trial.
"""

from __future__ import annotations

import itertools
import json
import secrets
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd
from markupsafe import Markup

from denoise.core import files
from denoise.core.errors import UserError, unknown
from denoise.core.settings import digest
from denoise.core.tables import read_table, write_table
from denoise.evaluation.experiment import ExperimentRecord
from denoise.evaluation.listening import ANCHOR, REFERENCE
from denoise.evaluation.scores import by_utterance, join_scores, ranking_measure
from denoise.report import listening
from denoise.report.pages import asset, render

MOST_VERSIONS = 12
"""Versions per trial, including reference and anchor (ITU-R BS.1534-3, 5.3)."""
_DEFAULT_VARIANTS = 5
_BEGIN, _END = "<!-- blind test -->", "<!-- end of blind test -->"


class BlindTest(NamedTuple):
    """Settings of a listening test."""

    kind: Literal["mushra", "ab"] = "mushra"
    """``mushra``: every version of an utterance is rated from 0 to 100 beside the reference, with
    the reference and the unprocessed input hidden among them (ITU-R BS.1534-3; the input is the
    anchor, as band limitation is not what denoisers do).  ``ab``: two versions at a time."""
    test_set: str | None = None
    """Default the first."""
    methods: tuple[str, ...] = ()
    """Variants and baselines; the best five variants and the best baseline if none are given."""
    utterances: int = 6
    """Number of utterances, chosen as for the report."""
    seed: int | None = None
    """Seed of the order of the versions; default random."""


def make_page(folder: Path, wanted: BlindTest) -> tuple[str, dict[str, Any]]:
    """The page of a listening test, and its key.

    Parameters
    ----------
    folder
        Of a report, with the record of the experiment and ``leaderboard.csv``.

    Raises
    ------
    UserError
        If a method or test set is not in the report, or there are too few or too many to compare.
    """
    record = ExperimentRecord.read(folder / "study.json")
    test_set = wanted.test_set or next(iter(record.test_sets))
    if test_set not in record.test_sets:
        raise unknown("test set", test_set, record.test_sets)
    methods, variants = _chosen_methods(folder, test_set, wanted)
    outputs = record.played_outputs(test_set)
    sound = listening.TestAudio(record.test_sets[test_set], outputs)
    if not sound.has_clean and wanted.kind == "mushra":
        raise UserError(
            f"test set '{test_set}' has no clean recordings to serve as the reference of a MUSHRA "
            "test: compare pairs with --kind ab"
        )
    first = {label: next(iter(record.methods[label].runs[test_set].items()))
             for label in dict.fromkeys([ANCHOR, *methods])}  # fmt: skip
    scores = [({"method": label, "seed": seed, "test_set": test_set}, path)
              for label, (seed, run) in first.items() for path in run.scores]  # fmt: skip
    for path in [*(path for _, path in scores), *(outputs[label] for label in methods)]:
        if not path.is_file():
            raise UserError(
                f"{path} is missing: run `snakemake` with the configuration of "
                f"{record.experiment} again"
            )
    table = by_utterance(join_scores(scores))
    ranked = [method for method in methods if method in variants] or methods
    chosen = listening.chosen(table, ranked, wanted.utterances)
    kind, experiment = wanted.kind, record.experiment
    heard_first = REFERENCE if sound.has_clean else ANCHOR
    test: dict[str, Any] = {"experiment": experiment, "kind": kind, "trials": []}
    key: dict[str, Any] = {**test, "test_set": test_set, "methods": methods, "trials": {}}
    key["seed"] = str(secrets.randbits(128) if wanted.seed is None else wanted.seed)
    rng = np.random.default_rng(int(key["seed"]))
    for utterance in list(chosen)[: wanted.utterances]:
        waves = listening.same_level(sound.signals(sound.table.loc[utterance], methods))
        longest = int(listening.LONGEST_S * sound.rate)
        audio = {name: wave[:longest] for name, wave in waves.items()}
        groups: Iterable[tuple[str, ...]] = (
            [(*methods, REFERENCE, ANCHOR)]
            if kind == "mushra"
            else itertools.combinations(methods, 2)
        )
        for names in groups:
            number = f"t{len(test['trials']):02d}"
            order = [names[k] for k in rng.permutation(len(names))]
            key["trials"][number] = {
                "utterance": utterance,
                "versions": {f"v{k}": name for k, name in enumerate(order)},
            }
            test["trials"].append(
                {
                    "id": number,
                    "rate": sound.rate,
                    "reference": _encoded(audio[heard_first], sound.rate, rng),
                    "versions": [
                        {"id": f"v{k}", "uri": _encoded(audio[n], sound.rate, rng)}
                        for k, n in enumerate(order)
                    ],
                }
            )
    test["id"] = key["id"] = digest(key, 12)
    test["reference"] = "Reference" if sound.has_clean else "Recording"
    page = render(
        "blind.html",
        test=test,
        about="The speech has the same level in all versions." if sound.has_clean else "",
        style=asset("style.css"),
        scripts=[asset("player.js"), asset("blind.js")],
    )
    return page, key


def _encoded(wave: np.ndarray, rate: int, rng: np.random.Generator) -> str:
    """Audio in 16 bits, with dither of its own: the source of the page does not show that a hidden
    reference is the open one.

    Of a triangular density two steps wide (Lipshitz, Wannamaker & Vanderkooy, JAES 40(5), 1992).
    """
    dither = rng.triangular(-1, 0, 1, len(wave)) / (1 << 15)
    return listening.data_uri("audio/flac", listening.flac(wave + dither, rate))


def _chosen_methods(folder: Path, test_set: str, wanted: BlindTest) -> tuple[list[str], list[str]]:
    """The methods of a test, and all variants, the best first."""
    board = read_table(folder / "leaderboard.csv")
    board = board[board["test_set"] == test_set]
    board = board.sort_values(ranking_measure(board), ascending=False)
    variants = list(board.loc[board["kind"] == "variant", "variant"])
    others = [n for n in board.loc[board["kind"] == "baseline", "variant"] if n != ANCHOR]
    methods = list(wanted.methods) or variants[:_DEFAULT_VARIANTS] + others[:1]
    for name in methods:
        if name not in {*variants, *others}:
            raise unknown("method", name, [*variants, *others])
    if wanted.kind == "ab" and len(methods) < 2:
        raise UserError("an A/B test needs two methods at least: name them with --methods")
    if wanted.kind == "mushra" and len(methods) + 2 > MOST_VERSIONS:
        raise UserError(
            f"{len(methods)} methods are too many to rate beside each other: name at most "
            f"{MOST_VERSIONS - 2} with --methods"
        )
    return methods, variants


def section(experiment: str, scores: Path | None) -> Markup:
    """The section of a report about its scored blind test, between two marks."""
    results = files.read_json(scores) if scores is not None else None
    text = render("blind_section.html", experiment=experiment, results=results)
    return Markup(f"{_BEGIN}{text}{_END}")


def write(folder: Path, kind: str, table: pd.DataFrame, listeners: int, left_out: int) -> bool:
    """Write ``listening.csv`` beside a report and put it into that; False if there is none."""
    results = {"kind": kind, "listeners": listeners, "left_out": left_out}
    scores = folder / "listening_scores.json"
    files.write_json(scores, {**results, "rows": as_json(table)})
    write_table(folder / "listening.csv", table, "%.6g")
    path = folder / "report.html"
    if not path.is_file():
        return False
    before, mark, rest = path.read_text("utf-8").partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not (mark and end):
        return False
    files.write_text(path, f"{before}{section(folder.name, scores)}{after}")
    return True


def as_json(table: pd.DataFrame) -> list[dict[str, Any]]:
    """A table for scripts: missing values are null."""
    return list(json.loads(table.to_json(orient="records")))
