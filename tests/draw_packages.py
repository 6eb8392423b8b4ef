"""``python tests/draw_packages.py`` draws the packages of the library from their imports.

The rows are the layers that the import linter holds (``pyproject.toml``); an arrow is an import
that no chain of other arrows implies.
"""

from __future__ import annotations

import importlib
import tomllib
from html import escape
from pathlib import Path

import grimp

ROOT = Path(__file__).parents[1]
PICTURE = ROOT / "docs" / "images" / "packages.svg"
WIDTH, ROW, BOX, MARGIN = 1000, 76, 50, 12
MOST = 322
"""Width of a box."""


def layers() -> list[list[str]]:
    """The packages of each layer, from the top."""
    configured = tomllib.loads((ROOT / "pyproject.toml").read_text())
    contracts = configured["tool"]["importlinter"]["contracts"]
    named = next(one["layers"] for one in contracts if one["type"] == "layers")
    return [[package.strip() for package in layer.split("|")] for layer in named]


def imports() -> set[tuple[str, str]]:
    """Which package imports which."""
    graph = grimp.build_graph("denoise", cache_dir=None)
    found = set()
    for module in graph.modules:
        for imported in graph.find_modules_directly_imported_by(module):
            packages = [name.split(".")[1] for name in (module, imported) if "." in name]
            if len(packages) == 2 and packages[0] != packages[1]:
                found.add((packages[0], packages[1]))
    return found


def needed(edges: set[tuple[str, str]]) -> list[tuple[str, str]]:
    """The edges that no longer path replaces."""

    def reaches(start: str, end: str, without: tuple[str, str]) -> bool:
        steps = [b for a, b in edges if a == start and (a, b) != without]
        return end in steps or any(reaches(step, end, without) for step in steps)

    return sorted(edge for edge in edges if not reaches(*edge, edge))


def picture() -> str:
    """The SVG."""
    rows = layers()
    places: dict[str, tuple[float, float, float]] = {}
    for number, packages in enumerate(rows):
        width = min(MOST, (WIDTH - MARGIN) / len(packages) - MARGIN)
        left = (WIDTH - len(packages) * (width + MARGIN) + MARGIN) / 2
        for column, package in enumerate(packages):
            places[package] = (left + column * (width + MARGIN), 8 + number * ROW, width)
    height = 8 + len(rows) * ROW - (ROW - BOX) + 8
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" '
        'font-family="system-ui, sans-serif">',
        "<title>The packages of the library and what they import</title>",
        '<defs><marker id="end" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" '
        'markerHeight="7" orient="auto"><path d="M0 0L8 4L0 8z" fill="#7a8794"/></marker></defs>',
        f'<rect width="{WIDTH}" height="{height}" fill="#fffffe"/>',
    ]
    for user, used in needed(imports()):
        (x, y, width), (to_x, to_y, to_width) = places[user], places[used]
        start, end = x + width / 2, to_x + to_width / 2
        # Side by side, several arrows that meet in one box can be told apart.
        end += (start - end) * 0.12
        lines.append(
            f'<path d="M{start:.0f} {y + BOX}C{start:.0f} {y + BOX + 26},{end:.0f} {to_y - 28},'
            f'{end:.0f} {to_y - 2}" fill="none" stroke="#7a8794" marker-end="url(#end)"/>'
        )
    for package, (x, y, width) in places.items():
        about = (
            (importlib.import_module(f"denoise.{package}").__doc__ or "")
            .strip()
            .splitlines()[0]
            .replace("``", "")
        )
        lines += [
            f'<rect x="{x:.0f}" y="{y}" width="{width:.0f}" height="{BOX}" rx="6" fill="#eef2f6" '
            'stroke="#345"/>',
            f'<text x="{x + width / 2:.0f}" y="{y + 20}" text-anchor="middle" font-size="15" '
            f'font-weight="600" fill="#1d2732">{package}</text>',
        ]
        for line, text in enumerate(wrapped(about, int(width / 5.6))):
            lines.append(
                f'<text x="{x + width / 2:.0f}" y="{y + 33 + 12 * line}" text-anchor="middle" '
                f'font-size="10.5" fill="#3b4754">{escape(text)}</text>'
            )
    return "\n".join([*lines, "</svg>", ""])


def wrapped(text: str, most: int) -> list[str]:
    """At most two lines of `most` characters."""
    if len(text) <= most:
        return [text]
    cut = text.rfind(" ", 0, most)
    return [text[:cut], text[cut + 1 :]]


if __name__ == "__main__":
    PICTURE.write_text(picture(), encoding="utf-8")
