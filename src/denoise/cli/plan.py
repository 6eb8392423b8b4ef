"""``denoise plan``: what the study of this folder would run, on one screen."""

from __future__ import annotations

import argparse
from collections import Counter
from dataclasses import asdict
from typing import Any

from denoise.cli.shared import add_configfile, add_json, print_json
from denoise.cli.why import plan_of
from denoise.core.terminal import show
from denoise.core.text import duration
from denoise.study.command import dry_run, run_command
from denoise.study.preview import MIRROR_LACKS, STEPS, Preview, preview
from denoise.study.stages import Plan

_MOST_LISTED = 8


def add(verbs: Any) -> None:
    """Add the verb to the parser."""
    verb = verbs.add_parser(
        "plan",
        examples=[
            "denoise plan",
            "denoise plan --configfile other.yaml",
        ],
        description="Show on one screen what a run of the study would do: the steps, the trainings "
        "(with an estimate of their time from earlier trainings in this folder), the downloads and "
        "whether they come from the mirror or the publisher, and an estimate of the disk space. "
        "Nothing is run or downloaded.",
    )
    add_configfile(verb)
    add_json(verb)
    verb.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Carry out ``denoise plan``."""
    plan = plan_of(options.configfile)
    more = ["--configfile", *map(str, options.configfile)] if options.configfile else []
    found = preview(plan, dry_run(["all", *more]))
    if options.json:
        print_json({"experiment": plan.name, "variants": list(plan.variants), **asdict(found)})
        return
    show(*_head(plan))
    if not found.steps:
        show("", "Nothing to do: all results are up to date.")
        return
    show("", f"{sum(found.steps.values())} steps would run:")
    for rule, does in STEPS.items():
        if rule in found.steps:
            show(f"  {found.steps[rule]:>5}  {does}{_note(rule, found, plan)}")
    rest = sum(count for rule, count in found.steps.items() if rule not in STEPS)
    if rest:
        show(f"  {rest:>5}  others: report, leaderboard, records in MLflow")
    show("", f"Time:  {_time(found)}", f"Disk:  {_disk(found)}")
    missing = [one for one in found.downloads if one.source == MIRROR_LACKS]
    if missing:
        names = [f"{one.name}{' (optional)' * one.optional}" for one in missing]
        show(f"Missing in the mirror: {', '.join(names)}")
    show("", f"To run it: {' '.join([run_command(), *more])}")


def _head(plan: Plan) -> list[str]:
    seeds = len(plan.seeds)
    trained = f"{len(plan.variants)} variant{'s' * (len(plan.variants) != 1)}"
    labels = list(plan.variants)
    shown = ", ".join(labels[:_MOST_LISTED])
    more = f" and {len(labels) - _MOST_LISTED} more" if len(labels) > _MOST_LISTED else ""
    beside = [label for label, method in plan.methods.items() if method.kind != "variant"]
    return [
        f"{plan.name}: {trained}{f', {seeds} seeds each' * (seeds > 1)}: {shown}{more}",
        f"compared with {', '.join(beside) or 'nothing'} on {', '.join(plan.test_set_names)}",
    ]


def _note(rule: str, found: Preview, plan: Plan) -> str:
    if rule == "train" and found.training_seconds is not None:
        return f", about {duration(found.training_seconds)}"
    if rule == "fetch" and found.downloads:
        counts = Counter(one.source for one in found.downloads)
        known = sum(one.bytes or 0 for one in found.downloads)
        from_where = "; ".join(f"{count} from the {source}" for source, count in counts.items())
        return f", {_size(known)}: {from_where}"
    return ""


def _time(found: Preview) -> str:
    if not found.steps.get("train"):
        trainings = ""
    elif found.training_seconds is None:
        trainings = "trainings: unknown until one with this network has finished in this folder"
    else:
        trainings = (
            f"about {duration(found.training_seconds)} of training if all epochs run, one training "
            f"after another (estimated from {found.timed_by} finished here)"
        )
    others = f"about {duration(found.other_seconds)} for the other steps on one core"
    parts = [part for part in (trainings, others if found.other_seconds else "") if part]
    if found.untimed:
        of = "some of the other" if found.other_seconds else "the other"
        parts.append(f"{of} steps: unknown until such steps have run in this folder")
    return "; ".join(parts)


def _disk(found: Preview) -> str:
    unknown = found.unmeasured
    listed = ", ".join(f"{_size(size)} {name}" for name, size in found.disk.items())
    told = f"about {_size(sum(found.disk.values()))} as far as is known ({listed}), "
    told = told if found.disk else "little, "
    size_of = f"; not known yet: {', '.join(unknown)}" if unknown else ""
    return f"{told}{_size(found.free)} free{size_of}"


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 10**9 else f"{max(1, round(count / 1e6))} MB"
