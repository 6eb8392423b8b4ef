"""Blind listening tests: the page for listeners, and its part of the report.

The page knows nothing of the methods that it plays: which version is which stands in a key beside
the report, and their numbers differ from trial to trial.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup

from denoise.core import files
from denoise.core.errors import UserError, unknown
from denoise.core.settings import digest
from denoise.core.tables import read_table, write_table
from denoise.evaluation.listening import ANCHOR, REFERENCE
from denoise.evaluation.scores import by_utterance, must_be_reported, read_scores, report_folder
from denoise.report import listening
from denoise.report.pages import asset, render

KINDS = ("mushra", "ab")
MOST_VERSIONS = 12
"""Of a trial, with reference and anchor (ITU-R BS.1534-3, 5.3)."""
_DEFAULT_VARIANTS = 5
_BEGIN, _END = "<!-- blind test -->", "<!-- end of blind test -->"


def make_page(
    experiment: str,
    *,
    kind: str,
    test_set: str | None = None,
    methods: list[str] | None = None,
    utterances: int = 6,
    seed: int = 0,
) -> tuple[str, dict[str, Any]]:
    """The page of a listening test, and its key.

    Parameters
    ----------
    kind
        ``mushra``: every version of an utterance is rated from 0 to 100 beside the reference, with
        the reference and the unprocessed input hidden among them (ITU-R BS.1534-3; the input is
        the anchor, as band limitation is not what denoisers do).  ``ab``: two versions at a time.
    methods
        Variants and baselines; the best five variants and the best baseline if none are given.
    utterances
        How many, chosen as for the report.
    """
    folder = report_folder(experiment)
    study = files.read_json(folder / "study.json")
    test_set = test_set or next(iter(study["test_sets"]))
    if test_set not in study["test_sets"]:
        raise unknown("test set", test_set, study["test_sets"])
    board = read_table(folder / "leaderboard.csv")
    board = board[board["test_set"] == test_set].sort_values("si_sdr", ascending=False)
    variants = list(board.loc[board["kind"] == "variant", "variant"])
    others = [n for n in board.loc[board["kind"] == "baseline", "variant"] if n != ANCHOR]
    if methods is None:
        methods = variants[:_DEFAULT_VARIANTS] + others[:1]
    for name in methods:
        if name not in {*variants, *others}:
            raise unknown("method", name, [*variants, *others])
    if kind == "ab" and len(methods) < 2:
        raise UserError("an A/B test needs two methods at least: name them with --methods")
    if kind == "mushra" and len(methods) + 2 > MOST_VERSIONS:
        raise UserError(
            f"{len(methods)} methods are too many to rate beside each other: name at most "
            f"{MOST_VERSIONS - 2} with --methods"
        )
    seeds = {**dict.fromkeys(variants, study["seeds"][0]), **dict.fromkeys(others, 0)}
    sound = listening.TestAudio(test_set, Path("results/test_sets") / study["test_sets"][test_set],
                                seeds)  # fmt: skip
    scores = [Path(f"results/scores/{name}/seed{seeds.get(name, 0)}/{test_set}.csv")
              for name in dict.fromkeys([ANCHOR, *methods])]  # fmt: skip
    must_be_reported(folder, scores)
    table = by_utterance(read_scores(scores))
    chosen = listening.chosen(table, [m for m in methods if m in variants] or methods, utterances)
    test: dict[str, Any] = {"experiment": experiment, "kind": kind, "trials": []}
    key: dict[str, Any] = {**test, "test_set": test_set, "methods": methods, "trials": {}}
    rng = np.random.default_rng(seed)
    for utterance in list(chosen)[:utterances]:
        waves = listening.same_level(sound.signals(sound.table.loc[utterance], methods))
        longest = int(listening.LONGEST_S * sound.rate)
        audio = {
            name: listening.data_uri("audio/flac", listening.flac(wave[:longest], sound.rate))
            for name, wave in waves.items()
        }
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
                    "reference": audio[REFERENCE],
                    "versions": [{"id": f"v{k}", "uri": audio[n]} for k, n in enumerate(order)],
                }
            )
    test["id"] = key["id"] = digest(key, 12)
    page = render(
        "blind.html",
        test=test,
        about="The speech has the same level in all versions.",
        style=asset("style.css"),
        scripts=[asset("player.js"), asset("blind.js")],
    )
    return page, key


def section(folder: Path) -> Markup:
    """What a report says of the blind test that was scored beside it, between two marks."""
    path = folder / "listening_scores.json"
    results = files.read_json(path) if path.is_file() else None
    text = render("blind_section.html", experiment=folder.name, results=results)
    return Markup(f"{_BEGIN}{text}{_END}")


def write(folder: Path, kind: str, table: pd.DataFrame, listeners: int, left_out: int) -> bool:
    """Write ``listening.csv`` beside a report and put it into that; False if there is none."""
    results = {"kind": kind, "listeners": listeners, "left_out": left_out}
    files.write_json(folder / "listening_scores.json", {**results, "rows": as_json(table)})
    write_table(folder / "listening.csv", table, "%.6g")
    path = folder / "report.html"
    if not path.is_file():
        return False
    before, mark, rest = path.read_text("utf-8").partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not (mark and end):
        return False
    files.write_text(path, f"{before}{section(folder)}{after}")
    return True


def as_json(table: pd.DataFrame) -> list[dict[str, Any]]:
    """A table for scripts: missing values are null."""
    return list(json.loads(table.to_json(orient="records")))
