"""Progress of a running study and estimate of the remaining time.

It uses only Snakemake's events and the jobs' logs, so it works with any executor whose logs this
machine can read.
"""

from __future__ import annotations

import datetime
import math
import re
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from denoise.core.text import duration

_TAIL_BYTES = 4000
_LEFT = re.compile(r"(?:at most )?(\d+:\d\d:\d\d) left")
_BAR = re.compile(r"(\d+)%\|.*?\[.*?<(\d+(?::\d\d)+),")
_STAMP = re.compile(r"^\d{4}-\d\d-\d\d [\d:,]+ \w+ ")
_ERROR = re.compile(r"^\d{4}-\d\d-\d\d [\d:,]+ ERROR |^(?=[A-Za-z.]+(?:Error|Exception): )")
_MOST_JOBS = 8
_BRIEF = frozenset(
    ["all", "leaderboard", "mlflow_store", "split", "track", "track_experiment", "write_report"]
)
"""Rules whose jobs take seconds, however large the study."""
_BRIEF_S = 15.0


@dataclass
class Job:
    """A job that runs."""

    rule: str
    about: str
    log: Path | None
    started: float
    told: tuple[float, float] | None = None
    """The remaining seconds according to its log, and when that was first read."""


@dataclass
class Study:
    """The jobs of a run of the workflow, as they come and go.

    Parameters
    ----------
    clock
        Gives seconds.
    counts
        Rule → how many jobs of it the run has.
    """

    clock: Callable[[], float] = time.monotonic
    counts: Counter[str] = field(default_factory=Counter)
    running: dict[int, Job] = field(default_factory=dict)
    took: dict[str, list[float]] = field(default_factory=dict)
    done: Counter[str] = field(default_factory=Counter)
    at_once: Counter[str] = field(default_factory=Counter)
    """Rule → the most jobs of it that have run side by side."""

    def start(self, number: int, rule: str, about: str, log: Path | None) -> None:
        """Register the start of a job with the description `about`."""
        self.running[number] = Job(rule, about, log, self.clock())
        now = sum(job.rule == rule for job in self.running.values())
        self.at_once[rule] = max(now, self.at_once[rule])

    def finish(self, number: int, *, failed: bool = False) -> Job | None:
        """A job ends; None if it was not known."""
        job = self.running.pop(number, None)
        if job is not None and not failed:
            self.took.setdefault(job.rule, []).append(self.clock() - job.started)
            self.done[job.rule] += 1
        return job

    def seconds_left(self) -> float | None:
        """How long the rest will take; None unless that is known to a factor of two.

        Lower bound: the rule that takes longest.  Upper bound: all rules in sequence.  A rule takes
        as long as its jobs took so far, or say that they will, over how many of them run side by
        side.
        """
        bounds = [self._bounds(rule) for rule in self.counts]
        least = max((low for low, _ in bounds), default=0.0)
        most = sum(high for _, high in bounds)
        return (least + most) / 2 if 0 < most <= 2 * least else None

    def _bounds(self, rule: str) -> tuple[float, float]:
        """Seconds that the jobs of a rule which run or wait will take, at least and at most."""
        now = self.clock()
        running = [job for job in self.running.values() if job.rule == rule]
        waiting = self.counts[rule] - self.done[rule] - len(running)
        said = [self._told(job, now) for job in running]
        took = [*self.took.get(rule, [])]
        # Another job of the kind will take as long as one that says when it will end.
        took += [
            now - job.started + left
            for job, left in zip(running, said, strict=True)
            if left is not None
        ]
        shortest, longest = min(took, default=0.0), max(took, default=math.inf)
        if not took and rule in _BRIEF:
            longest = _BRIEF_S
        lows, highs = [], []
        for job, left in zip(running, said, strict=True):
            since = now - job.started
            lows.append(max(0.0, shortest - since) if left is None else left)
            # One that takes longer than any before says nothing of its end.
            over = math.inf if since > longest else longest - since
            highs.append(over if left is None else left)
        if waiting > 0:
            lows += [shortest] * waiting
            highs += [longest] * waiting
        if not lows:
            return 0.0, 0.0
        side_by_side = max(1, min(self.at_once[rule], len(lows)))
        low, high = (max(sum(times) / side_by_side, *times) for times in (lows, highs))
        return low, high

    @staticmethod
    def _told(job: Job, now: float) -> float | None:
        """The remaining seconds according to a job, counted down since it reported them."""
        said = seconds_told(last_line(job.log))
        if said is not None and (job.told is None or said != job.told[0]):
            job.told = (said, now)
        return None if job.told is None else max(0.0, job.told[0] - (now - job.told[1]))

    def status(self) -> str:
        """Lines for the user: progress, remaining time, and the state of each running job."""
        total, done = sum(self.counts.values()), sum(self.done.values())
        left = self.seconds_left()
        rest = self._trainings_left() if left is None else f", about {duration(left)} left"
        lines = [f"{done} of {total} steps{rest}; running:"]
        jobs = sorted(self.running.values(), key=lambda job: job.started)
        for job in jobs[:_MOST_JOBS]:
            told = last_line(job.log)
            since = duration(self.clock() - job.started)
            lines.append(f"  {job.about} ({since}){': ' + told if told else ''}")
        if len(jobs) > _MOST_JOBS:
            lines.append(f"  and {len(jobs) - _MOST_JOBS} more")
        return "\n".join(lines)

    def _trainings_left(self) -> str:
        """Number of trainings that have not started and the duration of one; empty if none is
        left."""
        begun = sum(job.rule == "train" for job in self.running.values())
        waiting = self.counts["train"] - self.done["train"] - begun
        took = self.took.get("train")
        usual = f"one took {duration(sum(took) / len(took))}" if took else ""
        if waiting > 0:
            left = f"{waiting} training{'s' * (waiting > 1)} to begin"
            return f", {left} ({usual})" if usual else f", {left}"
        return f", the last trainings ({usual})" if begun and usual else ""


def tail(path: Path, lines: int) -> list[str]:
    """The last lines of a log; of a progress bar, its last state."""
    try:
        with path.open("rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - _TAIL_BYTES))
            text = file.read().decode(errors="replace")
    except OSError:
        return []
    shown = [line.rsplit("\r", 1)[-1].rstrip() for line in text.rstrip("\r\n ").split("\n")]
    return [line for line in shown if line][-lines:]


def end_of(path: Path, lines: int = 20) -> str:
    """The end of a failed job's log with a line above that names it, for people."""
    shown = tail(path, lines)
    if not shown:
        return f"{path} has nothing in it" if path.exists() else f"{path} cannot be read from here"
    return "\n".join([f"the end of {path}:", *(f"  | {line}" for line in shown)])


def error_of(path: Path) -> str:
    """The last error line of a log; empty if there is none."""
    errors = [line for line in tail(path, 20) if _ERROR.search(line)]
    return _ERROR.sub("", errors[-1], count=1) if errors else ""


def last_line(path: Path | None) -> str:
    """The last progress line of a job without the time; empty if there is none."""
    if path is None:
        return ""
    for line in reversed(tail(path, 20)):
        if _LEFT.search(line) or "val_loss" in line:
            return _STAMP.sub("", line)
        bar = _BAR.search(line)
        if bar and bar[1] != "100":
            return f"{line.split(':')[0]} {bar[1]} %, {bar[2]} left"
    return ""


def seconds_told(line: str) -> float | None:
    """The remaining seconds in a progress line."""
    found = _LEFT.search(line) or re.search(r"(\d+(?::\d\d)+) left", line)
    if found is None:
        return None
    parts = [int(part) for part in found[1].split(":")]
    return float(sum(part * 60**k for k, part in enumerate(reversed(parts))))


def now() -> str:
    """The time of day."""
    return datetime.datetime.now().strftime("%H:%M")
