"""What the pages of this package share: their templates, and how values are told in them."""

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
    made.filters |= {"number": number, "plain": plain, "whole": whole, "json": embedded_json}
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


def number(value: object, digits: int = 3) -> str:
    if value is None or (isinstance(value, float) and not np.isfinite(value)):
        return "–"
    if isinstance(value, float):
        return f"{value:.{digits}g}" if abs(value) < 0.01 else f"{value:.2f}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def p_value(value: float) -> str:
    """A p-value in two digits, or that it is below 0.001."""
    return "< 0.001" if value < 0.001 else f"= {value:.2g}"


def whole(value: float) -> str:
    return f"{value:,.0f}" if np.isfinite(value) else "–"
