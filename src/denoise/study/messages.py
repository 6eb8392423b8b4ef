"""Validation errors of settings as one line that names the key, the value and what is allowed."""

from __future__ import annotations

import typing
from typing import Any

from pydantic import ValidationError

from denoise.core.errors import UserError, did_you_mean
from denoise.core.settings import Settings
from denoise.study.schema import Experiment, Recipe

_RENAMED = {
    "level": "gain, snr_db or snr_range_db",
    "window": "segment",
    "speech_hop": "speech_stride",
    "noise_hop": "noise_stride",
    "use": "split",
    "categories": "noise_types",
    "fold": "frequency_folding",
    "leak": "negative_slope",
    "start_share": "initial_weight_share",
    "equalise": "random_filter",
    "treble": "harmonic_excitation",
    "events": "transients",
    "clean": "clean_share",
    "borrowed_spectrum": "spectrum_transfer",
    "speech_speed_range": "speech_speed_perturbation",
    "noise_speed_range": "noise_speed_perturbation",
}
"""Former key → present name, where the spelling suggestion would be another key."""
_RANGES = ("gain", "snr_range_db", "gain_range_db")


def validated(model: type[Settings], value: Any, where: str) -> Any:
    """`value` as `model`, or a `UserError` that names the key, the value and what is allowed."""
    try:
        return model.model_validate(value)
    except ValidationError as error:
        items = error.errors()
        # A list that holds something wrong is not also too short.
        places = [item["loc"] for item in items]
        items = [
            item
            for item in items
            if item["type"] != "too_short"
            or not any(place[: len(item["loc"])] == item["loc"] != place for place in places)
        ]
        raise UserError("; ".join(_explain(model, item, where) for item in items)) from None


def _explain(model: type[Settings], item: Any, where: str) -> str:
    path, group = _resolve(model, item["loc"])
    name = f"{where}: {'.'.join(path)}" if path else where
    if item["type"] == "extra_forbidden":
        known = list(group.model_fields)
        hint = did_you_mean(path[-1], known)
        if path[-1] in _RENAMED:
            hint = f" (it is called {_RENAMED[path[-1]]} now)"
        if model is Experiment and path[-1].split(".")[0] in Recipe.model_fields:
            hint = " here; what changes a preset belongs below set"
        return f"{name} is not a known key{hint}: known are {', '.join(known)}"
    message = item["msg"].removeprefix("Value error, ")
    if item["type"] == "tuple_type":
        one = item["input"] if isinstance(item["input"], str | int | float) else "…"
        message = f"give a list, such as [{one}]"
        if path[-1] in _RANGES:
            message = (
                "give the two ends of a range, such as [-5, 15]; in a sweep a list of such pairs"
            )
    if item["type"] in {"model_type", "model_attributes_type", "dict_type"}:
        message = "give a group of settings, such as {key: value}"
    value = item.get("input")
    shown = ":" if isinstance(value, dict | Settings) else f" is {value!r}:"
    if item["type"] == "missing":
        shown, message = ":", "is missing"
    return f"{name}{shown} {message}"


def _resolve(model: type[Settings], loc: tuple[Any, ...]) -> tuple[list[str], type[Settings]]:
    """The path of an error as a person writes it, and the innermost known group it leads to.

    Pydantic puts the name of a chosen alternative, such as a network's, into the location.
    """
    path: list[str] = []
    group = model
    choices: list[type[Settings]] = []
    for part in loc:
        chosen = [choice for choice in choices if choice.model_fields["name"].default == part]
        if chosen:
            group, choices = chosen[0], []
            continue
        path.append(str(part))
        if part in group.model_fields:
            found = _groups(group.model_fields[part].annotation)
            choices = found if len(found) > 1 else []
            group = found[0] if len(found) == 1 else group
    return path, group


def _groups(annotation: Any) -> list[type[Settings]]:
    """The settings models inside an annotation."""
    if isinstance(annotation, type) and issubclass(annotation, Settings):
        return [annotation]
    return [group for item in typing.get_args(annotation) for group in _groups(item)]
