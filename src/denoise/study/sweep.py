"""From a preset, overrides, variants and a sweep to the recipe of every variant."""

from __future__ import annotations

import contextlib
import copy
import itertools
import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from denoise.core.errors import UserError
from denoise.core.labels import in_brief
from denoise.mixing.settings import LEVELS
from denoise.networks.registry import NETWORKS
from denoise.study.config import read_preset, recipe_of
from denoise.study.messages import validated
from denoise.study.schema import Experiment, Recipe, VariantSettings, check_label
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
    """A copy of the nested `recipe` with ``{"a.b": value}`` set; list items go by number.

    Raises
    ------
    UserError
        If a path leads nowhere, or would drop values of the preset without saying so.

    Example
    -------
    >>> override({"mixing": {"gain": [0.2, 0.8], "segment": 8064}}, {"mixing.snr_db": [0, 5]})
    {'mixing': {'segment': 8064, 'snr_db': [0, 5]}}
    """
    result = copy.deepcopy(recipe)
    for path, value in changes.items():
        _check_whole_group(path, value, result)
        *above, key = path.split(".")
        place: Any = result
        for part in above:
            place = _item(place, part, path)[part if isinstance(place, dict) else int(part)]
            if not isinstance(place, dict | list):
                raise UserError(f"{path}: {part} is a value, not a group of settings")
        if key in LEVELS and value is not None:
            for other in LEVELS:
                if other != key and changes.get(".".join([*above, other])) is not None:
                    raise UserError(
                        f"{path}: give one of {', '.join(LEVELS)}, not {key} and {other}"
                    )
                place.pop(other, None)
        _item(place, key, path)[key if isinstance(place, dict) else int(key)] = value
    return result


def _item(place: Any, part: str, path: str) -> Any:
    """`place`, in which `part` of the path stands or can be set."""
    if isinstance(place, list):
        if not (part.isascii() and part.isdigit()) or int(part) >= len(place):
            raise UserError(f"{path}: '{part}' must be a number below {len(place)}")
    else:
        place.setdefault(part, {})
    return place


def _check_whole_group(path: str, value: Any, recipe: dict[str, Any]) -> None:
    """Refuse a change that would drop the preset's other values of its group unsaid."""
    if path in _WHOLE_GROUPS:
        raise UserError(
            f"{path}: give its settings one by one, such as {path}.{_WHOLE_GROUPS[path]}: "
            "a whole group would drop the preset's other values"
        )
    if not isinstance(value, dict):
        return
    if path == "network" and "name" not in value:
        raise UserError(
            f"{path}: name the network, one of {', '.join(sorted(NETWORKS))}, if its "
            "other settings are to have their defaults, or give settings one by one, such as "
            "network.filters"
        )
    kind = _KINDS.get(path)
    if kind is not None and kind not in value:
        raise UserError(
            f"{path}: give {kind} too if its other settings are to have their defaults, or "
            f"give settings one by one, such as {path}.{next(iter(value), kind)}"
        )
    if path == "data.splits":
        dropped = (recipe.get("data") or {}).get("splits", {}).keys() - value.keys()
        if dropped:
            raise UserError(
                f"{path}: give {min(dropped)} too, which the preset sets and a whole group "
                f"would drop, or give settings one by one, such as {path}.by_window"
            )


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
    experiment: Experiment, preset: dict[str, Any], name: str, preset_folder: Path, file: str
) -> dict[str, Variant]:
    """Every variant of the experiment: named variants times the grid of the sweep.

    Parameters
    ----------
    name
        Of the only variant where none is named.
    file
        What the configuration is called in errors.

    Raises
    ------
    UserError
        If a variant is impossible or named twice, or a swept path changes nothing.
    """
    variants: dict[str, Variant] = {}
    named = experiment.variants or (VariantSettings(name=name),)
    count = len(named) * math.prod(map(len, experiment.sweep.values()))
    if count > experiment.most_variants:
        raise UserError(
            f"sweep: {count:,} variants are more than {experiment.most_variants:,}: sweep fewer "
            "values together, or raise most_variants"
        )
    varied = [path for path, values in experiment.sweep.items() if len(values) > 1]
    for given in named:
        _check_paths(experiment, given)
        base = _base_recipe(experiment, given, preset, preset_folder, file)
        own = given.label if experiment.variants else _true_name(name, experiment, preset)
        for values in itertools.product(*experiment.sweep.values()):
            swept = dict(zip(experiment.sweep, values, strict=True))
            label = "_".join(
                [own, *(f"{path.split('.')[-1]}-{slug(v)}" for path, v in swept.items())]
            )
            changes = {**given.set, **swept}
            with _named(f"variant {label}"):
                changed = override(base, changes)
            recipe = validated(Recipe, changed, f"variant {label}")
            check_label(f"variant '{label}'", label, variants)
            differs = {"preset": given.preset, **changes} if given.preset else changes
            brief = in_brief({path: swept[path] for path in varied})
            short = ", ".join(filter(None, [own if len(named) > 1 else "", brief]))
            variants[label] = Variant(label, recipe, differs, short or label)
    for path, swept_values in experiment.sweep.items():
        reasons = [_without_effect(variant.recipe, path) for variant in variants.values()]
        if len(swept_values) > 1 and all(reasons):
            raise UserError(
                f"sweep: {path} changes nothing, so its variants would be the same: {reasons[0]}"
            )
    return variants


def _true_name(preset_name: str, experiment: Experiment, preset: dict[str, Any]) -> str:
    """The name of a preset without the words for values that the experiment gives otherwise.

    So that no variant of ``unet-huber-esc50`` with another loss is named after that one.
    """
    changed = {path: [value] for path, value in experiment.set.items()} | experiment.sweep
    untrue = set()
    for path, values in changed.items():
        before = slug(_value_at(preset, path))
        if any(slug(value) != before for value in values):
            untrue.add(before)
    words = [word for word in preset_name.split("-") if word not in untrue]
    return "-".join(words) or preset_name


def _value_at(settings: Any, path: str) -> Any:
    """A value of nested settings by its path; empty text where it is not set."""
    for key in path.split("."):
        if isinstance(settings, list) and key.isdigit() and int(key) < len(settings):
            settings = settings[int(key)]
        else:
            settings = settings.get(key, "") if isinstance(settings, dict) else ""
    return settings


def _check_paths(experiment: Experiment, variant: VariantSettings) -> None:
    """Refuse a path that is given twice, or whose value a later group would replace."""
    for path in experiment.sweep:
        for given, where in (
            (experiment.set, "set"),
            (variant.set, f"variant {variant.label}"),
        ):
            for same in _same_setting(path):
                if given.get(same) is not None or path == same in given:
                    raise UserError(
                        f"{same} is given in {where} and {'' if path == same else f'{path} '}swept "
                        "as well: leave it out of one (a preset's own sweep is turned off by "
                        "sweep: {})"
                    )
    in_order = [*experiment.set, *variant.set, *experiment.sweep]
    for earlier, later in itertools.combinations(in_order, 2):
        if earlier.startswith(f"{later}."):
            raise UserError(
                f"{later} replaces a whole group, {earlier} in it included: give the settings "
                "of the group one by one"
            )


def _same_setting(path: str) -> list[str]:
    """A path, and those that say the same in another way."""
    group, _, key = path.rpartition(".")
    return [path, *(f"{group}.{other}" for other in LEVELS if key in LEVELS and other != key)]


def _base_recipe(
    experiment: Experiment,
    variant: VariantSettings,
    preset: dict[str, Any],
    folder: Path,
    file: str,
) -> dict[str, Any]:
    """The recipe of the variant's preset with the ``set`` of the experiment.

    Checked before the variant's own settings are, so that nobody else's mistake is blamed on it.
    """
    base, origin = preset, variant.preset or experiment.preset
    if variant.preset:
        base = recipe_of(read_preset(variant.preset, folder))
    if "data" not in base:
        raise UserError(
            f"variant {variant.label}: preset {origin} is a study of other presets: give the "
            "variant one of them as its preset"
        )
    validated(Recipe, base, f"preset {origin}")
    with _named(f"variant {variant.label}: set"):
        base = override(base, experiment.set)
    if not variant.preset:
        validated(Recipe, base, f"{file}: set")
    return base


@contextlib.contextmanager
def _named(where: str) -> Iterator[None]:
    """Say where a mistake is."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{where}: {error}") from None


def _without_effect(recipe: Recipe, path: str) -> str:
    """Why a setting changes nothing in a recipe; empty if it does."""
    reasons = _unused_features(recipe) | _unused_of_training(recipe)
    if recipe.data.paired:
        unused = [*(f"mixing.{name}" for name in LEVELS), "mixing.noise_stride"]
        for group in (*unused, "audio.trim_top_db"):
            reasons[group] = "the pairs of data.speech are mixed already"
    return next((why for group, why in reasons.items() if f"{path}.".startswith(f"{group}.")), "")


def _unused_features(recipe: Recipe) -> dict[str, str]:
    """Why settings of features change nothing, by their path."""
    features, reasons = recipe.features, {}
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
    return reasons


def _unused_of_training(recipe: Recipe) -> dict[str, str]:
    """Why settings of the network and its training change nothing, by their path."""
    network, training = recipe.network, recipe.training
    kind = training.schedule.kind
    unused = {"constant": ("factor", "patience", "minimum"), "plateau": ()}
    reasons = {
        f"training.schedule.{key}": f"training.schedule.kind is {kind}"
        for key in unused.get(kind, ("factor", "patience"))
    }
    if training.optimiser.weight_decay == 0:
        same = "adam and adamw differ by weight_decay alone, which is 0"
        reasons["training.optimiser.name"] = same
    if getattr(network, "normalisation", "batch") == "none":
        reasons["network.norm_momentum"] = "network.normalisation is none"
    if getattr(network, "dropout", 1) == 0:
        reasons["network.dropout_at"] = "network.dropout is 0"
    return reasons
