"""Snakemake's logger plugin ``denoise``: a study says now and then what it is doing.

Of a job that fails, it shows the end of the log at once.  It writes beside Snakemake's own messages
and replaces none.  The profiles switch it on (``logger: [denoise]``); what it says is made by
`denoise.study.progress`.
"""

from __future__ import annotations

import contextlib
import sys
import threading
from collections import Counter
from dataclasses import dataclass, field
from logging import LogRecord
from pathlib import Path

from snakemake_interface_logger_plugins.base import LogHandlerBase
from snakemake_interface_logger_plugins.common import LogEvent
from snakemake_interface_logger_plugins.settings import LogHandlerSettingsBase

from denoise.core.terminal import say
from denoise.study.progress import Study, end_of, error_of, now

_TERMINAL_S, _FILE_S = 20, 60


@dataclass
class LogHandlerSettings(LogHandlerSettingsBase):
    """What the command line sets."""

    every: int | None = field(
        default=None,
        metadata={
            "help": "Seconds between two messages; default 20 on a terminal, 60 elsewhere, 0 for "
            "none.",
            "type": int,
            "required": False,
        },
    )


class LogHandler(LogHandlerBase):
    """Follows the jobs of a run, and prints what they are at."""

    def __post_init__(self) -> None:
        self.study = Study()
        self.failures: dict[str, str] = {}
        self.ended = threading.Event()
        self.lock_of_study = threading.Lock()
        given = self.settings.every if self.settings else None
        usual = _TERMINAL_S if sys.stderr.isatty() else _FILE_S
        self.every = usual if given is None else given
        if self.every > 0 and not self.common_settings.dryrun:
            threading.Thread(target=self._tell, daemon=True).start()

    def emit(self, record: LogRecord) -> None:
        """Take note of what a message of Snakemake says of a job."""
        with contextlib.suppress(Exception), self.lock_of_study:  # telling never costs a run
            self._note(record.__dict__)

    def _note(self, told: dict[str, object]) -> None:
        event = told.get("event")
        if event == LogEvent.RUN_INFO:
            counts = dict(told["stats"])  # type: ignore[call-overload]
            counts.pop("total", None)
            self.study.counts = Counter(counts)
        elif event == LogEvent.JOB_INFO:
            logs = list(told.get("log") or [])  # type: ignore[call-overload]
            about = str(told.get("rule_msg") or told["rule_name"]).split(" (progress: ")[0]
            self.study.start(
                int(told["jobid"]),  # type: ignore[call-overload]
                str(told["rule_name"]),
                about,
                Path(logs[0]) if logs else None,
            )
        elif event == LogEvent.JOB_FINISHED:
            job = self.study.finish(int(told["job_id"]))  # type: ignore[call-overload]
            if job is not None:  # it may have failed before and been tried again
                self.failures.pop(job.about, None)
        elif event == LogEvent.JOB_ERROR:
            self._failed(told)
        elif event == LogEvent.GROUP_ERROR:
            for job in told["job_error_info"]:  # type: ignore[attr-defined]
                self._failed(job)

    def _failed(self, told: dict[str, object]) -> None:
        job = self.study.finish(int(told["jobid"]), failed=True)  # type: ignore[call-overload]
        logs = [Path(log) for log in list(told.get("log") or [])]  # type: ignore[call-overload]
        for log in logs:
            say(*end_of(log).split("\n"))
        reasons = [reason for reason in map(error_of, logs) if reason]
        what = job.about if job else str(told.get("rule_name"))
        self.failures[what] = reasons[0] if reasons else "see above"

    def _tell(self) -> None:
        while not self.ended.wait(self.every):
            with self.lock_of_study:
                text = self.study.status() if self.study.running else ""
            if text:
                say(*f"[{now()}] {text}".split("\n"))

    def close(self) -> None:
        """Say what failed, and nothing more."""
        self.ended.set()
        for what, reason in self.failures.items():
            say(f"failed: {what}: {reason}")
        if self.failures:
            say("The same command goes on from here.")
        self.failures = {}
        super().close()

    @property
    def writes_to_stream(self) -> bool:
        """Whether Snakemake's own messages are replaced."""
        return False

    @property
    def writes_to_file(self) -> bool:
        """Whether there is a file of its own."""
        return False

    @property
    def has_filter(self) -> bool:
        """All messages are looked at."""
        return True

    @property
    def has_formatter(self) -> bool:
        """Nothing is formatted."""
        return True

    @property
    def needs_rulegraph(self) -> bool:
        """Counts are enough."""
        return False
