"""A digest of the modules a script uses, by which Snakemake sees that code has changed.

The digest is over the syntax tree without docstrings and comments, of the script and of every
``denoise`` module it imports, directly or not.  So touching a file, or improving a comment,
re-runs nothing; a change of behaviour re-runs exactly what uses the module.

A module that uses a file in another way than by import (a template, a word list, a program it
starts) names it in a tuple ``USES``, relative to itself.
"""

from __future__ import annotations

import ast
import functools
import hashlib
from pathlib import Path

from denoise.core.provenance import PACKAGE


@functools.cache
def _tree(path: Path) -> ast.Module:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            kept = [
                item
                for item in body
                if not (isinstance(item, ast.Expr) and isinstance(item.value, ast.Constant))
            ]
            node.body = kept or [ast.Pass()]  # type: ignore[attr-defined]
    return tree


def _content(path: Path) -> str:
    if path.suffix == ".py":
        return ast.unparse(_tree(path))
    return hashlib.sha256(path.read_bytes()).hexdigest()


@functools.cache
def _imports(path: Path) -> frozenset[Path]:
    """Files of the ``denoise`` modules that a file imports, and those it names in ``USES``."""
    found: set[Path] = set()
    if path.suffix != ".py":
        return frozenset()
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "USES":
            found.update(path.parent / name for name in ast.literal_eval(node.value))
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        for name in names:
            module = _module_file(name)
            if module is not None:
                found.add(module)
    return frozenset(found)


def _module_file(name: str) -> Path | None:
    parts = name.split(".")
    if parts[0] != "denoise" or len(parts) == 1:
        return None
    base = PACKAGE.joinpath(*parts[1:])
    for candidate in (base.with_suffix(".py"), base / "__init__.py"):
        if candidate.is_file():
            return candidate
    return None


_SHAPE_NOTHING = ("study.jobs", "study.paths", "training.devices")
"""What every script uses around its one call: logs, places and locks."""


@functools.cache
def modules_used(script: Path, without: tuple[str, ...] = ()) -> frozenset[Path]:
    """The script and every module of this package that it imports, directly or not.

    Modules named in `without`, as in ``corpora.esc50``, are left out, and so is what only they use.
    """
    excluded = {_module_file(f"denoise.{name}") for name in (*without, *_SHAPE_NOTHING)}
    seen: set[Path] = set()
    waiting = [script]
    while waiting:
        path = waiting.pop()
        if path not in seen and path not in excluded:
            seen.add(path)
            waiting.extend(_imports(path))
    return frozenset(seen)


@functools.cache
def code_digest(script: Path, without: tuple[str, ...] = ()) -> str:
    """Identifies the behaviour of a script, wherever it lies: 12 hex digits."""
    used = modules_used(script, without) - {script}
    names = sorted((path.relative_to(PACKAGE).as_posix(), path) for path in used)
    parts = [(name, _content(path)) for name, path in [(script.name, script), *names]]
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:12]


def lock_digest(folder: Path) -> str:
    """The lock file that `folder` is installed from and 12 hex digits of its SHA-256."""
    installed = sorted((folder / ".venv").glob("installed-*"))
    extra = installed[0].name.removeprefix("installed-") if installed else "cpu"
    lock = folder / "locks" / f"{extra}.txt"
    found = hashlib.sha256(lock.read_bytes()).hexdigest()[:12] if lock.exists() else "none"
    return f"locks/{extra}.txt {found}"
