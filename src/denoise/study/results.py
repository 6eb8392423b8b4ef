"""Finding what was trained in this folder, by the labels of its experiments."""

from __future__ import annotations

import contextlib
import logging
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from denoise.core import files
from denoise.core.bundled import presets_of
from denoise.core.errors import UserError, unknown
from denoise.evaluation.experiment import ExperimentRecord
from denoise.networks.card import ModelFolder
from denoise.study import paths
from denoise.study.command import run_command
from denoise.study.config import read_yaml
from denoise.study.jobs import is_running
from denoise.study.plan import make_plan
from denoise.study.record import record_of
from denoise.training.settings import OTHER_MODELS

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LabelledModel:
    """A model of this folder as an experiment calls it."""

    experiment: str
    label: str
    seed: int
    folder: ModelFolder
    record: ExperimentRecord


def report_folder(experiment: str) -> Path:
    """The folder of the report of an experiment, given by its name or by that folder's path.

    Raises
    ------
    UserError
        If there is no report with a record of its experiment.
    """
    for folder in (Path(experiment), paths.report(experiment)):
        if (folder / "study.json").is_file():
            return folder
    known = [found.parent.name for found in paths.REPORTS.glob("*/study.json")]
    if known:
        raise unknown("experiment with a report", experiment, known)
    raise UserError(f"there is no report of '{experiment}' in this folder: type `{run_command()}`")


def planned_record() -> ExperimentRecord | None:
    """The record of the experiment in ``config.yaml``; None in a folder without it.

    Raises
    ------
    UserError
        If the configuration is wrong.
    """
    own = paths.own_config()
    return None if own is None else record_of(make_plan(read_yaml(own), presets_of(Path.cwd())))


def reported_records() -> Iterator[ExperimentRecord]:
    """The records of the reports in this folder, newest first.

    Raises
    ------
    UserError
        If one cannot be read.
    """
    for path in sorted(
        paths.REPORTS.glob("*/study.json"), key=lambda path: path.stat().st_mtime, reverse=True
    ):
        yield ExperimentRecord.read(path)


def records() -> list[ExperimentRecord]:
    """The record of ``config.yaml``, then those of reports, newest first. Unreadable ones are left
    out, because the workflow reports them."""
    found = []
    with contextlib.suppress(UserError):
        found += [planned] if (planned := planned_record()) is not None else []
    for path in sorted(
        paths.REPORTS.glob("*/study.json"), key=lambda path: path.stat().st_mtime, reverse=True
    ):
        with contextlib.suppress(UserError):
            found.append(ExperimentRecord.read(path))
    return found


def labelled_models() -> Iterator[LabelledModel]:
    """The trained models of all experiments under all their labels."""
    seen = set()
    for record in records():
        for label, method in record.methods.items():
            for seed, path in method.models.items() if method.kind == "variant" else ():
                found = LabelledModel(record.experiment, label, seed, ModelFolder(path), record)
                key = (record.experiment, label, seed, path)
                if key not in seen and found.folder.complete():
                    seen.add(key)
                    yield found


def find_labelled(name: str) -> ModelFolder | None:
    """The model of a label, or of ``experiment/label``, with the first of its seeds.

    What ``config.yaml`` means by a label goes before what other experiments do.  Where it is not
    trained yet, a warning says that the model is that of an earlier report.

    Raises
    ------
    UserError
        If several experiments call different models so.
    """
    experiment, _, label = name.rpartition("/")
    found = [
        one
        for one in labelled_models()
        if one.label == label and experiment in ("", one.experiment)
    ]
    if not found:
        return None
    first, own = found[0], None
    with contextlib.suppress(UserError):
        own = planned_record()
    if own is not None and own.experiment == first.experiment and label in own.methods:
        planned = own.methods[label].models
        if first.folder.path not in planned.values():
            log.warning(
                "%s is not trained yet with the settings of config.yaml: this is the model of the "
                "last report, %s",
                label,
                first.folder.path,
            )
        return first.folder
    others = {one.experiment: one.folder for one in reversed(found)}
    if len(set(others.values())) > 1:
        names = " or ".join(f"{other}/{label}" for other in sorted(others))
        raise UserError(f"several experiments have a model '{label}': name {names}")
    return first.folder


def note_planned(record: ExperimentRecord) -> None:
    """Note the planned models of a run, because its report, which lists them too, is written
    last."""
    models = [str(path) for one in record.methods.values() for path in one.models.values()]
    note = paths.planned(record.experiment)
    if _noted(note) != models:  # else it is as old as what was planned
        files.write_json(note, models)


def planned_models() -> Iterator[Path]:
    """The models of runs that were begun, and whose reports are still to come."""
    for note in paths.planned().glob("*.json"):
        # Of a run that has ended the report may have been deleted, so that its models can be.
        ends = (paths.record(note.stem), paths.tracking(note.stem, "experiment"))
        ended = max((path.stat().st_mtime for path in ends if path.is_file()), default=0.0)
        if ended < note.stat().st_mtime:
            yield from map(Path, _noted(note))


def _noted(note: Path) -> list[str]:
    try:
        return list(map(str, files.read_json(note)))
    except (OSError, ValueError, TypeError):
        return []


def unused_models() -> list[Path]:
    """The folders below that of all models that no experiment names any more.

    A model that others start from is used, and so is one that is being trained, or was by a run
    that has not come to its report.

    Raises
    ------
    UserError
        If the configuration or a report cannot be read, so that what it names is not known.
    """
    planned = planned_record()
    for report in paths.REPORTS.glob("*/report.html"):
        if not paths.record(report.parent.name).is_file():
            raise UserError(
                f"there is no study.json beside {report}, so its models are not known: run "
                "`snakemake` with its configuration again, or delete its folder"
            )
    known = [*reported_records(), *([planned] if planned is not None else [])]
    if not known:
        raise UserError(
            "there is neither config.yaml nor a report in this folder, so it is not known which "
            "models are used: run this command in the folder of the study"
        )
    used = {path for record in known for one in record.methods.values()
            for path in one.models.values()}  # fmt: skip
    used |= set(planned_models())
    for record in known:
        for variant in record.variants.values():
            training = variant.recipe.get("training", {})
            used |= {Path(training[key]) for key in OTHER_MODELS if training.get(key)}
    kept = {path.resolve().parent for path in used}
    return sorted(
        path
        for path in paths.MODELS.glob("*")
        if _is_made(path) and path.resolve() not in kept and not any(path.glob("*/checkpoints"))
    )


def _is_made(folder: Path) -> bool:
    """Whether a folder holds models that a training made, and nothing else."""
    inside = list(folder.iterdir()) if folder.is_dir() and not folder.is_symlink() else []
    return bool(inside) and all(
        re.fullmatch(r"seed\d+", one.name) and ModelFolder(one).card.is_file() for one in inside
    )


def check_not_running() -> None:
    """Raise `UserError` while a run is at work here, which may need what is deleted."""
    if is_running():
        raise UserError("`snakemake` is running in this folder: wait until it ends")


def delete_model(folder: Path) -> None:
    """Delete a model with all its seeds, and what was made with it."""
    for stage in (paths.ENHANCED, paths.SCORES, paths.DNSMOS, paths.WER, paths.DWER):
        for path in stage.glob("*"):
            if paths.is_output_of(path.name, folder.name):
                shutil.rmtree(path)
    shutil.rmtree(folder)
