"""Draw the measures of some methods by input SNR, from the score tables of the working folder.

    python benchmarks/by_snr.py common best=ready-best stream=ready-stream rnnoise noisy \
        --write docs/images/ready-by-snr.svg

Each method is given by the name of its folder in ``results/scores``, after the name that it has in
the figure if that is another. Means with 95 % intervals (bootstrap over speakers).
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from matplotlib.figure import Figure

from denoise.core import files
from denoise.evaluation.conditions import by_condition, snr_condition
from denoise.evaluation.scores import by_utterance, read_scores
from denoise.report import figures

_METRICS = ("pesq_wb", "stoi", "si_sdr")


def drawing(test_set: str, methods: dict[str, str]) -> Figure:
    """The figure; `methods` is name in it → folder in ``results/scores``."""
    paths = [Path("results/scores") / folder / f"seed0/{test_set}.csv"
             for folder in methods.values()]  # fmt: skip
    missing = [str(path) for path in paths if not path.exists()]
    if missing:
        sys.exit(f"error: {', '.join(missing)} not there yet: let snakemake make it")
    names = {folder: name for name, folder in methods.items()}
    utterances = by_utterance(read_scores(paths))
    utterances["method"] = utterances["method"].map(names)
    snrs = snr_condition(utterances)
    drawn = figures.styles(methods)
    figure = Figure(figsize=(9.0, 2.9), layout="constrained")
    for axis, metric in zip(figure.subplots(1, len(_METRICS)), _METRICS, strict=True):
        figures.draw_by_snr(axis, by_condition(utterances, metric, snrs), metric, drawn)
    figures.add_legend(figure)
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("test_set")
    parser.add_argument("methods", nargs="+", metavar="[NAME=]FOLDER")
    parser.add_argument("--write", type=Path, required=True, metavar="SVG")
    options = parser.parse_args()
    methods = {}
    for given in options.methods:
        name, _, folder = given.rpartition("=")
        methods[name or folder] = folder
    figure = drawing(options.test_set, methods)
    with files.replacing(options.write) as temporary:
        figure.savefig(temporary, format=options.write.suffix[1:], metadata={"Date": None})


if __name__ == "__main__":
    main()
