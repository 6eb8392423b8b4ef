"""Short names of settings and variants."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

_UNITS = ("_db", "_hz", "_s", "_ms", "_range")


def short_paths(paths: Iterable[str]) -> dict[str, str]:
    """Setting → its last word without a unit, or with its group where others end alike.

    >>> short_paths(["training.loss", "mixing.snr_range_db"])
    {'training.loss': 'loss', 'mixing.snr_range_db': 'snr'}
    """
    ends = {path: _without_unit(path.split(".")[-1]) for path in paths}
    names = list(ends.values())
    return {
        path: end if names.count(end) == 1 else ".".join(path.split(".")[-2:])
        for path, end in ends.items()
    }


def in_brief(settings: Mapping[str, Any]) -> str:
    """Settings by their paths as one short text.

    >>> in_brief({"training.loss": "mse", "mixing.snr_range_db": [-5, 15]})
    'loss=mse, snr −5…15'
    """
    names = short_paths(settings)
    return ", ".join(
        f"{names[path]} {brief_value(value)}"
        if _is_range(value)
        else f"{names[path]}={brief_value(value)}"
        for path, value in settings.items()
    )


def brief_value(value: Any) -> str:
    """A short text for the value of a setting."""
    if isinstance(value, Mapping):
        return "+".join(f"{key} {brief_value(item)}" for key, item in value.items())
    if _is_range(value):
        return "…".join(map(brief_value, value))
    if isinstance(value, list | tuple):
        return "/".join(map(brief_value, value))
    if isinstance(value, int | float) and not isinstance(value, bool):
        return f"{value:g}".replace("-", "\N{MINUS SIGN}")
    return str(value).rpartition(".py:")[-1]


def _is_range(value: Any) -> bool:
    return (
        isinstance(value, list | tuple)
        and len(value) == 2
        and all(isinstance(item, int | float) for item in value)
    )


def _without_unit(name: str) -> str:
    for unit in _UNITS:
        name = name.removesuffix(unit)
    return name
