"""The leaderboard and the pairwise comparisons of an experiment."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import numpy as np
import pandas as pd

from denoise import files
from denoise.errors import UserError, unknown
from denoise.metrics import SCORED
from denoise.statistics import cluster_bootstrap, compare, holm


def read_scores(paths: list[Path]) -> pd.DataFrame:
    """All score tables ``<method>/seed<k>/<test_set>.csv`` as one, with those three as columns."""
    tables = []
    for path in paths:
        seed = int(path.parent.name.removeprefix("seed"))
        method = path.parent.parent.name
        table = files.read_table(path)
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
    reported = files.read_table(folder / "scores.csv").set_index(keys)["si_sdr"]
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


def leaderboard(scores: pd.DataFrame, variants: Collection[str]) -> pd.DataFrame:
    """A row for each test set and method: means over utterances with 95 % intervals.

    Its ``kind`` is variant for each of `variants`, oracle, or baseline for all else.

    Seeds are averaged for each utterance first; ``<metric>_seed_std`` is the standard deviation of
    the seeds' means.  ``n_failed`` counts utterances for which a metric is missing for a reason;
    missing values are left out of the means, never replaced.
    """
    merged = by_utterance(scores)
    kinds = {"oracle": "oracle", **dict.fromkeys(variants, "variant")}
    rows = []
    for (test_set, method), table in merged.groupby(["test_set", "method"], sort=False):
        own = scores[(scores["method"] == method) & (scores["test_set"] == test_set)]
        failed = own.loc[own["status"] != "ok", "id"].nunique()
        row: dict[str, object] = {
            "variant": method,
            "kind": kinds.get(method, "baseline"),
            "test_set": test_set,
            "split": table["split"].iloc[0],
            "n": len(table),
            "n_failed": failed,
            "seeds": own["seed"].nunique(),
        }
        speakers = table["speaker"].to_numpy()
        for metric in SCORED:
            estimate = cluster_bootstrap(table[metric].to_numpy(float), speakers)
            row[metric] = estimate.mean
            row[f"{metric}_ci_low"], row[f"{metric}_ci_high"] = estimate.low, estimate.high
            seed_means = own.groupby("seed")[metric].mean()
            row[f"{metric}_seed_std"] = seed_means.std() if len(seed_means) > 1 else np.nan
        rows.append(row)
    order = {"oracle": 0, "variant": 1, "baseline": 2}
    board = pd.DataFrame(rows)
    board["order"] = board["kind"].map(order)
    board = board.sort_values(
        ["test_set", "order", "si_sdr"], ascending=[True, True, False], ignore_index=True
    )
    return board.drop(columns="order")


def pairwise(scores: pd.DataFrame, metrics: tuple[str, ...]) -> pd.DataFrame:
    """Every pair of methods: mean difference, interval and corrected Wilcoxon p-value.

    P-values are corrected by Holm's method within each test set and metric.
    """
    merged = by_utterance(scores)
    rows: list[dict[str, object]] = []
    for test_set, table in merged.groupby("test_set", sort=False):
        speakers = table.groupby("id", sort=True)["speaker"].first().to_numpy()
        for metric in metrics:
            wide = table.pivot_table(index="id", columns="method", values=metric, sort=True)
            wide = wide.reindex(sorted(table["id"].unique()))
            methods = list(wide.columns)
            part: list[dict[str, object]] = []
            for number, first in enumerate(methods):
                for second in methods[number + 1 :]:
                    result = compare(wide[first].to_numpy(), wide[second].to_numpy(), speakers)
                    part.append(
                        {
                            "test_set": test_set,
                            "metric": metric,
                            "first": first,
                            "second": second,
                            "difference": result.difference.mean,
                            "ci_low": result.difference.low,
                            "ci_high": result.difference.high,
                            "p_wilcoxon": result.p_wilcoxon,
                            "n": result.n,
                        }
                    )
            corrected = holm([float(row["p_wilcoxon"]) for row in part])  # type: ignore[arg-type]
            rows += [{**row, "p_holm": p} for row, p in zip(part, corrected, strict=True)]
    return pd.DataFrame(rows)


def by_condition(
    utterances: pd.DataFrame, metric: str, condition: pd.Series, *, gain: bool = False
) -> pd.DataFrame:
    """Means of a metric with 95 % intervals (bootstrap over speakers) for each condition.

    Parameters
    ----------
    utterances
        A table as of `by_utterance`, of one test set.
    condition
        Utterance → condition, as its index and values; utterances without one are left out.
    gain
        Take the difference to the unprocessed input of the same utterance.

    Returns
    -------
    pd.DataFrame
        Columns ``method``, ``condition``, ``mean``, ``low``, ``high``, ``n``.
    """
    wide = utterances.pivot_table(index="id", columns="method", values=metric, sort=False)
    if gain and not wide.empty:
        wide = wide.sub(wide["noisy"], axis=0).drop(columns="noisy")
    speakers = utterances.groupby("id")["speaker"].first()
    rows: list[dict[str, object]] = []
    for value, part in wide.groupby(condition.reindex(wide.index), sort=True):
        clusters = speakers.reindex(part.index).to_numpy()
        for method in wide.columns:
            values = part[method].to_numpy()
            if np.isfinite(values).any():
                estimate = cluster_bootstrap(values, clusters)
                rows.append(
                    {
                        "method": method,
                        "condition": value,
                        "mean": estimate.mean,
                        "low": estimate.low,
                        "high": estimate.high,
                        "n": int(np.isfinite(values).sum()),
                    }
                )
    return pd.DataFrame(rows, columns=["method", "condition", "mean", "low", "high", "n"])


def snr_condition(utterances: pd.DataFrame) -> pd.Series:
    """The input SNR in dB of each utterance: as asked, or of a range the middle of a bin of 5."""
    first = utterances.groupby("id", sort=False)[["snr_asked", "snr_in"]].first()
    asked = first["snr_asked"]
    if asked.nunique() <= 12 and asked.notna().all():
        return asked
    realised = first["snr_in"][np.isfinite(first["snr_in"])]
    edges = np.arange(-10, 31, 5)
    bins = np.clip(np.digitize(realised, edges) - 1, 0, len(edges) - 2)
    return pd.Series(edges[bins] + 2.5, realised.index)


def main_effects(
    scores: pd.DataFrame, settings: dict[str, dict[str, str]], metrics: list[str]
) -> pd.DataFrame:
    """What each value of a swept setting does, averaged over all other settings and the seeds.

    The effect of a value is the mean over the variants that have it less the mean over all values
    (Box, Hunter & Hunter, "Statistics for Experimenters", ch. 5), taken for each utterance; its
    95 % interval comes from the bootstrap over speakers.  In a full grid the settings do not
    confound each other.

    Parameters
    ----------
    settings
        Variant → setting → value, as text.

    Returns
    -------
    pd.DataFrame
        Columns ``test_set``, ``setting``, ``value``, ``variants`` (how many have it), ``metric``,
        ``mean``, ``effect``, ``ci_low``, ``ci_high``.
    """
    merged = by_utterance(scores)
    merged = merged[merged["method"].isin(settings)]
    names = list(dict.fromkeys(name for values in settings.values() for name in values))
    rows: list[dict[str, object]] = []
    for test_set, table in merged.groupby("test_set", sort=False):
        speakers = table.groupby("id", sort=True)["speaker"].first().to_numpy()
        for metric in metrics:
            wide = table.pivot_table(
                index="id", columns="method", values=metric, sort=True, dropna=False
            )
            for name in names:
                having: dict[str, list[str]] = {}
                for variant, values in settings.items():
                    having.setdefault(values[name], []).append(variant)
                means = pd.DataFrame(
                    {value: wide[variants].mean(axis=1) for value, variants in having.items()}
                )
                effects = means.sub(means.mean(axis=1, skipna=False), axis=0)
                for value, variants in having.items():
                    estimate = cluster_bootstrap(effects[value].to_numpy(), speakers)
                    rows.append(
                        {
                            "test_set": test_set,
                            "setting": name,
                            "value": value,
                            "variants": len(variants),
                            "metric": metric,
                            "mean": means[value].mean(),
                            "effect": estimate.mean,
                            "ci_low": estimate.low,
                            "ci_high": estimate.high,
                        }
                    )
    return pd.DataFrame(rows)


def write(
    score_paths: list[Path],
    variants: Collection[str],
    leaderboard_path: Path,
    pairwise_path: Path,
    scores_path: Path,
) -> None:
    """Write ``leaderboard.csv`` and ``pairwise.csv`` from score tables of `variants` and others.

    All of these tables go into ``scores.csv`` too, with `method`, `seed` and `test_set`: another
    experiment that has a variant of the same name puts its own results in the place of these.
    """
    scores = read_scores(score_paths)
    files.write_table(scores_path, scores)
    files.write_table(leaderboard_path, leaderboard(scores, variants), "%.9g")
    compared = tuple(m for m in ("si_sdr", "pesq_nb", "pesq_wb", "stoi") if scores[m].notna().any())
    files.write_table(pairwise_path, pairwise(scores, compared), "%.9g")
