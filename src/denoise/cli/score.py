"""``denoise score``: score enhanced files against clean ones, or recordings without any."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

import pandas as pd

from denoise.cli.shared import add_json, expanded, must_be_new, places, print_json
from denoise.core.errors import UserError
from denoise.core.tables import write_table
from denoise.core.terminal import say, show
from denoise.metrics.registry import METRICS
from denoise.metrics.sdr import SPEECH_FROM_HZ

_HIGH_PASS_HZ = (10, 500)
_MOST_SHOWN = 40
"""Rows; all are in the table."""


def add(verbs: Any) -> None:
    """Add the verb to the parser."""
    verb = verbs.add_parser(
        "score",
        examples=[
            "denoise score noisy.wav noisy.enhanced.wav",
            "denoise score --clean clean/ --enhanced enhanced/ --noisy noisy/",
        ],
        description="Score files against clean references of the same names, channel by channel: "
        "SNR, SI-SDR, PESQ, STOI and the others. Or, without --clean, predict how listeners would "
        "judge recordings (DNSMOS P.835 and P.808, from 1 to 5).",
    )
    verb.add_argument(
        "files",
        nargs="*",
        type=Path,
        metavar="FILE",
        help="recordings or folders (only without --clean)",
    )
    verb.add_argument("--clean", type=Path, metavar="DIR", help="clean references")
    verb.add_argument(
        "--enhanced",
        type=Path,
        metavar="DIR",
        help="enhanced recordings to score against the references",
    )
    verb.add_argument(
        "--noisy", type=Path, metavar="DIR", help="noisy recordings, scored too for comparison"
    )
    verb.add_argument(
        "-o", "--output", type=Path, default=Path("scores.csv"), help="table (default scores.csv)"
    )
    verb.add_argument(
        "--high-pass",
        type=float,
        default=SPEECH_FROM_HZ,
        metavar="HZ",
        help="also compute SI-SDR above this frequency, without the rumble below speech "
        f"(default {SPEECH_FROM_HZ:g})",
    )
    verb.add_argument(
        "--jobs", type=int, default=os.cpu_count(), help="processes (default: one for each core)"
    )
    verb.add_argument("--force", action="store_true", help="overwrite an existing table")
    add_json(verb)
    verb.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Carry out ``denoise score``."""
    _check_given(options)
    must_be_new(options.output, ".csv", force=options.force)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    if options.jobs is not None and options.jobs < 1:
        raise UserError(f"--jobs {options.jobs} must be at least 1")
    if not _HIGH_PASS_HZ[0] <= options.high_pass <= _HIGH_PASS_HZ[1]:
        raise UserError(
            f"--high-pass {options.high_pass:g} must be from {_HIGH_PASS_HZ[0]} to "
            f"{_HIGH_PASS_HZ[1]} Hz: above, speech itself would be left out"
        )
    if options.files:
        _score_alone(options)
    else:
        _score_against_clean(options)


def _check_given(options: argparse.Namespace) -> None:
    """Raise `UserError` unless either recordings or two folders are given."""
    if options.files and (options.clean or options.enhanced or options.noisy):
        raise UserError(
            "give either recordings, which are judged without references, or --clean and --enhanced"
        )
    if not options.files and not (options.clean and options.enhanced):
        raise UserError(
            "give recordings to be judged without references, or --clean DIR and --enhanced DIR"
        )


def _score_alone(options: argparse.Namespace) -> None:
    """Score recordings without references."""
    from denoise.evaluation.recordings import score_recordings
    from denoise.metrics.opinion import NAMES

    files = expanded(options.files)
    for path in files:
        if not path.exists():
            raise UserError(f"{path} does not exist: give an audio file or a folder of them")
    table = score_recordings(files, processes=options.jobs)
    write_table(options.output, table)
    if (table["channel"] == 1).all():
        table = table.drop(columns="channel")
    means = table[list(NAMES)].mean()
    if options.json:
        rows = table.to_dict("records")
        print_json({"table": options.output, "files": rows, "mean": means.to_dict()})
    else:
        shown = table.drop(columns="status").head(_MOST_SHOWN).round(2)
        show(*shown.to_string(index=False, na_rep="–").split("\n"))
        if len(table) > 1:
            told = ", ".join(f"{name} {value:.2f}" for name, value in means.items())
            show(f"mean of {int(table[NAMES[0]].notna().sum())}: {told}")
    bad = table[table["status"] != "ok"]
    for row in bad.itertuples():
        say(f"{row.file} {row.status}")
    say(f"a row for each channel of each file: {options.output}")
    if len(bad):
        raise UserError(f"{len(bad)} of {len(table)} rows could not be scored")


def _score_against_clean(options: argparse.Namespace) -> None:
    """Score folders against clean references."""
    from denoise.evaluation.folders import column_above, score_folders

    table = score_folders(
        options.clean,
        options.enhanced,
        options.noisy,
        processes=options.jobs,
        high_pass_hz=options.high_pass,
    )
    write_table(options.output, table)
    above = column_above(options.high_pass)
    measured = [above if name == column_above(SPEECH_FROM_HZ) else name for name in METRICS]
    # Over the channels for which every method has a value: others would be unlike sets.
    by_method = {
        name: table.pivot_table(name, ["file", "channel"], "method", dropna=False)
        for name in measured
    }
    means = pd.DataFrame(
        {name: values.dropna().mean() for name, values in by_method.items()},
        index=table["method"].unique(),
    ).dropna(axis=1, how="all")
    failed = table["status"].ne("ok").groupby(table["method"], sort=False).sum()
    counts = table.groupby("method", sort=False)["file"].agg(["nunique", "size"])
    told_of = {"files": counts["nunique"], "channels": counts["size"], "failed": failed}
    if (counts["nunique"] == counts["size"]).all():
        del told_of["channels"]
    means = pd.DataFrame(told_of).join(means)
    if options.json:
        rows = means.reset_index(names="method").to_dict("records")
        print_json({"table": options.output, "methods": rows})
    else:
        show(*means.round({name: places(name) for name in measured}).to_string().split("\n"))
    for row in table[table["status"] != "ok"].itertuples():
        channel = f" (channel {row.channel})" if row.channel > 1 else ""
        say(f"{row.method} {row.file}{channel}: {row.status}")
    if failed.any():
        say("means are over the channels that have a value for every method")
    for told in _rumble(means, above, options.high_pass):
        say(told)
    say(f"a row for each channel of each file: {options.output}")
    unscored = int(table[measured].isna().all(axis=1).sum())
    if unscored:
        raise UserError(f"{unscored} of {len(table)} rows could not be scored at all")


def _rumble(means: pd.DataFrame, above: str, high_pass_hz: float) -> list[str]:
    """A note if SI-SDR over all frequencies and above a frequency differ."""
    from denoise.metrics.sdr import unlike

    if not {"si_sdr", above} <= {*means.columns}:
        return []
    return [
        f"{method}: SI-SDR is {row['si_sdr']:.1f} dB over all frequencies and {row[above]:.1f} dB "
        f"above {high_pass_hz:g} Hz: rumble below the speech dominates the first value"
        for method, row in means.iterrows()
        if unlike(row["si_sdr"], row[above])
    ]
