"""``denoise score``: score enhanced files against clean ones."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

import pandas as pd

from denoise.cli.shared import add_json, must_be_new, places, print_json
from denoise.core.errors import UserError
from denoise.core.tables import write_table
from denoise.core.terminal import say, show
from denoise.metrics.registry import METRICS
from denoise.metrics.sdr import SPEECH_FROM_HZ

_HIGH_PASS_HZ = (10, 500)


def add(verbs: Any) -> None:
    """Add the verb to the parser."""
    verb = verbs.add_parser(
        "score",
        description="Score files of the same names, channel by channel: SNR, SI-SDR, PESQ, STOI "
        "and the others.",
    )
    verb.add_argument("--clean", type=Path, required=True, metavar="DIR", help="clean references")
    verb.add_argument("--enhanced", type=Path, required=True, metavar="DIR", help="to be scored")
    verb.add_argument("--noisy", type=Path, metavar="DIR", help="scored too, for comparison")
    verb.add_argument(
        "-o", "--output", type=Path, default=Path("scores.csv"), help="table (default scores.csv)"
    )
    verb.add_argument(
        "--high-pass",
        type=float,
        default=SPEECH_FROM_HZ,
        metavar="HZ",
        help="take SI-SDR above this frequency too, without the rumble below speech "
        f"(default {SPEECH_FROM_HZ:g})",
    )
    verb.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes (default all)")
    verb.add_argument("--force", action="store_true", help="overwrite an existing table")
    add_json(verb)
    verb.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Carry out ``denoise score``."""
    from denoise.evaluation.folders import column_above, score_folders

    must_be_new(options.output, ".csv", force=options.force)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    if options.jobs is not None and options.jobs < 1:
        raise UserError(f"--jobs {options.jobs} must be at least 1")
    if not _HIGH_PASS_HZ[0] <= options.high_pass <= _HIGH_PASS_HZ[1]:
        raise UserError(
            f"--high-pass {options.high_pass:g} must be from {_HIGH_PASS_HZ[0]} to "
            f"{_HIGH_PASS_HZ[1]} Hz: above, speech itself would be left out"
        )
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
    """Where SI-SDR over all frequencies and above one tell different stories."""
    from denoise.metrics.sdr import unlike

    if not {"si_sdr", above} <= {*means.columns}:
        return []
    return [
        f"{method}: SI-SDR is {row['si_sdr']:.1f} dB over all frequencies and {row[above]:.1f} dB "
        f"above {high_pass_hz:g} Hz: rumble below speech decides the first"
        for method, row in means.iterrows()
        if unlike(row["si_sdr"], row[above])
    ]
