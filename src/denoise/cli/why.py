"""``denoise why``: say what changed since results were made, and what will run again."""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from denoise.cli.shared import add_configfile, add_json, print_json
from denoise.core.bundled import presets_of
from denoise.core.differences import differences
from denoise.core.errors import UserError, unknown
from denoise.core.terminal import show
from denoise.evaluation.experiment import ExperimentRecord
from denoise.study import paths
from denoise.study.code import changed_files
from denoise.study.command import dry_run

if TYPE_CHECKING:
    from denoise.study.stages import Plan

_MISSING = "Missing output files: "
_FOLLOWS = ("Input files updated by another job", "Updated input files")


def add(verbs: Any) -> None:
    """Add the verb to the parser."""
    verb = verbs.add_parser(
        "why",
        examples=[
            "denoise why quickstart_loss-mse",
            "denoise why quickstart_loss-mse --seed 1 --configfile other.yaml",
        ],
        description="Name the settings and files that changed since the results of a variant were "
        "made, and which steps `snakemake` will therefore run again. Nothing is run.",
    )
    verb.add_argument("variant", help="the label of a variant of config.yaml")
    verb.add_argument("--seed", type=int, help="of one seed; default all of config.yaml")
    add_configfile(verb)
    add_json(verb)
    verb.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Carry out ``denoise why``."""
    from denoise.study.record import record_of

    plan = plan_of(options.configfile)
    if options.variant not in plan.variants:
        raise unknown("variant of config.yaml", options.variant, plan.variants)
    if options.seed not in (None, *plan.seeds):
        raise unknown("seed of config.yaml", str(options.seed), map(str, plan.seeds))
    seeds = plan.seeds if options.seed is None else [options.seed]
    changed = _changed_settings(plan, options.variant)
    runs = record_of(plan).methods[options.variant].runs.values()
    more = ["--configfile", *map(str, options.configfile)] if options.configfile else []
    tables = [str(path) for found in runs for seed in seeds for path in found[seed].scores]
    jobs = planned_jobs(tables, more)
    if options.json:
        print_json(
            {
                "variant": options.variant,
                "settings": None
                if changed is None
                else {path: list(values) for path, values in changed.items()},
                "jobs": jobs,
            }
        )
    else:
        _print_reasons(options.variant, changed, jobs)


def plan_of(configfiles: list[Path]) -> Plan:
    """The plan of the study in this folder, optionally with other files than config.yaml."""
    from snakemake.utils import update_config

    from denoise.study.config import read_yaml
    from denoise.study.paths import own_config
    from denoise.study.plan import make_plan

    own = own_config()
    given = configfiles or [path for path in [own] if path is not None]
    if not given:
        raise UserError("there is no config.yaml here: run this in the folder of the study")
    config: dict[str, Any] = {}
    for path in given:
        update_config(config, read_yaml(path))
    named = " with ".join(path.name for path in given)
    return make_plan(config, presets_of(Path.cwd()), named)


def _print_reasons(
    variant: str, changed: dict[str, tuple[Any, Any]] | None, jobs: list[dict[str, Any]]
) -> None:
    if changed:
        show("Settings that changed since the report was made:")
        for path, (before, now) in changed.items():
            show(f"  {path}: {before} -> {now}")
    if not jobs:
        show(f"Nothing to run: the results of {variant} are up to date.")
        return
    show("What changed:")
    for job in jobs:
        for cause in job["causes"]:
            show(f"  {job['job']}: {cause}")
    show(f"{len(jobs)} step{'s' if len(jobs) > 1 else ''} of {variant} will run:")
    for job in jobs:
        show(f"  {job['job']}")
    show("After them come the leaderboard, the report and the records in MLflow.")


def _changed_settings(plan: Plan, variant: str) -> dict[str, tuple[Any, Any]] | None:
    """Setting → before and now, since the report of this experiment; None if there is none."""
    path = paths.record(plan.name)
    if not path.is_file():
        return None
    before = ExperimentRecord.read(path).variants.get(variant)
    if before is None:
        return None
    return differences(before.recipe, plan.variants[variant].recipe.model_dump(mode="json"))


def planned_jobs(targets: list[str], more: list[str]) -> list[dict[str, Any]]:
    """The jobs that Snakemake would run for `targets`, with the causes that lie in themselves.

    Parameters
    ----------
    more
        Further arguments for Snakemake.

    Raises
    ------
    UserError
        If Snakemake cannot plan them, with what it said.
    """
    return jobs_of(dry_run([*targets, *more]))


def jobs_of(text: str) -> list[dict[str, Any]]:
    """The jobs in what a dry run of Snakemake prints, and the causes of each.

    That another job makes one of its inputs anew is no cause: that job has its own.
    """
    found: dict[str, dict[str, Any]] = {}
    for job, reason in re.findall(r"^Job \d+: (.*)\nReason: (.*)$", text, re.MULTILINE):
        parts = re.split(r"; (?=[A-Z])", reason.strip())
        follows = any(part.startswith(_FOLLOWS[0]) for part in parts)
        told = (_told(part) for part in parts if not (follows and part.startswith(_MISSING)))
        found[job] = {"job": job, "causes": [cause for cause in told if cause]}
    return list(found.values())


def _told(reason: str) -> str | None:
    """A reason of Snakemake in plain words; None if it only follows from another job."""
    if reason.startswith(_FOLLOWS[0]):
        return None
    if reason.startswith(_MISSING):
        names = reason.removeprefix(_MISSING).split(", ")
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        return f"{names[0]}{more} not there yet"
    if reason.startswith("Params have changed"):
        values = dict(re.findall(r"(before|now): (.*?)(?= now: |\s*$)", reason))
        before, now = (_parameter(values.get(key, "")) for key in ("before", "now"))
        if isinstance(before, dict) and isinstance(now, dict):
            parts = [f"{path} {one} -> {other}"
                     for path, (one, other) in differences(before, now).items()]  # fmt: skip
            return "settings changed: " + ", ".join(parts)
        names = changed_files(str(before), str(now), paths.CODE_NOTES)
        return f"code changed: {', '.join(names)}" if names else "the code of this step changed"
    if reason.startswith("Code has changed"):
        return "the code of this step changed"
    if reason.startswith(_FOLLOWS[1]):
        return f"files changed: {reason.partition(': ')[2]}"
    return reason[:1].lower() + reason[1:]


def _parameter(text: str) -> Any:
    """Settings as JSON, or a digest of code."""
    plain = text.strip().strip("'")
    try:
        found = json.loads(plain)
    except ValueError:
        return plain
    return found if isinstance(found, dict) else plain
