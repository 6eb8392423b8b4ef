"""Shared code of the HTML pages: templates and formatting of values."""

from __future__ import annotations

import json
from importlib import resources
from typing import Any

import jinja2
import numpy as np
from markupsafe import Markup


def asset(name: str) -> Markup:
    """A file of this package that becomes part of a page."""
    return Markup(resources.files("denoise.report").joinpath(name).read_text("utf-8"))


def render(template: str, **values: Any) -> Markup:
    """A template of this package with values, which are escaped; none may be missing."""
    return Markup(_environment().from_string(asset(template)).render(values))


def _environment() -> jinja2.Environment:
    made = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    made.globals["intervals_over"] = intervals_over
    made.filters |= {
        "number": number,
        "plain": plain,
        "digits": digits,
        "p_value": p_value,
        "whole": whole,
        "json": embedded_json,
    }
    return made


def embedded_json(value: Any) -> Markup:
    """A value as JSON for a script element, which none of its strings can end."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return Markup(text.replace("<", "\\u003c"))


def plain(value: Any) -> str:
    """A setting's value as a person would write it."""
    if isinstance(value, dict):
        return ", ".join(f"{key} {plain(item)}" for key, item in value.items())
    if isinstance(value, list):
        return " … ".join(map(plain, value)) if len(value) == 2 else ", ".join(map(plain, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def number(value: object, low: float | None = None, high: float | None = None) -> str:
    """A value for a table, with as many digits as its 95 % interval justifies."""
    if value is None or (isinstance(value, float) and not np.isfinite(value)):
        return "–"
    if isinstance(value, float):
        if low is not None and high is not None and np.isfinite(high - low):
            places = decimals(low, high)
            return f"{round(value, places) + 0.0:.{places}f}"  # no negative zero
        return f"{value:.3g}" if abs(value) < 0.01 else f"{value:.2f}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def digits(value: float) -> str:
    """Two significant digits, for standard deviations."""
    if not np.isfinite(value):
        return "–"
    return f"{value:.{max(0, decimals(0, 2 * value))}f}" if value > 0 else "0"


def about(count: float) -> str:
    """A large number in two digits: 768 is about 770."""
    return f"{float(f'{count:.2g}'):,.0f}"


def decimals(low: float, high: float) -> int:
    """Number of decimals that show two digits of half the width of an interval, at most six."""
    half = (high - low) / 2
    if not (np.isfinite(half) and half > 0):
        return 2
    return int(np.clip(1 - np.floor(np.log10(half)), 0, 6))


def intervals_over(speakers: int, seeds: int) -> str:
    """What the 95 % intervals cover, in words."""
    over = f"{speakers} speakers" if speakers > 1 else "utterances, all of one speaker"
    return f"{seeds} seeds and {over}" if seeds > 1 else over


def p_value(value: float) -> str:
    """A p-value in two decimals, or three where it is small."""
    if value < 0.001:
        return "< 0.001"
    return "> 0.99" if value > 0.99 else f"{value:.2f}" if value >= 0.0995 else f"{value:.3f}"


def whole(value: float) -> str:
    return f"{value:,.0f}" if np.isfinite(value) else "–"
