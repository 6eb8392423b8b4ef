"""Blind listening tests: a page for listeners, and the table of what they said.

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

from denoise import files
from denoise.comparison import by_utterance, must_be_reported, read_scores, report_folder
from denoise.errors import UserError, unknown
from denoise.report import listening
from denoise.report.pages import asset, render
from denoise.settings import Settings, digest
from denoise.statistics import cluster_bootstrap, holm

KINDS = ("mushra", "ab")
REFERENCE, ANCHOR = "clean", "noisy"
MOST_VERSIONS = 12
"""Of a trial, with reference and anchor (ITU-R BS.1534-3, 5.3)."""
_DEFAULT_VARIANTS = 5
_PASSED_SHARE, _PASSED_SCORE = 0.15, 90
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
    board = files.read_table(folder / "leaderboard.csv")
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


class _Rating(Settings):
    """What a listener said of a trial."""

    trial: str
    seconds: float = 0
    scores: dict[str, float] = {}
    versions: list[str] = []
    preferred: str | None = None


class _Answers(Settings):
    """A file that the page saves."""

    test: str
    experiment: str
    kind: str = ""
    listener: str
    began: str = ""
    ended: str = ""
    ratings: list[_Rating]


def read_ratings(paths: list[Path]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The key of a test, and what each listener said; refuses files that do not belong together."""
    given: dict[Path, _Answers] = {}
    for path in paths:
        try:
            given[path] = _Answers.model_validate(files.read_json(path))
        except OSError as error:
            raise UserError(f"{path}: {error.strerror}") from None
        except ValueError:
            raise UserError(
                f"{path} is no file of ratings: give those that the page of `denoise listen` saved"
            ) from None
    first = next(iter(given.values()))
    key_path = Path("reports") / first.experiment / "listening.json"
    if not key_path.is_file():
        raise UserError(f"{key_path} is missing: it says which version is which")
    key = files.read_json(key_path)
    # Whoever saved twice is heard once: the file with the most answers, or else the last.
    heard: dict[str, _Answers] = {}
    for path, one in given.items():
        if one.test != key["id"]:
            raise UserError(f"{path} is of another listening test than {key_path}")
        for rating in one.ratings:
            _check(path, rating, key)
        known = heard.get(one.listener)
        if known is None or len(one.ratings) >= len(known.ratings):
            heard[one.listener] = one
    return key, [one.model_dump() for one in heard.values()]


def _check(path: Path, rating: _Rating, key: dict[str, Any]) -> None:
    if rating.trial not in key["trials"]:
        raise UserError(f"{path}: there is no trial '{rating.trial}' in the test")
    versions = key["trials"][rating.trial]["versions"]
    named = [*rating.scores, *([rating.preferred] if rating.preferred else [])]
    for name in named:
        if name not in versions:
            raise UserError(f"{path}: there is no version '{name}' in trial {rating.trial}")
    if not all(0 <= value <= 100 for value in rating.scores.values()):
        raise UserError(f"{path}: scores must be 0 to 100, those of trial {rating.trial} are not")


def score(key: dict[str, Any], listeners: list[dict[str, Any]]) -> tuple[pd.DataFrame, list[str]]:
    """The table of a test, and the listeners who were left out.

    Returns
    -------
    pd.DataFrame
        Of a MUSHRA test a row for each method: ``method``, ``score`` (mean, 0 to 100), ``low`` and
        ``high`` (95 %, bootstrap over listeners, or over trials if there is one), ``n``.  Whoever
        rates the hidden reference below 90 in more than 15 % of the trials is left out (ITU-R
        BS.1534-3, 4.1.2).  Of an A/B test a row for each pair: ``first``, ``second``, how often
        each was ``preferred_first`` and ``preferred_second``, ``ties``, the ``share`` of the first
        with its 95 % interval (Wilson, JASA 22, 1927; ties are left out) and ``p`` of the sign test
        corrected by Holm's method.
    """
    if not any(one["ratings"] for one in listeners):
        raise UserError("the files hold no ratings")
    return _preferences(key, listeners) if key["kind"] == "ab" else _mushra(key, listeners)


def _mushra(key: dict[str, Any], listeners: list[dict[str, Any]]) -> tuple[pd.DataFrame, list[str]]:
    rows = [
        (one["listener"], rating["trial"], key["trials"][rating["trial"]]["versions"][version],
         float(value))
        for one in listeners
        for rating in one["ratings"]
        for version, value in rating["scores"].items()
    ]  # fmt: skip
    table = pd.DataFrame(rows, columns=["listener", "trial", "method", "score"])
    reference = table[table["method"] == REFERENCE]
    low = (reference["score"] < _PASSED_SCORE).groupby(reference["listener"]).mean()
    left_out = sorted(low.index[low > _PASSED_SHARE])
    kept = table[~table["listener"].isin(left_out)]
    if kept.empty:
        raise UserError(
            "no listener found the hidden reference often enough (90 or more in 85 % of the "
            "trials): none can be counted"
        )
    found = []
    for method, part in kept.groupby("method"):
        estimate = cluster_bootstrap(part["score"].to_numpy(), part["listener"].to_numpy())
        found.append((method, estimate.mean, estimate.low, estimate.high, len(part)))
    result = pd.DataFrame(found, columns=["method", "score", "low", "high", "n"])
    return result.sort_values("score", ascending=False, ignore_index=True), left_out


def _preferences(
    key: dict[str, Any], listeners: list[dict[str, Any]]
) -> tuple[pd.DataFrame, list[str]]:
    from scipy.stats import binomtest

    counts: dict[tuple[str, str], list[int]] = {}
    for one in listeners:
        for rating in one["ratings"]:
            versions = key["trials"][rating["trial"]]["versions"]
            first, second = sorted(versions.values(), key=key["methods"].index)
            preferred = rating["preferred"]
            place = 2 if preferred is None else (first, second).index(versions[preferred])
            counts.setdefault((first, second), [0, 0, 0])[place] += 1
    rows = []
    for (first, second), (wins, losses, ties) in counts.items():
        decided = wins + losses
        share, low, high, p_value = np.nan, np.nan, np.nan, 1.0
        if decided:
            test = binomtest(wins, decided)
            interval = test.proportion_ci(method="wilson")
            share, low, high, p_value = wins / decided, interval.low, interval.high, test.pvalue
        rows.append((first, second, wins, losses, ties, share, low, high, p_value))
    table = pd.DataFrame(
        rows,
        columns=["first", "second", "preferred_first", "preferred_second", "ties", "share", "low",
                 "high", "p"],
    )  # fmt: skip
    table["p"] = holm(table["p"].tolist())
    return table, []


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
    files.write_table(folder / "listening.csv", table, "%.6g")
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
