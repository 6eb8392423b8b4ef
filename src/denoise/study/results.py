"""Finding what was trained in this folder, by the labels of its experiments."""

from __future__ import annotations

import contextlib
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from denoise.core.bundled import presets_of
from denoise.core.errors import UserError, unknown
from denoise.evaluation.experiment import ExperimentRecord
from denoise.networks.card import ModelFolder
from denoise.study import paths
from denoise.study.config import own_config, read_yaml
from denoise.study.plan import make_plan
from denoise.study.record import record_of


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
    raise UserError(
        f"there is no report of '{experiment}' in this folder: run `snakemake --cores all all`"
    )


def records() -> list[ExperimentRecord]:
    """Those of the experiments of this folder: what ``config.yaml`` plans, then the reported ones,
    newest first.  What cannot be read is left out."""
    found = []
    own = own_config()
    if own is not None:
        with contextlib.suppress(UserError):  # whoever runs the workflow is told
            found.append(record_of(make_plan(read_yaml(own), presets_of(Path.cwd()))))
    reported = sorted(
        paths.REPORTS.glob("*/study.json"), key=lambda path: path.stat().st_mtime, reverse=True
    )
    for path in reported:
        try:
            found.append(ExperimentRecord.read(path))
        except UserError:
            continue  # of another version of this program
    return found


def labelled_models() -> Iterator[LabelledModel]:
    """The models of all experiments that are trained, each under every label that it has."""
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

    What ``config.yaml`` means by a label goes before what other experiments do.

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
    first = found[0]
    # Of one experiment the plan comes before the report, which may be of earlier settings.
    own = records()[0].experiment if own_config() is not None else None
    others = {one.experiment: one.folder for one in reversed(found)}
    if first.experiment != own and len(set(others.values())) > 1:
        names = " or ".join(f"{other}/{label}" for other in sorted(others))
        raise UserError(f"several experiments have a model '{label}': name {names}")
    return first.folder


def unused_models() -> list[Path]:
    """The folders below that of all models that no experiment names any more."""
    used = {path for record in records() for one in record.methods.values()
            for path in one.models.values()}  # fmt: skip
    kept = {path.parent for path in used}
    return sorted(path for path in paths.MODELS.glob("*") if path.is_dir() and path not in kept)


def delete_model(folder: Path) -> None:
    """Delete a model with all its seeds, and what was made with it."""
    # As `plan` names the folders of a model's output.
    output = re.compile(rf"{re.escape(folder.name)}\.[0-9a-f]{{8}}")
    for stage in (paths.ENHANCED, paths.SCORES):
        for path in stage.glob("*"):
            if output.fullmatch(path.name):
                shutil.rmtree(path)
    shutil.rmtree(folder)
