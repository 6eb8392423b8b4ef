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
from denoise.core.tables import read_parquet, read_table
from denoise.core.terminal import say, show
from denoise.evaluation.experiment import ExperimentRecord
from denoise.evaluation.scores import ranking_measure
from denoise.metrics.registry import SCORED


def add(verbs: Any) -> None:
    """Add the verb to the parser."""
    verb = verbs.add_parser(
        "compare",
        examples=[
            "denoise compare first second",
            "denoise compare first ../other/reports/second --variants huber mse",
        ],
        description="Compare a variant of one experiment with one of another: which settings "
        "differ, and every metric with the difference over the same utterances, its 95 % interval "
        "over seeds and speakers, and the p-value corrected for the number of metrics by Holm's "
        "method. 'claim' says what a significant difference holds for: the settings (three seeds "
        "or more, at least three quarters of which agree in the sign), these models (one seed), or "
        "one speaker (if there is only one); otherwise it is 'not shown'.",
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
        help="one of each; default those with the highest SI-SDR (or DNSMOS OVRL)",
    )
    verb.add_argument("--test-set", metavar="NAME", help="default the first that both have")
    add_json(verb)
    verb.set_defaults(run=run)


_SHOWN = ("metric", "first", "second", "second - first", "low", "high", "p_holm", "claim",
          "seeds_needed", "speakers_needed")  # fmt: skip


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
        return str(rows.loc[rows[ranking_measure(rows)].idxmax(), "variant"])

    def scores(self, variant: str, test_set: str) -> pd.DataFrame:
        if variant not in self.about.variants:
            raise unknown(f"variant of {self.name}", variant, self.about.variants)
        path = self.folder / "scores.parquet"
        if not path.is_file():
            raise UserError(f"{path} is missing: run `snakemake` for {self.name} again")
        table = read_parquet(path)
        return table[(table["method"] == variant) & (table["test_set"] == test_set)]


def run(options: argparse.Namespace) -> None:
    """Carry out ``denoise compare``."""
    from denoise.core.differences import differences

    first, second = (_Study.read(given) for given in options.experiments)
    shared = [name for name in first.about.test_sets if name in second.about.test_sets]
    test_set: str = options.test_set or next(iter(shared), "")
    if test_set not in shared:
        raise UserError(
            f"{first.name} and {second.name} have no test set "
            f"{f'{test_set!r} ' if test_set else ''}in common: {first.name} has "
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
                "metrics": rows,
            }
        )
        return
    show(f"first   {first.name}: {names[0]}", f"second  {second.name}: {names[1]}", "")
    show("Settings that differ:" if changed else "No setting differs.")
    for path, (one, other) in changed.items():
        show(f"  {path}: {one} | {other}")
    show("", f"Test set {test_set}:")
    shown = rows[[name for name in _SHOWN if name in rows]].dropna(axis=1, how="all")
    whole = {name: "{:.0f}".format for name in _SHOWN if name.endswith("_needed")}
    formats = {**whole, "p_holm": "{:.3f}".format}
    text = shown.to_string(
        index=False, na_rep="–", float_format="{:.3g}".format, formatters=formats
    )
    show(*text.split("\n"))
    if same and len(rows):
        show("", *_explained(rows))
    elif not same:
        say(
            f"the two test sets called {test_set} hold different mixtures: the means are not "
            "comparable as they stand, and no difference is tested"
        )


def _explained(rows: pd.DataFrame) -> list[str]:
    """Explanation of the intervals and claims, and of the data needed for more."""
    first = rows.iloc[0]
    seeds, speakers = int(first["seeds"]), int(first["speakers"])
    over = f"{speakers} speakers" if speakers > 1 else "utterances, all of one speaker"
    lines = [
        f"low, high: 95 % interval over {over}"
        + (f" and {seeds} seeds" if seeds > 1 else "")
        + f", not corrected; p_holm: corrected for the {len(rows)} metrics"
    ]
    if seeds == 1:
        lines.append(
            "At least one of the two has only one seed, so it is unknown what another training "
            "would give: all claims are about these models, not about their settings."
        )
    elif seeds == 2:
        lines.append("Two seeds: nothing is claimed of settings with fewer than three.")
    lines.append(
        "seeds_needed, speakers_needed (with as many utterances each as now): how many are needed "
        "to show a difference of this size with a power of 0.8 (--json has the variance components)"
    )
    return lines


def _rows(tables: list[pd.DataFrame], *, paired: bool) -> pd.DataFrame:
    from denoise.evaluation.leaderboard import basis
    from denoise.evaluation.scores import MethodScores
    from denoise.evaluation.statistics import claim, estimate, holm

    rows: list[dict[str, Any]] = []
    metrics = {
        name: about
        for name, about in SCORED.items()
        if name != "mse_spec" and all(name in one and one[name].notna().any() for one in tables)
    }
    for metric, about in metrics.items():
        measured = [MethodScores.of(table, metric) for table in tables]
        values = [next(iter(one.by_method.values())) for one in measured]
        means = [
            estimate([own], [1], one.speakers) for own, one in zip(values, measured, strict=True)
        ]
        row: dict[str, Any] = {
            "metric": f"{about.title} ({about.unit})" if about.unit else about.title,
            "first": means[0].mean,
            "second": means[1].mean,
        }
        if paired:
            common = pd.Index(measured[0].ids).intersection(measured[1].ids)
            both = [one.only(common) for one in measured]
            second, first = (next(iter(one.by_method.values())) for one in reversed(both))
            if min(len(first), len(second)) == 1:
                # What varies from training to training is known of one of them at most: all that
                # can be compared is these models.
                first, second = (one.mean(axis=0, keepdims=True) for one in (first, second))
            found = estimate([second, first], [1, -1], both[0].speakers)
            row |= {
                "second - first": found.mean,
                "low": found.low,
                "high": found.high,
                "p": found.p if found.n else np.nan,
                "p_holm": np.nan,
                "claim": "",
                **basis(found, len(metrics)),
            }
            row["found"] = found
        rows.append(row)
    if paired and rows:
        tested = [row for row in rows if row["found"].n]
        corrected = holm([row["p"] for row in tested])
        for row, p_holm in zip(tested, corrected, strict=True):
            row |= {"p_holm": p_holm, "claim": claim(row["found"], p_holm)}
    return pd.DataFrame(rows).drop(columns="found", errors="ignore")
