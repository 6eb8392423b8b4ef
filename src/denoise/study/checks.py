"""Checks of a plan that no single group of settings can make."""

from __future__ import annotations

import importlib.util
import itertools
from pathlib import Path

from denoise.core import files
from denoise.core.differences import differences
from denoise.core.errors import UserError, did_you_mean
from denoise.corpora.registry import find_corpus
from denoise.corpora.sources import SourceSettings
from denoise.evaluation.baselines import BASELINES
from denoise.networks import backend
from denoise.study.schema import NAME, TestData
from denoise.study.stages import Plan, ReadyModel, Variant


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
                f"training.backend {name} of {variant.name} is not installed: run make install "
                f"EXTRA={backend.extra(name)}, or pip install 'denoise[{backend.extra(name)}]'"
            )


def replaced_by(plan: Plan, reports: Path) -> list[str]:
    """Warnings of other experiments with a report here, whose results those of `plan` replace.

    A model and its scores lie under the name of the variant, whichever experiment it belongs to.
    """
    warnings = []
    for path in sorted(reports.glob("*/study.json")):
        try:
            study = files.read_json(path)
            other, variants = study["experiment"], study["variants"]
            recipes = {name: variants[name]["recipe"] for name in plan.variants if name in variants}
        except (OSError, ValueError, KeyError, TypeError):
            continue  # of another version of this program
        unlike = {}
        for name, recipe in recipes.items():
            now = plan.variants[name].recipe.model_dump(mode="json")
            changed = differences(recipe, now)
            # A setting that one of the two does not know is one of another version.
            unlike[name] = {path: two for path, two in changed.items() if None not in two}
        unlike = {name: changed for name, changed in unlike.items() if changed}
        if other == plan.name or not unlike:
            continue
        setting, (there, here) = next(iter(next(iter(unlike.values())).items()))
        warnings.append(
            f"{', '.join(unlike)} has other settings in the experiment {other} ({setting} is "
            f"{there} there and {here} here): this run replaces those models and scores, not the "
            f"report. Give the variants other names, as in `variants: [{{name: {plan.name}}}]`, to "
            "keep both"
        )
    return warnings


def ready_model(plan: Plan, name: str, folder: str) -> ReadyModel:
    """What is to be known of a model before it is used."""
    where = f"models: {name}"
    if not NAME.fullmatch(name):
        raise UserError(f"{where}: names are letters, digits and . _ + -")
    if name in plan.variants or name in BASELINES:
        raise UserError(f"{where} is the name of a variant or baseline: give it another")
    for file in ("model.keras", "card.json"):
        if not (Path(folder) / file).is_file():
            raise UserError(f"{where}: {folder} has no {file}: give the folder of a trained model")
    try:
        return ReadyModel(folder, int(files.read_json(Path(folder) / "card.json")["rate"]))
    except (OSError, ValueError, TypeError, KeyError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{where}: {folder}/card.json is not a model card: {reason}") from None


def check_start(plan: Plan, variant: Variant) -> None:
    """Refuse weights to start from that are not there, or those of another kind of network."""
    name, seen = variant.recipe.training.start_from, [variant.name]
    where = f"variant {variant.name}: training.start_from"
    if name is not None and name not in plan.variants:
        if not (Path(name) / "model.keras").is_file():
            raise UserError(
                f"{where}: '{name}' is neither a variant{did_you_mean(name, plan.variants)} nor a "
                f"folder with model.keras: the variants are {', '.join(plan.variants)}"
            )
        return
    while name in plan.variants:
        if name in seen:
            raise UserError(f"{where}: {' starts from '.join([*seen, name])}: give one no start")
        seen.append(name)
        other = plan.variants[name].recipe
        for key in ("network", "features"):
            if getattr(other, key) != getattr(variant.recipe, key):
                raise UserError(
                    f"{where}: {name} has other settings of {key}, with which its weights mean "
                    "something else"
                )
        name = other.training.start_from


def check_tested(variant: Variant, test_name: str) -> None:
    """Refuse a test set of the recipe's recordings if they are all for training."""
    for side in ("speech", "noise"):
        sources = getattr(variant.recipe.data, side)
        if sources and all(source.use in {"train", "validation"} for source in sources):
            raise UserError(
                f"variant {variant.name}: test_sets.{test_name} has no {side}: all sources of "
                f"data.{side} have use: train or validation. Give one use: test or all, or the "
                f"test set (test_sets.{test_name}.data) recordings of its own"
            )


def check_apart(variant: Variant, test_name: str, own: TestData) -> None:
    """Refuse a test set of recordings that the variant trains on."""
    data = variant.recipe.data
    for trained, tested in itertools.chain(
        itertools.product(data.speech, own.speech), itertools.product(data.noise, own.noise)
    ):
        if trained.use == "test" or trained.corpus != tested.corpus:
            continue
        shared = _shared(trained, tested)
        if shared is None:
            continue
        for name in ("speakers", "folds", "categories", "recordings"):
            first, second = set(getattr(trained, name)), set(getattr(tested, name))
            if first and second and not first & second:
                break
        else:
            raise UserError(
                f"variant {variant.name}: test set '{test_name}' takes {tested.corpus} "
                f"{shared}, which the variant trains on: give both different subsets, "
                "speakers or folds"
            )


def _shared(trained: SourceSettings, tested: SourceSettings) -> str | None:
    """What two sources of a corpus have in common, if anything: a folder, or a subset of both."""
    if trained.path is not None and tested.path is not None:
        one, other = Path(trained.path).resolve(), Path(tested.path).resolve()
        within = one.is_relative_to(other) or other.is_relative_to(one)
        return tested.path if within else None
    larger = find_corpus(trained.corpus).part_of
    known = {name for subset in trained.resolved_subsets() for name in (subset, larger.get(subset))}
    # A part of what is tested may be trained on; two parts of one subset share nothing known.
    direct = set(trained.resolved_subsets())
    for subset in tested.resolved_subsets():
        if subset in known or larger.get(subset) in direct:
            return subset
    return None
