"""Scores of blind listening tests: reading the listeners' files, and the table."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from denoise.core import files
from denoise.core.errors import UserError
from denoise.core.settings import Settings
from denoise.evaluation.statistics import estimate, holm

REFERENCE, ANCHOR = "clean", "noisy"
_PASSED_SHARE, _PASSED_SCORE = 0.15, 90


class _Rating(Settings):
    """A listener's ratings in one trial."""

    trial: str
    seconds: float = 0
    scores: dict[str, float] = {}
    versions: list[str] = []
    preferred: str | None = None


class _Answers(Settings):
    """A file saved by the page of the test."""

    test: str
    experiment: str
    kind: str = ""
    listener: str
    began: str = ""
    ended: str = ""
    ratings: list[_Rating]


def read_ratings(
    paths: list[Path], key_of: Callable[[str], Path]
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The key of a test, and the ratings of each listener.

    Parameters
    ----------
    paths
        Files that the page saved.
    key_of
        Experiment → the key of its test.

    Raises
    ------
    UserError
        If they do not belong together, or are none.
    """
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
    key_path = key_of(first.experiment)
    if not key_path.is_file():
        raise UserError(
            f"{key_path} is missing: it is the key of the test, without which ratings cannot be "
            "scored; put it back, or run this in the folder in which the test was made"
        )
    key = files.read_json(key_path)
    # Whoever saved twice is heard once: the file with the most answers, or else the last.
    by_listener: dict[str, _Answers] = {}
    for path, one in given.items():
        if one.test != key["id"]:
            raise UserError(f"{path} is of another listening test than {key_path}")
        for rating in one.ratings:
            _check(path, rating, key)
        known = by_listener.get(one.listener)
        if known is None or len(one.ratings) >= len(known.ratings):
            by_listener[one.listener] = one
    return key, [one.model_dump() for one in by_listener.values()]


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
        ``high`` (95 %, over listeners, or over trials if there is one), ``n``.  Whoever
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
        scores, whose = part["score"].to_numpy(float), part["listener"].to_numpy(str)
        mean = estimate([scores[None]], [1], whose)
        low, high = np.clip([mean.low, mean.high], 0, 100)  # the scale ends there
        found.append((method, mean.mean, low, high, len(part)))
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
