"""``denoise enhance``: denoise recordings."""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from denoise import audio
from denoise.api import READY, find_model, ready_models
from denoise.cli.outputs import Job, check_targets, output_paths, without_outputs
from denoise.cli.shared import (
    add_application,
    add_json,
    application,
    expanded,
    print_json,
    quiet_native_libraries,
)
from denoise.core import files
from denoise.core.errors import UserError, explained, is_full_disk
from denoise.core.pools import progress
from denoise.core.terminal import fail, say, warn

if TYPE_CHECKING:
    from denoise.enhancement.enhancer import Enhancer
    from denoise.enhancement.marks import Marks

_MOST_CLIPPED = 1e-3
_MOST_PLOTTED_S = 600


def add(verbs: Any) -> None:
    """Add the verb to the parser."""
    verb = verbs.add_parser(
        "enhance",
        examples=[
            "denoise enhance talk.wav",
            "denoise enhance --max-attenuation 20 -o clean/ recordings/",
        ],
        description="Denoise recordings of any rate, number of channels and format. Frequencies "
        "above the model's band are kept.",
    )
    verb.add_argument(
        "inputs", nargs="+", type=Path, metavar="INPUT", help="file, folder or pattern"
    )
    verb.add_argument(
        "-o",
        "--output",
        type=Path,
        help="file for one input, folder for several; default NAME.enhanced.EXT or the folder "
        "NAME.enhanced beside each input",
    )
    verb.add_argument(
        "--model",
        help=f"a model listed by `denoise models`, or a model folder; default {READY[0]}, which "
        "comes ready to use",
    )
    add_application(verb)
    verb.add_argument(
        "--overlap",
        type=float,
        default=0.5,
        help="share of a window that overlaps with the next one, 0 to 0.9 (default 0.5)",
    )
    verb.add_argument(
        "--plot", action="store_true", help="also draw waveforms and spectrograms before and after"
    )
    verb.add_argument(
        "--allow-louder",
        action="store_true",
        help="write the output even if it has over 6 dB more energy than the input",
    )
    existing = verb.add_mutually_exclusive_group()
    existing.add_argument("--force", action="store_true", help="overwrite existing outputs")
    existing.add_argument(
        "--skip-existing", action="store_true", help="enhance only what has no output yet"
    )
    add_json(verb)
    verb.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Carry out ``denoise enhance``."""
    if not 0 <= options.overlap <= 0.9:
        raise UserError(f"--overlap {options.overlap:g} must be between 0 and 0.9")
    options.settings = application(options, overlap=options.overlap)
    jobs = output_paths(expanded(options.inputs), options.output)
    if options.skip_existing:
        asked, jobs = jobs, [job for job in jobs if not job[1].exists()]
        if len(jobs) < len(asked):
            say(f"{len(asked) - len(jobs)} of {len(asked)} outputs exist")
    results, failed = _enhance_all(jobs, options) if jobs else ([], 0)
    if options.json:
        print_json(results)
    if failed:
        raise UserError(f"{failed} of {len(results) + failed} files could not be enhanced")


def _enhance_all(jobs: list[Job], options: argparse.Namespace) -> tuple[list[dict[str, Any]], int]:
    """Enhance each input into its output; what was done, and how many could not be."""
    from denoise.enhancement.marks import Marks

    folder = find_model(options.model) if options.model else ready_models()[READY[0]]
    marks = Marks(folder, options.settings)
    jobs = without_outputs(jobs, marks)
    done = check_targets(jobs, None if options.force else marks, plot=options.plot)
    if done:
        more = ": continuing with the others" if len(done) < len(jobs) else ""
        say(
            f"{len(done)} of {len(jobs)} outputs exist already, made from the same recordings with "
            f"the same model and settings{more}"
        )
    # Headers are looked at before the network is loaded, so that a wrong name is told at once.
    durations = _durations([source for source, _ in jobs])
    readable = [job for job in jobs if job[0] in durations]
    todo = [job for job in readable if job not in done]
    results = [_result(job, durations, folder, made_before=True) for job in readable if job in done]
    if not todo:
        return results, len(jobs) - len(results)
    enhancer = _loaded(folder, options)
    watch = _Remaining(sum(durations[source] for source, _ in todo))
    for number, job in enumerate(todo, 1):
        began = time.monotonic()
        made = _enhance_one(enhancer, job, marks, options)
        watch.done(durations[job[0]])
        if made:
            say(f"[{number}/{len(todo)}] {job[0]} -> {job[1]}{watch.left()}")
            seconds = time.monotonic() - began
            results.append(_result(job, durations, folder, seconds))
    return results, len(jobs) - len(results)


def _loaded(folder: Path, options: argparse.Namespace) -> Enhancer:
    from denoise.enhancement.enhancer import MOST_GAIN_DB, Enhancer

    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with quiet_native_libraries():
        limit = None if options.allow_louder else MOST_GAIN_DB
        enhancer = Enhancer.load(folder, options.settings, limit, runtime=options.runtime)
    say(f"model {folder}, {enhancer.rate} Hz")
    return enhancer


def _result(
    job: Job, durations: dict[Path, float], folder: Path, seconds: float = 0.0,
    *, made_before: bool = False,
) -> dict[str, Any]:  # fmt: skip
    return {
        "input": job[0],
        "output": job[1],
        "duration_s": durations[job[0]],
        "seconds": seconds,
        "model": folder,
        "made_before": made_before,
    }


def _enhance_one(enhancer: Enhancer, job: Job, marks: Marks, options: argparse.Namespace) -> bool:
    """Enhance a recording; returns whether the output exists, and reports errors."""
    source, target = job
    try:
        mark = marks.of(source)
        try:
            enhance_file(enhancer, source, target, mark, new=not options.force)
        except FileExistsError:
            # The same command at work beside this one makes the same file.
            if not marks.is_on(target, source):
                raise UserError(
                    f"{target} was written by another process in the meantime"
                ) from None
        if options.plot:
            plot(source, target, mark)
    except (UserError, OSError) as reason:
        if is_full_disk(reason):
            raise
        about_source = isinstance(reason, audio.UnusableAudio)
        fail(f"{source} {reason}" if about_source else f"{source}: {explained(reason) or reason}")
        return False
    return True


def _durations(sources: list[Path]) -> dict[Path, float]:
    """Length in seconds of each readable recording; reports the others."""
    readable: dict[Path, float] = {}
    for source in sources:
        seconds = audio.seconds(source)
        if seconds is not None:
            readable[source] = seconds
            continue
        reason = f"{source} {_why_unreadable(source)}"
        if len(sources) == 1:
            raise UserError(reason)
        fail(reason)
    if not readable:
        raise UserError(f"none of {len(sources)} files can be read as audio")
    return readable


def _why_unreadable(source: Path) -> str:
    try:
        audio.check_readable(source)
    except audio.UnusableAudio as error:
        return str(error)
    return "cannot be read as audio: give a wav, flac, ogg or mp3 file"


_ETA_S = 20
"""Seconds of audio before the remaining time is shown."""


class _Remaining:
    """Estimates the remaining time for several recordings from the previous ones."""

    def __init__(self, total_s: float) -> None:
        self.total, self.gone, self.began = total_s, 0.0, time.monotonic()

    def done(self, seconds: float) -> None:
        """Count a recording of so many seconds."""
        self.gone += seconds

    def left(self) -> str:
        """The remaining time in words; empty if it is short."""
        rest = self.total - self.gone
        # Before, what was done says more of the start than of the speed.
        if self.gone < min(_ETA_S, 0.05 * self.total) or rest <= 0:
            return ""
        minutes, seconds = divmod(round((time.monotonic() - self.began) * rest / self.gone), 60)
        return f" ({minutes}:{seconds:02d} left)"


def enhance_file(
    enhancer: Enhancer, source: Path, target: Path, mark: str = "", *, new: bool = False
) -> None:
    """Write the denoised recording to `target`.

    Parameters
    ----------
    mark
        Added to the comment of the recording, whose other tags are kept.
    new
        Whether nothing may stand there before.

    Raises
    ------
    FileExistsError
        If something did.
    """
    recording = audio.Recording(source)
    rate, channels = recording.rate, recording.channels
    same = source.suffix.lower() == target.suffix.lower()
    subtype = recording.subtype if same else None
    comment = " | ".join(filter(None, [recording.tags.get("comment"), mark]))
    clipped = given = 0
    with (
        progress(None, source.name, recording.samples // rate) as bar,
        files.replacing(target, new=new) as temporary,
        audio.writing(
            temporary, rate, (recording.samples, channels), subtype,
            recording.tags | {"comment": comment},
        ) as put,
    ):  # fmt: skip
        for enhanced in enhancer.enhance_blocks(recording, rate, channels):
            put(enhanced)
            clipped += int(np.count_nonzero(np.abs(enhanced) > 1))
            bar.update((given + len(enhanced)) // rate - given // rate)
            given += len(enhanced)
    share = clipped / (given * channels)
    if share > _MOST_CLIPPED and subtype not in audio.FLOAT_SUBTYPES:
        warn(
            f"{target}: {share:.1%} of the samples were beyond full scale and are "
            "clipped: lower the level of the input"
        )


def plot(source: Path, target: Path, mark: str = "") -> None:
    """Draw a recording before and after beside it; of a long one, the beginning.

    Parameters
    ----------
    mark
        Written into the picture.
    """
    from denoise.report import figures

    waves = {}
    for name, path in (("before", source), ("after", target)):
        recording = audio.Recording(path)
        most = _MOST_PLOTTED_S * recording.rate
        mono = (block.mean(axis=1) for block in recording)
        waves[name] = next(audio.rechunked(mono, most))
    if recording.samples > most:
        say(f"the plot shows the first {_MOST_PLOTTED_S // 60} minutes")
    with files.replacing(target.with_suffix(".png")) as temporary:
        figures.signals(waves, recording.rate).savefig(
            temporary, format="png", dpi=110, metadata={"Comment": mark}
        )
