"""For what share of a study's time no job is running: python benchmarks/overhead.py

Runs the study of a configuration in a copy of the project, from nothing to its report, and compares
its wall time with the times that Snakemake notes of its jobs.  Prints a line of Markdown.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
LEFT_OUT = (".*", "results", "reports", "resources", "benchmarks", "tests", "docs")


def busy(intervals: list[tuple[float, float]]) -> float:
    """Seconds in which at least one of the intervals (start, end) lasts."""
    total, until = 0.0, float("-inf")
    for start, end in sorted(intervals):
        total += max(0.0, end - max(start, until))
        until = max(until, end)
    return total


def jobs(folder: Path) -> list[tuple[float, float]]:
    """Start and end of each job of the study in `folder`."""
    records = [
        json.loads(path.read_text())
        for path in (folder / ".snakemake" / "metadata").rglob("*")
        if path.is_file()
    ]
    # A job has a record for each of its outputs, which begin and end at different moments.
    found: dict[int, tuple[float, float]] = {}
    for record in records:
        start, end = record["starttime"], record["endtime"]
        known = found.get(record["job_hash"], (start, end))
        found[record["job_hash"]] = min(known[0], start), max(known[1], end)
    return list(found.values())


def main() -> None:
    """Run the study and print what of its time was not spent in jobs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--configfile", type=Path, default=ROOT / "config.yaml")
    parser.add_argument("--cores", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--folder", type=Path, help="a new folder to leave the study in")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        folder = (options.folder or Path(work) / "study").absolute()
        shutil.copytree(ROOT, folder, ignore=shutil.ignore_patterns(*LEFT_OUT))
        shutil.copy(options.configfile, folder / "config.yaml")
        command = [
            str(Path(sys.executable).with_name("snakemake")), "--cores", str(options.cores), "all",
        ]  # fmt: skip
        started = time.time()
        environment = {**os.environ, "PYTHONPATH": str(folder / "src")}
        run = subprocess.run(command, cwd=folder, env=environment, stdout=subprocess.DEVNULL)
        wall = time.time() - started
        if run.returncode:
            sys.exit(f"error: the study of {options.configfile} failed")
        found = jobs(folder)
    idle = wall - busy(found)
    print(
        f"| {options.configfile.name} | {len(found)} jobs | {wall:.0f} s | {idle:.1f} s | "
        f"{idle / wall:.1%} |"
    )


if __name__ == "__main__":
    main()
