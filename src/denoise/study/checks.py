"""Checks of a plan that no single group of settings can make."""

from __future__ import annotations

import importlib.util
import itertools
import os
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from denoise.core.errors import UserError, did_you_mean
from denoise.corpora.folder import TRANSCRIPTS, build_folder
from denoise.corpora.registry import CORPORA, find_corpus
from denoise.corpora.sources import OWN, SourceSettings
from denoise.corpora.splits import SPLITS, assign, members
from denoise.evaluation.baselines import BASELINES
from denoise.metrics.recognition import RECOGNISERS
from denoise.networks import backend
from denoise.networks.card import ModelCard, ModelFolder, read_card
from denoise.study.schema import DataSettings, TestData, check_label
from denoise.study.stages import Plan, Variant
from denoise.training.settings import OTHER_MODELS


def check_backends(plan: Plan) -> None:
    """Refuse a plan whose networks need a library that is not installed here.

    Raises
    ------
    UserError
        With the command that installs it.
    """
    for variant in plan.variants.values():
        name = variant.recipe.training.backend
        if importlib.util.find_spec(name) is None:
            raise UserError(
                f"training.backend {name} of {variant.label} is not installed: run make install "
                f"EXTRA={backend.extra(name)}, or pip install 'denoise[{backend.extra(name)}]'"
            )


def check_metrics(plan: Plan) -> None:
    """Refuse metrics that no test set allows."""
    if "wer" in plan.experiment.metrics and not any(
        "wer" in families for families in plan.families.values()
    ):
        raise UserError(
            "metrics names wer, but no test set has transcripts: take speech of "
            f"{' or '.join(name for name, one in CORPORA.items() if one.transcripts)}, or put "
            f"{TRANSCRIPTS} with the columns file and transcript into a folder of your own, or "
            "use dwer, which needs no transcripts"
        )


def check_packages(plan: Plan) -> None:
    """Refuse metrics and baselines that need a package which is not installed here.

    Raises
    ------
    UserError
        With the command that installs it.
    """
    needed: dict[str, tuple[str, str]] = {}
    if any({"wer", "dwer"} & set(families) for families in plan.families.values()):
        name = plan.experiment.recogniser
        needed = {
            "jiwer": ("the word error rate", "run make asr, or pip install 'denoise[asr]'"),
            RECOGNISERS[name].package: (f"recogniser: {name}", RECOGNISERS[name].install),
        }
    for label in plan.experiment.baselines:
        package = BASELINES[label].package
        if package:
            needed[package] = (
                f"baseline {label}", f"run make {label}, or pip install 'denoise[{label}]'"
            )  # fmt: skip
    for package, (what, install) in needed.items():
        if importlib.util.find_spec(package) is None:
            raise UserError(f"{what} needs {package}, which is not installed: {install}")


def check_storage(plan: Plan, prefix: str | None) -> None:
    """Refuse what jobs that exchange files through a storage cannot do.

    Parameters
    ----------
    prefix
        The place of the study in it.

    Raises
    ------
    UserError
        If there is no place, no MLflow server, or a folder of this machine is to be read.
    """
    if not prefix:
        raise UserError(
            "--default-storage-provider needs --default-storage-prefix, such as s3://BUCKET/STUDY"
        )
    for name, stage in plan.indexes.items():
        if "path" in stage.settings:
            raise UserError(
                f"{name} is a folder of this machine, which jobs that exchange files through "
                f"{prefix} cannot read: use a corpus that is fetched, or a shared folder without "
                "--default-storage-provider"
            )
    if not os.environ.get("MLFLOW_TRACKING_URI"):
        raise UserError(
            "MLFLOW_TRACKING_URI is not set: jobs that share no folder need an MLflow server to "
            "record their runs, see docs/cluster.md"
        )


def check_ready_model(plan: Plan, name: str, folder: str) -> ModelCard:
    """The card of a model that was trained before; refuses labels and folders of no use."""
    where = f"models: {name}"
    check_label(where, name, plan.variants)
    given = ModelFolder(Path(folder))
    for path in (given.model, given.card):
        if not path.is_file():
            raise UserError(
                f"{where}: {folder} has no {path.name}: give the folder of a trained model"
            )
    try:
        return read_card(given.card)
    except UserError as error:
        raise UserError(f"{where}: {error}") from None


def check_other_models(plan: Plan, variant: Variant) -> None:
    """Refuse a model to start from or to learn from that is not there or of no use."""
    recipe = variant.recipe
    for key in OTHER_MODELS:
        where = f"variant {variant.label}: training.{key}"
        name = getattr(recipe.training, key)
        if name is None or name in plan.variants:
            continue
        folder = ModelFolder(Path(name))
        if not folder.model.is_file():
            raise UserError(
                f"{where}: '{name}' is neither a variant{did_you_mean(name, plan.variants)} nor a "
                f"folder with model.keras: the variants are {', '.join(plan.variants)}"
            )
        if key == "teacher":
            _check_teacher(where, name, read_card(folder.card).rate, recipe.audio.sample_rate)
    _check_no_circle(plan, variant.label, variant.label, {variant.label})
    start, teacher = (plan.variants.get(str(getattr(recipe.training, key))) for key in OTHER_MODELS)
    if start is not None:
        for key in ("network", "features"):
            if getattr(start.recipe, key) != getattr(recipe, key):
                raise UserError(
                    f"variant {variant.label}: training.start_from: {start.label} has other "
                    f"settings of {key}, so its weights do not fit"
                )
    if teacher is not None:
        where = f"variant {variant.label}: training.teacher"
        rate = teacher.recipe.audio.sample_rate
        _check_teacher(where, teacher.label, rate, recipe.audio.sample_rate)


def _check_teacher(where: str, name: str, its: int, rate: int) -> None:
    if its != rate:
        raise UserError(
            f"{where}: {name} works at {its} Hz, the variant at {rate} Hz: give a model of the "
            "same sample rate"
        )


def _check_no_circle(plan: Plan, label: str, told: str, before: set[str]) -> None:
    """Raise an error if variants depend on each other in a circle."""
    for key, does in OTHER_MODELS.items():
        name = getattr(plan.variants[label].recipe.training, key)
        if name in before:
            raise UserError(
                f"variant {told} {does} {name}: one of them has to be trained without the others"
            )
        if name in plan.variants:
            _check_no_circle(plan, name, f"{told} {does} {name}", {*before, name})


def check_tested(variant: Variant, test_name: str) -> None:
    """Refuse a test set of the recipe's recordings if they are all for training."""
    data = variant.recipe.data
    sides = ("speech", "noise", "rooms")
    for side in sides if variant.recipe.test_sets[test_name].rooms.share else sides[:2]:
        sources = getattr(data, side)
        if (
            sources
            and side != "rooms"
            and not data.paired
            and all(_is_whole_folder(source) for source in sources)
        ):
            _check_folders(sources, side, data)
        if sources and all(source.split in {"train", "validation"} for source in sources):
            raise UserError(
                f"variant {variant.label}: test_sets.{test_name} has no {side}: all sources of "
                f"data.{side} have split: train or validation. Give one split: test or all, or the "
                f"test set (test_sets.{test_name}.data) recordings of its own"
            )


def _is_whole_folder(source: SourceSettings) -> bool:
    """Whether a source is all of a folder, whose recordings are known before they are prepared."""
    chosen = source.noise_types or source.speakers or source.recordings
    return source.corpus == "folder" and source.split == "all" and not chosen


def _check_folders(sources: Sequence[SourceSettings], side: str, data: DataSettings) -> None:
    """Refuse folders of which nothing is left for a split."""
    tables = []
    for source in sources:
        table = build_folder(Path(str(source.path)), source.speaker_level).assign(sex="")
        if side == "noise":
            table["speaker"] = ""
        else:
            table["noise_type"] = ""
        table["split"] = assign(table, source.split, data.splits, data.seed)
        tables.append(table)
    divided = pd.concat(tables).assign(validation_windows=float(data.splits.by_window))
    for split in SPLITS:
        members(divided, split, side)


def check_sources(variant: Variant) -> None:
    """Refuse sources of the same recordings for two splits."""
    for side in ("speech", "noise", "rooms"):
        for one, other in itertools.combinations(getattr(variant.recipe.data, side), 2):
            shared, splits = _overlap(one, other), {one.split, other.split}
            if shared is not None and one.split != other.split and "all" not in splits:
                raise UserError(
                    f"variant {variant.label}: data.{side} takes {one.corpus} {shared} for "
                    f"{one.split} and for {other.split}: give both different subsets, speakers or "
                    "folds"
                )


def check_no_train_test_overlap(variant: Variant, test_name: str, own: TestData) -> None:
    """Refuse a test set of recordings that the variant trains on."""
    data = variant.recipe.data
    for trained, tested in itertools.chain(
        itertools.product(data.speech, own.speech),
        itertools.product(data.noise, own.noise),
        itertools.product(data.rooms, own.rooms),
    ):
        shared = _overlap(trained, tested) if trained.split != "test" else None
        if shared is not None:
            raise UserError(
                f"variant {variant.label}: test set '{test_name}' takes {tested.corpus} "
                f"{shared}, which the variant trains on: give both different subsets, "
                "speakers or folds"
            )


def _overlap(one: SourceSettings, other: SourceSettings) -> str | None:
    """The recordings that two sources have in common, in words; empty if none."""
    if one.corpus != other.corpus or (shared := _shared(one, other)) is None:
        return None
    for name in ("speakers", "folds", "noise_types", "recordings"):
        first, second = set(getattr(one, name)), set(getattr(other, name))
        if first and second and not first & second:
            return None
    for chosen, others in ((one, other), (other, one)):
        if chosen.speakers and set(chosen.speakers) <= set(others.exclude_speakers):
            return None
    return shared


def _shared(trained: SourceSettings, tested: SourceSettings) -> str | None:
    """The folder or subset that two sources of a corpus have in common; empty if none."""
    if trained.path is not None and tested.path is not None:
        one, other = Path(trained.path).resolve(), Path(tested.path).resolve()
        within = one.is_relative_to(other) or other.is_relative_to(one)
        if trained.corpus in OWN or one != other:
            return tested.path if within else None
    corpus = find_corpus(trained.corpus)
    larger = corpus.part_of
    known = {name for subset in trained.parts() for name in (subset, larger.get(subset))}
    # A part of what is tested may be trained on; two parts of one subset share nothing known.
    direct = set(trained.parts())
    if direct & set(corpus.alike):
        direct |= set(corpus.alike)
    for subset in tested.parts():
        if subset in known | direct or larger.get(subset) in direct:
            return subset
    return None
