"""From a preset, overrides, variants and a sweep to the recipe of every variant."""

from __future__ import annotations

import contextlib
import itertools
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from denoise.core.errors import UserError
from denoise.evaluation.baselines import BASELINES
from denoise.mixing.settings import LEVELS
from denoise.networks.registry import NETWORKS
from denoise.study.config import read_preset, recipe_of
from denoise.study.messages import validated
from denoise.study.schema import NAME, Experiment, Recipe, VariantSettings
from denoise.study.stages import Variant

_WHOLE_GROUPS = {
    "data": "noise",
    "audio": "sample_rate",
    "mixing": "segment",
    "features": "floor_db",
    "training": "loss",
}
# Groups that are another thing under another kind: replacing one drops the preset's other values.
_KINDS = {
    "features.input_scaling": "kind",
    "features.target_scaling": "kind",
    "features.stft": "n_fft",
    "training.schedule": "kind",
    "training.optimiser": "name",
}


def override(recipe: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of the nested `recipe` with ``{"a.b": value}`` set; list items go by number."""
    import copy

    result = copy.deepcopy(recipe)
    for path, value in changes.items():
        parts = path.split(".")
        if path == "network" and isinstance(value, dict) and "name" not in value:
            raise UserError(
                f"{path}: name the network, one of {', '.join(sorted(NETWORKS))}, if its "
                "other settings are to have their defaults, or give settings one by one, such as "
                "network.filters"
            )
        kind = _KINDS.get(path)
        if kind is not None and isinstance(value, dict) and kind not in value:
            raise UserError(
                f"{path}: give {kind} too if its other settings are to have their defaults, or "
                f"give settings one by one, such as {path}.{next(iter(value), kind)}"
            )
        if path in _WHOLE_GROUPS:
            raise UserError(
                f"{path}: give its settings one by one, such as {path}.{_WHOLE_GROUPS[path]}: "
                "a whole group would drop the preset's other values"
            )
        if path == "data.splits" and isinstance(value, dict):
            dropped = (result.get("data") or {}).get("splits", {}).keys() - value.keys()
            if dropped:
                raise UserError(
                    f"{path}: give {min(dropped)} too, which the preset sets and a whole group "
                    f"would drop, or give settings one by one, such as {path}.by_window"
                )
        place: Any = result
        for part in parts[:-1]:
            if isinstance(place, list):
                if not part.isdigit() or int(part) >= len(place):
                    raise UserError(f"{path}: '{part}' must be a number below {len(place)}")
                place = place[int(part)]
            else:
                place = place.setdefault(part, {})
            if not isinstance(place, dict | list):
                raise UserError(f"{path}: {part} is a value, not a group of settings")
        if isinstance(place, list):
            if not parts[-1].isdigit() or int(parts[-1]) >= len(place):
                raise UserError(f"{path}: '{parts[-1]}' must be a number below {len(place)}")
            place[int(parts[-1])] = value
        else:
            if parts[-1] in LEVELS:  # one way to say how loud the noise is replaces another
                for other in LEVELS:
                    place.pop(other, None)
            place[parts[-1]] = value
    return result


def slug(value: Any) -> str:
    """A short name of a swept value, usable in paths."""
    if isinstance(value, dict):
        return "+".join(f"{key}-{slug(item)}" for key, item in value.items())
    if isinstance(value, list | tuple):
        return "-".join(slug(item) for item in value)
    if isinstance(value, float):
        value = f"{value:g}"
    return (
        re.sub(r"[^A-Za-z0-9.]+", "-", str(value)).strip("-").lower()
        if not (isinstance(value, int | float) or re.fullmatch(r"-?[\d.e]+", str(value)))
        else str(value).replace("-", "m")
    )


def expand(
    experiment: Experiment, preset: dict[str, Any], name: str, preset_folder: Path
) -> dict[str, Variant]:
    """Every variant of the experiment: named variants times the grid of the sweep."""
    named = experiment.variants or (VariantSettings(name=name),)
    variants: dict[str, Variant] = {}
    for variant in named:
        for path in experiment.sweep:
            for given, where in (
                (experiment.set, "set"),
                (variant.set, f"variant {variant.label}"),
            ):
                if path in given:
                    raise UserError(
                        f"{path} is given in {where} and swept as well: leave it out of one (a "
                        "preset's own sweep is turned off by sweep: {})"
                    )
        in_order = [*experiment.set, *variant.set, *experiment.sweep]
        for earlier, later in itertools.combinations(in_order, 2):
            if earlier.startswith(f"{later}."):
                raise UserError(
                    f"{later} replaces a whole group, {earlier} in it included: give the settings "
                    "of the group one by one"
                )
        base = preset
        if variant.preset:
            base = recipe_of(read_preset(variant.preset, preset_folder))
        origin = variant.preset or experiment.preset
        if "data" not in base:
            raise UserError(
                f"variant {variant.label}: preset {origin} is a study of other presets: give the "
                "variant one of them as its preset"
            )
        # Checked first by itself, so that an error in the preset is not blamed on a variant.
        validated(Recipe, base, f"preset {origin}")
        with _named(f"variant {variant.label}: set"):
            base = override(base, experiment.set)
        if not variant.preset:
            validated(Recipe, base, "config.yaml: set")
        for values in itertools.product(*experiment.sweep.values()):
            swept = dict(zip(experiment.sweep, values, strict=True))
            full_name = "_".join(
                [variant.label, *(f"{path.split('.')[-1]}-{slug(v)}" for path, v in swept.items())]
            )
            changes = {**variant.set, **swept}
            with _named(f"variant {full_name}"):
                changed = override(base, changes)
            recipe = validated(Recipe, changed, f"variant {full_name}")
            if not NAME.fullmatch(full_name):
                raise UserError(f"variant '{full_name}': names are letters, digits and . _ + -")
            if full_name in variants or full_name in BASELINES:
                raise UserError(
                    f"variant '{full_name}' exists already: give it another name, or take out the "
                    "value that is swept twice"
                )
            differs = {"preset": variant.preset, **changes} if variant.preset else changes
            variants[full_name] = Variant(full_name, recipe, differs)
    for path, swept_values in experiment.sweep.items():
        reasons = [_without_effect(variant.recipe, path) for variant in variants.values()]
        if len(swept_values) > 1 and all(reasons):
            raise UserError(
                f"sweep: {path} changes nothing, so its variants would be the same: {reasons[0]}"
            )
    return variants


@contextlib.contextmanager
def _named(where: str) -> Iterator[None]:
    """Say where a mistake is."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{where}: {error}") from None


def _without_effect(recipe: Recipe, path: str) -> str:
    """Why a setting changes nothing in a recipe; empty if it does."""
    features, network, training = recipe.features, recipe.network, recipe.training
    reasons: dict[str, str] = {}
    if recipe.data.paired:
        mixed = "the pairs of data.speech are mixed already"
        reasons |= dict.fromkeys(
            [*(f"mixing.{name}" for name in LEVELS), "mixing.noise_stride", "audio.trim_top_db"],
            mixed,
        )
    for side, unused in (("input", "compressed" in features.input),
                         ("target", "mask" in features.target)):  # fmt: skip
        group = f"features.{side}_scaling"
        kind = getattr(features, f"{side}_scaling").kind
        if unused:
            reasons[group] = f"features.{side} {getattr(features, side)} is not scaled"
        keys = {"affine": ["range"], "standard": ["add", "divide", "range"]}
        for key in keys.get(kind, ["add", "divide"]):
            reasons.setdefault(f"{group}.{key}", f"{group}.kind {kind} does not use it")
    if "compressed" not in features.input:
        reasons["features.compression"] = f"features.input is {features.input}"
    if features.reference != "absolute":
        reasons["features.reference_magnitude"] = f"features.reference is {features.reference}"
    schedule = f"training.schedule.kind is {training.schedule.kind}"
    if training.schedule.kind != "plateau":
        for key in ("factor", "patience"):
            reasons[f"training.schedule.{key}"] = schedule
    if training.schedule.kind == "constant":
        reasons["training.schedule.minimum"] = schedule
    if training.optimiser.weight_decay == 0:
        same = "adam and adamw differ by weight_decay alone, which is 0"
        reasons["training.optimiser.name"] = same
    if getattr(network, "normalisation", "batch") == "none":
        reasons["network.norm_momentum"] = "network.normalisation is none"
    if getattr(network, "dropout", 1) == 0:
        reasons["network.dropout_at"] = "network.dropout is 0"
    return next((why for group, why in reasons.items() if f"{path}.".startswith(f"{group}.")), "")
