"""``denoise compare``: compare the results of two experiments."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from denoise.cli.shared import add_json, print_json
from denoise.core.errors import UserError, unknown
from denoise.core.tables import read_table
from denoise.core.terminal import say, show
from denoise.evaluation.experiment import ExperimentRecord
from denoise.metrics.registry import METRICS


def add(verbs: Any) -> None:
    """Add the verb to the parser."""
    verb = verbs.add_parser(
        "compare",
        help="compare two experiments",
        description="Compare a variant of one experiment with one of another: which settings "
        "differ, and every measure with the difference over the same utterances, its 95 % interval "
        "(bootstrap over speakers) and the p of the Wilcoxon signed-rank test, corrected for the "
        "number of measures by Holm's method.",
    )
    verb.add_argument(
        "experiments",
        nargs=2,
        metavar="EXPERIMENT",
        help="a folder in reports/, or the path of such a folder elsewhere",
    )
    verb.add_argument(
        "--variants",
        nargs=2,
        metavar="VARIANT",
        help="one of each; default those with the highest SI-SDR",
    )
    verb.add_argument("--test-set", metavar="NAME", help="default the first that both have")
    add_json(verb)
    verb.set_defaults(run=run)


@dataclass(frozen=True)
class _Study:
    name: str
    folder: Path
    about: ExperimentRecord
    board: pd.DataFrame

    @classmethod
    def read(cls, given: str) -> _Study:
        from denoise.study.results import report_folder

        folder = report_folder(given)
        return cls(
            folder.resolve().name,
            folder,
            ExperimentRecord.read(folder / "study.json"),
            read_table(folder / "leaderboard.csv"),
        )

    def best(self, test_set: str) -> str:
        rows = self.board[(self.board["test_set"] == test_set) & (self.board["kind"] == "variant")]
        return str(rows.loc[rows["si_sdr"].idxmax(), "variant"])

    def scores(self, variant: str, test_set: str) -> pd.DataFrame:
        from denoise.evaluation.scores import by_utterance

        if variant not in self.about.variants:
            raise unknown(f"variant of {self.name}", variant, self.about.variants)
        path = self.folder / "scores.csv"
        if not path.is_file():
            raise UserError(f"{path} is missing: run `snakemake` for {self.name} again")
        table = read_table(path)
        own = table[(table["method"] == variant) & (table["test_set"] == test_set)]
        return by_utterance(own).set_index("id")


def run(options: argparse.Namespace) -> None:
    """Carry out ``denoise compare``."""
    from denoise.core.differences import differences
    from denoise.evaluation.statistics import resampled

    first, second = (_Study.read(given) for given in options.experiments)
    shared = [name for name in first.about.test_sets if name in second.about.test_sets]
    test_set: str = options.test_set or next(iter(shared), "")
    if test_set not in shared:
        raise UserError(
            f"{first.name} and {second.name} have no test set "
            f"{f'{test_set!r} both' if test_set else 'in common'}: {first.name} has "
            f"{', '.join(first.about.test_sets)}, {second.name} has "
            f"{', '.join(second.about.test_sets)}"
        )
    names = options.variants or (first.best(test_set), second.best(test_set))
    tables = [
        study.scores(name, test_set) for study, name in zip((first, second), names, strict=True)
    ]
    # A stage is named by everything that shapes it: the same name is the same audio.
    same = first.about.test_sets[test_set] == second.about.test_sets[test_set]
    changed = differences(
        first.about.variants[names[0]].recipe, second.about.variants[names[1]].recipe
    )
    rows = _rows(tables, paired=same)
    if options.json:
        print_json(
            {
                "first": {"experiment": first.name, "variant": names[0]},
                "second": {"experiment": second.name, "variant": names[1]},
                "test_set": test_set,
                "same_utterances": same,
                "settings": {path: list(values) for path, values in changed.items()},
                "measures": rows,
            }
        )
        return
    show(f"first   {first.name}: {names[0]}", f"second  {second.name}: {names[1]}", "")
    show("Settings that differ:" if changed else "No setting differs.")
    for path, (one, other) in changed.items():
        show(f"  {path}: {one} | {other}")
    show("", f"Test set {test_set}:")
    shown = rows.drop(columns="p_wilcoxon", errors="ignore")
    show(*shown.to_string(index=False, na_rep="–", float_format="{:.3g}".format).split("\n"))
    if same:
        ids = tables[0].index.intersection(tables[1].index)
        speakers = tables[0].loc[ids, "speaker"].nunique()
        over = f"{speakers} speakers" if speakers > 1 else resampled(speakers)
        show(
            f"low, high: 95 % interval by bootstrap over {over}; p_holm: Wilcoxon signed-rank test "
            f"over utterances, corrected for the {len(rows)} measures"
        )
    else:
        say(
            f"the two test sets called {test_set} hold different mixtures: the means are not "
            "comparable as they stand, and no difference is tested"
        )


def _rows(tables: list[pd.DataFrame], *, paired: bool) -> pd.DataFrame:
    from denoise.evaluation.statistics import compare, holm

    first, second = tables
    ids = first.index.intersection(second.index)
    rows = []
    for metric, about in METRICS.items():
        if first[metric].isna().all() or second[metric].isna().all():
            continue
        row = {
            "measure": f"{about.title} ({about.unit})" if about.unit else about.title,
            "first": first[metric].mean(),
            "second": second[metric].mean(),
        }
        if paired:
            values = [table.loc[ids, metric].to_numpy(float) for table in (second, first)]
            found = compare(values[0], values[1], first.loc[ids, "speaker"].to_numpy())
            row |= {
                "second - first": found.difference.mean,
                "low": found.difference.low,
                "high": found.difference.high,
                "p_wilcoxon": found.p_wilcoxon if np.isfinite(found.difference.mean) else np.nan,
                "n": found.n,
            }
        rows.append(row)
    table = pd.DataFrame(rows)
    if paired and len(table):
        tested = table["p_wilcoxon"].notna()
        table.loc[tested, "p_holm"] = holm(table.loc[tested, "p_wilcoxon"].tolist())
    return table
