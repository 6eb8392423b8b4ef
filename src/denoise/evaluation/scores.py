"""Score tables of an experiment, read and averaged over the seeds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from denoise.core.errors import UserError, unknown
from denoise.core.tables import read_table
from denoise.metrics.registry import SCORED


def read_scores(paths: list[Path]) -> pd.DataFrame:
    """All score tables ``<method>/seed<k>/<test_set>.csv`` as one, with those three as columns."""
    tables = []
    for path in paths:
        seed = int(path.parent.name.removeprefix("seed"))
        method = path.parent.parent.name
        table = read_table(path)
        tables.append(table.assign(method=method, seed=seed, test_set=path.stem))
    return pd.concat(tables, ignore_index=True)


def must_be_reported(folder: Path, score_paths: list[Path]) -> None:
    """Refuse results that are not those of a report, as another experiment has made them anew.

    Parameters
    ----------
    folder
        That of the report, with its ``scores.csv``.

    Raises
    ------
    UserError
        If one of the tables is missing, or has other values than in the report.
    """
    again = f"run `snakemake` with the configuration of {folder.name} again"
    for path in [*score_paths, folder / "scores.csv"]:
        if not path.is_file():
            raise UserError(f"{path} is missing: {again}")
    now = read_scores(score_paths)
    keys = ["test_set", "method", "seed", "id"]
    reported = read_table(folder / "scores.csv").set_index(keys)["si_sdr"]
    for (test_set, method, seed), table in now.groupby(keys[:3]):
        before = reported[(reported.index.get_level_values("test_set") == test_set)
                          & (reported.index.get_level_values("method") == method)
                          & (reported.index.get_level_values("seed") == seed)]  # fmt: skip
        found = table.set_index(keys)["si_sdr"]
        same = len(found) == len(before) and found.index.isin(before.index).all()
        if not same or not np.allclose(found, before.reindex(found.index), equal_nan=True):
            raise UserError(
                f"the results of {method} are not those in the report of {folder.name}: another "
                f"experiment has a variant or test set of that name and made them anew; {again}"
            )


def report_folder(experiment: str) -> Path:
    """The folder of the report of an experiment, given by its name or by that folder's path.

    Raises
    ------
    UserError
        If there is no report with a ``study.json``.
    """
    for folder in (Path(experiment), Path("reports") / experiment):
        if (folder / "study.json").is_file():
            return folder
    known = [found.parent.name for found in Path("reports").glob("*/study.json")]
    if known:
        raise unknown("experiment with a report", experiment, known)
    raise UserError(
        f"there is no report of '{experiment}' in this folder: run `snakemake --cores all all`"
    )


def by_utterance(scores: pd.DataFrame) -> pd.DataFrame:
    """One row for each method, test set and utterance: the mean over the seeds."""
    keys = ["test_set", "method", "id"]
    about = ["split", "recording", "speaker", "sex", "kind", "snr_asked", "snr_in"]
    values = scores.groupby(keys, sort=False)[list(SCORED)].mean()
    return values.join(scores.groupby(keys, sort=False)[about].first()).reset_index()
