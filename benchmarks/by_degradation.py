"""Draw what rooms and degradations do to some methods, by kind and strength.

    python benchmarks/by_degradation.py noisy best=ready-best --write docs/images/degradations.svg

The test sets of the experiment are called KIND-STRENGTH, in order of strength, and one of them is
`none`, as in `degradations.yaml`.  Each method is given as in `by_snr.py`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import pandas as pd
from by_snr import asked, scores_of
from matplotlib.figure import Figure

from denoise.core import files
from denoise.evaluation.leaderboard import leaderboard
from denoise.metrics.registry import SCORED
from denoise.report import figures

_METRICS = ("pesq_wb", "stoi", "dnsmos_ovrl", "dwer")
_KINDS = {
    "clipping": "clipped by dB", "quantisation": "bits", "loss": "% of packets lost",
    "band": "up to Hz", "opus": "Opus, kbit/s", "mp3": "MP3, kbit/s", "telephone": "telephone",
    "room": "room",
}  # fmt: skip
"""Kind → what its strengths are."""


def drawing(means: pd.DataFrame, kinds: dict[str, list[str]], methods: list[str]) -> Figure:
    """A row of panels for each measure, a column for each kind.

    Parameters
    ----------
    means
        With the columns ``method``, ``test_set`` and the measures.
    kinds
        Kind → the names of its test sets, by strength.
    """
    shown = [metric for metric in _METRICS if means[metric].notna().any()]
    figure = Figure(figsize=(1.75 * len(kinds), 1.9 * len(shown)), layout="constrained")
    axes = figure.subplots(len(shown), len(kinds), sharex="col", sharey="row", squeeze=False)
    drawn = figures.styles(methods)
    table = means.set_index(["method", "test_set"])
    for row, metric in zip(axes, shown, strict=True):
        for axis, (kind, sets) in zip(row, kinds.items(), strict=True):
            places = range(len(sets) + 1)
            for method in methods:
                values = [table.loc[(method, one), metric] for one in ("none", *sets)]
                style = drawn[method]
                axis.plot(
                    places, values, color=style.colour, marker=style.marker,
                    linestyle=style.dash, markersize=4, label=method,
                )  # fmt: skip
            strengths = [one.partition("-")[2] for one in sets]
            axis.set_xticks(places, ["–", *strengths], rotation=45, fontsize=7)
            axis.grid(alpha=0.3)
            if metric == shown[-1]:
                axis.set_xlabel(_KINDS.get(kind, kind), fontsize=8)
        row[0].set_ylabel(figures.title(metric), fontsize=8)
    figures.add_legend(figure)
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("methods", nargs="+", metavar="[NAME=]METHOD")
    parser.add_argument(
        "--configfile", nargs="+", type=Path, default=[Path("benchmarks/degradations.yaml")]
    )
    parser.add_argument("--write", type=Path, metavar="SVG", help="default: the means alone")
    options = parser.parse_args()
    methods, record = asked(options.methods, options.configfile)
    kinds: dict[str, list[str]] = {}
    for name in record.test_sets:
        if name != "none":
            kinds.setdefault(name.partition("-")[0], []).append(name)
    boards = [
        leaderboard(scores_of(record, name, methods), []).assign(test_set=name)
        for name in record.test_sets
    ]
    means = pd.concat(boards).rename(columns={"variant": "method"})
    wide = means.pivot_table(index="test_set", columns="method", values=list(_METRICS), sort=False)
    print(wide.rename(columns={name: SCORED[name].title for name in _METRICS}).round(3).to_string())
    if options.write is not None:
        figure = drawing(means, kinds, list(methods))
        with files.replacing(options.write) as temporary:
            figure.savefig(temporary, format=options.write.suffix[1:], metadata={"Date": None})


if __name__ == "__main__":
    main()
