"""What is said of a study while it runs."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter

import pytest

from denoise.core.text import duration
from denoise.study.progress import Study, end_of, last_line, seconds_told, tail


class Clock:
    def __init__(self) -> None:
        self.time = 0.0

    def __call__(self) -> float:
        return self.time


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def followed(clock) -> Study:
    return Study(clock, Counter(train=4, score=4))


def run(followed: Study, clock: Clock, rule: str, seconds: float, jobs: int = 1) -> None:
    """Let `jobs` of a rule run side by side."""
    numbers = range(1000, 1000 + jobs)
    for number in numbers:
        followed.start(number, rule, rule, None)
    clock.time += seconds
    for number in numbers:
        followed.finish(number)


def test_no_remaining_time_is_shown_before_any_job_finished(followed):
    assert followed.seconds_left() is None
    followed.start(1, "train", "Training a", None)
    assert followed.seconds_left() is None
    assert followed.status() == "0 of 8 steps, 3 trainings to begin; running:\n  Training a (0 s)"


def test_remaining_time_needs_a_finished_job_of_every_slow_rule(followed, clock):
    followed.counts = Counter(score=3, train=2)
    run(followed, clock, "score", 9)
    assert followed.seconds_left() is None
    followed.start(1, "train", "Training a", None)
    assert followed.status().startswith("1 of 5 steps, 1 training to begin; running:")
    clock.time += 120
    followed.finish(1)
    # A training of 120 s; the two scorings may run beside it or after it.
    assert followed.seconds_left() == pytest.approx((120 + 138) / 2)


def test_remaining_time_is_hidden_if_uncertain_by_more_than_a_factor_of_two(followed, clock):
    followed.counts = Counter(train=3)
    run(followed, clock, "train", 100)
    run(followed, clock, "train", 199)
    assert followed.seconds_left() == pytest.approx((100 + 199) / 2)
    followed.counts = Counter(train=4)
    run(followed, clock, "train", 201)
    assert followed.seconds_left() is None
    assert followed.status().startswith("3 of 4 steps, 1 training to begin (one took 3 min)")
    followed.start(1, "train", "Training d", None)
    assert followed.status().startswith("3 of 4 steps, the last trainings (one took 3 min)")


def test_remaining_time_uses_past_durations_and_parallel_jobs(followed, clock, tmp_path):
    log = tmp_path / "train.log"
    followed.counts = Counter(train=4)
    for number in (1, 2):
        followed.start(number, "train", f"Training {number}", log)
    clock.time = 100
    log.write_text(
        "2026-01-01 00:00:00,000 INFO epoch 1: loss 0.5 val_loss 0.6\n"
        "2026-01-01 00:00:10,000 INFO epoch 2/4 batch 3/9 loss 0.4, at most 0:01:40 left\n"
    )
    # Each will take 200 s, as the two that wait will: 2 * 100 + 2 * 200, two at once.
    assert followed.seconds_left() == pytest.approx(300)
    assert "  Training 1 (2 min): epoch 2/4 batch 3/9 loss 0.4, at most 0:01:40 left" in (
        followed.status().splitlines()
    )
    clock.time = 200
    for number in (1, 2):
        followed.finish(number)
    followed.counts = Counter(train=4, score=4)
    run(followed, clock, "score", 10)
    # Two trainings of 200 s, two at once, and three scorings of 10 s, beside them or after them.
    assert followed.seconds_left() == pytest.approx((200 + 230) / 2)
    assert followed.status().startswith("3 of 8 steps, about 4 min left")


def test_remaining_time_of_one_job_is_not_divided_by_past_parallelism(followed, clock):
    followed.counts = Counter(train=9)
    run(followed, clock, "train", 100, jobs=8)
    assert followed.seconds_left() == pytest.approx(100)


def test_remaining_time_is_hidden_when_a_job_outlasts_all_earlier_ones(followed, clock):
    followed.counts = Counter(train=2)
    run(followed, clock, "train", 100)
    followed.start(1, "train", "Training b", None)
    clock.time += 60
    assert followed.seconds_left() == pytest.approx(40)
    clock.time += 41
    assert followed.seconds_left() is None
    followed.finish(1)
    assert followed.seconds_left() is None


def test_short_rules_are_estimated_without_an_earlier_run(followed, clock):
    followed.counts = Counter(train=2, write_report=1)
    run(followed, clock, "train", 100)
    assert followed.seconds_left() == pytest.approx((100 + 115) / 2)


def test_a_logged_remaining_time_counts_down_until_the_next_log_line(followed, clock, tmp_path):
    log = tmp_path / "train.log"
    followed.counts = Counter(train=1)
    followed.start(1, "train", "Training", log)
    log.write_text("epoch 1/4 batch 3/9 loss 0.4, at most 0:01:40 left\n")
    clock.time = 10
    assert followed.seconds_left() == pytest.approx(100)
    with log.open("a") as file:
        file.write("epoch 1: loss 0.5 val_loss 0.6\n")
    clock.time = 40
    assert followed.seconds_left() == pytest.approx(70)
    assert followed.status().startswith("0 of 1 steps, about 70 s left")
    clock.time = 200
    assert followed.seconds_left() is None


def test_a_failed_job_counts_neither_as_done_nor_as_a_duration(followed, clock):
    followed.start(1, "score", "Scoring", None)
    clock.time = 5
    assert followed.finish(1, failed=True) is not None
    assert followed.seconds_left() is None and sum(followed.done.values()) == 0
    assert followed.finish(99) is None


def test_the_last_state_of_a_progress_bar_is_read(tmp_path):
    log = tmp_path / "job.log"
    log.write_bytes(
        b"starting\nenhance:   0%|          | 0/96 [00:00<?, ?it/s]\r"
        b"enhance:  45%|####5     | 43/96 [00:20<00:24,  2.1it/s]"
    )
    assert last_line(log) == "enhance 45 %, 00:24 left"
    assert seconds_told(last_line(log)) == 24
    assert last_line(tmp_path / "none.log") == "" and last_line(None) == ""
    log.write_text("".join(f"line {k}\n" for k in range(5000)))
    assert tail(log, 2) == ["line 4998", "line 4999"] and last_line(log) == ""


def test_durations_are_formatted_for_readers():
    told = [duration(x) for x in (0.4, 89, 90, 3600, 5399, 5400, 90_061)]
    assert told == ["0 s", "89 s", "2 min", "60 min", "90 min", "1 h 30 min", "25 h 01 min"]
    assert seconds_told("at most 1:02:03 left") == 3723
    assert seconds_told("epoch 3: loss 1.0") is None


FAILING = """
rule all:
    input: "made"
rule broken:
    output: "made"
    log: "logs/broken.log"
    shell: "seq -f 'line %g' 1000 > {log}; echo ValueError: the reason >> {log}; exit 3"
"""


def test_the_end_of_a_failed_jobs_log_is_shown(tmp_path):
    (tmp_path / "Snakefile").write_text(FAILING)
    run = subprocess.run(
        [sys.executable, "-m", "snakemake", "all", "--cores", "1", "--logger", "denoise"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 1
    shown = [line[4:] for line in run.stderr.splitlines() if line.startswith("  | ")]
    assert shown == [*(f"line {k}" for k in range(982, 1001)), "ValueError: the reason"]
    assert run.stderr.splitlines()[-2:] == [
        "failed: broken: ValueError: the reason", "The same command goes on from here."
    ]  # fmt: skip
    assert "the end of logs/broken.log:" in run.stderr
    assert end_of(tmp_path / "none.log").endswith("none.log cannot be read from here")
    (tmp_path / "empty.log").touch()
    assert end_of(tmp_path / "empty.log").endswith("empty.log has nothing in it")
