"""Time two commands of this checkout against those of another, alternately: medians and ratio.

python benchmarks/against.py OTHER --repeat 3

`denoise enhance` of 100 recordings of one second, and, where both checkouts hold a finished study,
`snakemake` with nothing to do.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile

ROOT = Path(__file__).parents[1]
RATE, FILES = 16_000, 100


def seconds(checkout: Path, arguments: list[str], folder: Path) -> float:
    """Wall time of a command run in `folder` with the sources of a checkout."""
    began = time.monotonic()
    subprocess.run(
        [sys.executable, "-m", *arguments], cwd=folder, check=True, capture_output=True,
        env={**os.environ, "PYTHONPATH": str(checkout / "src")},
    )  # fmt: skip
    return time.monotonic() - began


def enhance(checkout: Path, folder: Path) -> float:
    """Seconds that enhancing all recordings of `folder` takes, the start included."""
    out = folder.with_name("out")
    shutil.rmtree(out, ignore_errors=True)
    model = str(checkout / "pretrained" / "best")
    given = ["denoise.cli", "enhance", str(folder), "-o", str(out), "--model", model]
    return seconds(checkout, given, folder)


def nothing_to_do(checkout: Path) -> float:
    """Seconds of a run of a finished study."""
    return seconds(checkout, ["snakemake", "--cores", "2", "all"], checkout)


def main() -> None:
    """Measure, and print a row for each command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("other", type=Path, help="another checkout of the repository")
    parser.add_argument("--repeat", type=int, default=3)
    options = parser.parse_args()
    checkouts = [options.other.resolve(), ROOT]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "in"
        folder.mkdir()
        for number in range(FILES):
            noise = 0.05 * np.random.default_rng(number).standard_normal(RATE)
            soundfile.write(folder / f"{number:03d}.wav", noise, RATE)
        measures = {f"enhance {FILES} files of 1 s": lambda checkout: enhance(checkout, folder)}
        if all((checkout / "reports").is_dir() for checkout in checkouts):
            measures["nothing to do"] = nothing_to_do
        print("| command | other | this | ratio |\n|---|---|---|---|")
        for name, measure in measures.items():
            times: list[list[float]] = [[], []]
            for _ in range(options.repeat):
                for place, checkout in zip(times, checkouts, strict=True):
                    place.append(measure(checkout))
            one, two = map(statistics.median, times)
            print(f"| {name} | {one:.2f} s | {two:.2f} s | {two / one:.2f} |", flush=True)


if __name__ == "__main__":
    main()
