"""What the pages of this package share: their templates, and how values are told in them."""

from __future__ import annotations

import io
import json
import re
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
import matplotlib as mpl
import numpy as np
from markupsafe import Markup, escape
from matplotlib.figure import Figure

from denoise.core import files
from denoise.report import figures


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


def number(value: object, low: float | None = None, high: float | None = None) -> str:
    """A value for a table, in as many digits as its 95 % interval leaves certain."""
    if value is None or (isinstance(value, float) and not np.isfinite(value)):
        return "–"
    if isinstance(value, float):
        if low is not None and high is not None and np.isfinite(high - low):
            return f"{value:.{decimals(low, high)}f}"
        return f"{value:.3g}" if abs(value) < 0.01 else f"{value:.2f}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def decimals(low: float, high: float) -> int:
    """How many decimals show two digits of half the width of an interval, six at most."""
    half = (high - low) / 2
    if not (np.isfinite(half) and half > 0):
        return 2
    return int(np.clip(1 - np.floor(np.log10(half)), 0, 6))


def intervals_over(speakers: int, seeds: int) -> str:
    """What 95 % intervals speak of, in words."""
    over = f"{speakers} speakers" if speakers > 1 else "utterances, all of one speaker"
    return f"{seeds} seeds and {over}" if seeds > 1 else over


def p_value(value: float) -> str:
    """A p-value in two digits, or that it is below 0.001."""
    return "< 0.001" if value < 0.001 else f"= {value:.2g}"


def whole(value: float) -> str:
    return f"{value:,.0f}" if np.isfinite(value) else "–"


class Pictures:
    """Saves figures in a folder and returns them in a form that stands in the HTML."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def svg(self, name: str, figure: Figure, alt: str) -> Markup:
        """An SVG whose texts and lines take the colours of the page.

        The page names the methods once; the saved file has a legend.
        """
        picture = _svg(name, figure)
        saved = _svg(name, figure) if figures.add_legend(figure) else picture
        files.write_text(self.folder / f"{_file_name(name)}.svg", saved)
        return inline(picture, alt)

    def png(self, name: str, figure: Figure) -> None:
        """Save a figure that the page does not show."""
        with files.replacing(self.folder / f"{_file_name(name)}.png") as temporary:
            figure.savefig(temporary, format="png", dpi=80)


def _svg(name: str, figure: Figure) -> str:
    buffer = io.StringIO()
    # Names within a file that no other file of the page uses.
    with mpl.rc_context({"svg.hashsalt": name}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()


def _file_name(text: str) -> str:
    return re.sub(r"[^\w.=-]+", "-", text)


def inline(svg: str, alt: str) -> Markup:
    """An SVG of Matplotlib for the page, in its colours; `alt` is what a screen reader says."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'id="series-(\d+)"', r'data-series="\1"', svg)
    # Matplotlib numbers its groups: in a page with many figures these names would be repeated.
    svg = re.sub(r' id="[A-Za-z][\w.]*_\d+"', "", svg)
    for colour, own in ((figures.INK, "currentColor"), (figures.LINE, "var(--line)"),
                        (figures.PAPER, "none")):  # fmt: skip
        svg = svg.replace(colour, own)
    svg = re.sub(r' (?:width|height)="[\d.]+pt"', "", svg, count=2)
    label = str(escape(alt))
    return Markup(svg.replace("<svg", f'<svg role="img" aria-label="{label}"', 1))
