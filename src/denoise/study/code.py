"""A digest of the code that a script runs through, by which Snakemake sees that it has changed.

The digest is over the syntax trees, without docstrings and comments, of the script and of every
``denoise`` module it imports, directly or not.  So touching a file, or improving a comment, re-runs
nothing; a change of behaviour re-runs exactly what uses the module.

A *registry* is a module that offers parts by name: networks, losses, augmentations, corpora,
baselines.  It names its dictionaries in a tuple ``CHOSEN_BY_NAME``.  Of such a module a digest
covers what all parts share, and of the parts only those that are chosen: adding one, or editing
another, re-runs nothing.

What a study's own files register (`denoise.extend`) is covered in the same way: of such a file a
digest covers the statement that registers the part, whatever that uses, and statements that only
have effects; so a new loss beside the one that is used re-runs nothing.

A module that uses a file in another way than by import (a template, a word list, a program it
starts) names it in a tuple ``USES``, relative to itself.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from denoise import extend
from denoise.core import files
from denoise.core.provenance import PACKAGE

_SHAPE_NOTHING = ("extend", "study.jobs", "study.paths", "training.devices")
"""Modules around the one call of every script: registration, logs, paths and locks."""
_REGISTERING = ("loss", "training_metric", "network", "metric", "augmentation", "corpus")
"""Of `denoise.extend`."""
Chosen = frozenset[tuple[str, str]]
"""Pairs of a registry, as in ``training.losses``, and a name in it."""


def chosen_of(choices: Mapping[str, Iterable[str]]) -> Chosen:
    """Registry → names, as `code_digest` takes it."""
    return frozenset((module, name) for module, names in choices.items() for name in names)


@functools.cache
def _tree(path: Path) -> ast.Module:
    return _fresh_tree(path)


def _fresh_tree(path: Path) -> ast.Module:
    """The syntax tree of a file without docstrings and comments."""
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


def _statements(path: Path, chosen: frozenset[str]) -> list[ast.stmt]:
    """The statements of a module that a script runs through, with the parts that it chose."""
    body = _tree(path).body
    registries = _registries(body)
    if not registries:
        return body
    parts = {key: value for statement in body for key, value in _parts(statement, registries)}
    defined = {
        _name_of(statement): statement
        for statement in body
        if _name_of(statement) and not _is_registry(statement, registries)
    }
    own = {name for value in parts.values() for name in _names(value) if name in defined}
    shared = [statement for statement in body if not _is_registry(statement, registries)]
    # What only parts use belongs to them: their definitions, and private helpers of these.
    while True:
        used = {name for statement in shared if _name_of(statement) not in own
                for name in _names(statement) - {_name_of(statement)}}  # fmt: skip
        helpers = {name for name in defined if name.startswith("_") and name not in used}
        if helpers <= own:
            break
        own |= helpers
    kept = [item for item in shared if _name_of(item) not in own - used]
    taken = [ast.Expr(parts[name]) for name in sorted(chosen & parts.keys())]
    wanted = {name for item in taken for name in _names(item)}
    found: dict[str, ast.stmt] = {}
    while missing := sorted(wanted & own - found.keys()):
        found |= {name: defined[name] for name in missing}
        wanted |= {name for item in missing for name in _names(defined[item])}
    result = [*kept, *taken, *(found[name] for name in sorted(found))]
    # Imports that only other parts use are not followed.
    named = {name for item in result if not _is_import(item) for name in _names(item)}
    return [part for item in result for part in _of_import(item, named)]


def _of_import(statement: ast.stmt, named: set[str]) -> list[ast.stmt]:
    """The part of an import that binds one of the names; other statements unchanged."""
    if not isinstance(statement, ast.Import | ast.ImportFrom):
        return [statement]
    used = [one for one in statement.names if (one.asname or one.name).split(".")[0] in named]
    if not used:
        return []
    if isinstance(statement, ast.Import):
        return [ast.Import(used)]
    return [ast.ImportFrom(statement.module, used, statement.level)]


def _registries(body: list[ast.stmt]) -> tuple[str, ...]:
    for statement in body:
        if (
            isinstance(statement, ast.Assign)
            and ast.unparse(statement.targets[0]) == "CHOSEN_BY_NAME"
        ):
            return tuple(ast.literal_eval(statement.value))
    return ()


def _is_registry(statement: ast.stmt, registries: tuple[str, ...]) -> bool:
    return bool(_target(statement) in registries)


def _target(statement: ast.stmt) -> str:
    if isinstance(statement, ast.AnnAssign):
        return ast.unparse(statement.target)
    return ast.unparse(statement.targets[0]) if isinstance(statement, ast.Assign) else ""


def _parts(statement: ast.stmt, registries: tuple[str, ...]) -> Iterator[tuple[str, ast.expr]]:
    """Name and value of what a registry offers."""
    value = getattr(statement, "value", None)
    if _is_registry(statement, registries) and isinstance(value, ast.Dict):
        for key, item in zip(value.keys, value.values, strict=True):
            if isinstance(key, ast.Constant):
                yield str(key.value), item


def _names(node: ast.AST) -> set[str]:
    return {item.id for item in ast.walk(node) if isinstance(item, ast.Name)}


def _name_of(statement: ast.stmt) -> str:
    """Name of the function, class or constant that a statement defines."""
    if isinstance(statement, ast.FunctionDef | ast.ClassDef):
        return statement.name
    return _target(statement)


def _is_import(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Import | ast.ImportFrom)


def _imports(path: Path, statements: list[ast.stmt]) -> set[Path]:
    """Files of the ``denoise`` modules that statements import, and those named in ``USES``."""
    found: set[Path] = set()
    for node in (node for statement in statements for node in ast.walk(statement)):
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "USES":
            found.update(path.parent / name for name in ast.literal_eval(node.value))
        for name in _imported_names(node):
            module = _module_file(name)
            if module is not None:
                found.add(module)
    return found


def _imported_names(node: ast.AST) -> list[str]:
    """The modules that an import may mean; none for another statement."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.module:
        return [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return []


def _module_file(name: str) -> Path | None:
    parts = name.split(".")
    if parts[0] != "denoise" or len(parts) == 1:
        return None
    base = PACKAGE.joinpath(*parts[1:])
    for candidate in (base.with_suffix(".py"), base / "__init__.py"):
        if candidate.is_file():
            return candidate
    return None


def _chosen_in(path: Path, chosen: Chosen) -> frozenset[str]:
    return frozenset(name for module, name in chosen if _module_file(f"denoise.{module}") == path)


def digests_of_files(
    script: Path, without: tuple[str, ...] = (), chosen: Chosen = frozenset()
) -> dict[str, str]:
    """The script, every module of this package that it runs through, and the extensions that it
    uses → 12 hex digits.

    Parameters
    ----------
    without
        Modules that shape no result, as in ``tracking.live``; so do those that only they use.
    chosen
        What the script uses of registries.
    """
    own = {pair: parts for pair in chosen if (parts := extend.parts_of(*pair))}
    extensions = _extensions(part for parts in own.values() for part in parts)
    used = frozenset(module for statements in extensions.values()
                     for module in _imports(script, statements))  # fmt: skip
    found = _digests_of_package(script, without, chosen - frozenset(own), used)
    return found | {name: _digest(statements) for name, statements in extensions.items()}


def _digest(statements: list[ast.stmt]) -> str:
    return hashlib.sha256("\n".join(map(ast.unparse, statements)).encode()).hexdigest()[:12]


def _extensions(parts: Iterable[extend.Part]) -> dict[str, list[ast.stmt]]:
    """What parts of extensions consist of, by the files of the study's folder."""
    lines: dict[Path, set[int]] = {}
    for part in parts:
        lines.setdefault(part.file, set()).add(part.line)
    found: dict[str, list[ast.stmt]] = {}
    waiting = {path: _used_by(path, chosen) for path, chosen in lines.items()}
    while waiting:
        path, statements = waiting.popitem()
        name = os.path.relpath(path)
        if name not in found:
            found[name] = statements
            for beside in _imports_beside(path, statements) - lines.keys():
                waiting.setdefault(beside, _fresh_tree(beside).body)
    return found


def _used_by(path: Path, lines: set[int]) -> list[ast.stmt]:
    """The statements of a file that those on some lines need, in their order."""
    body = _fresh_tree(path).body
    registering = [
        s for s in body if any(_first_line(s) <= n <= (s.end_lineno or 0) for n in lines)
    ]
    defined = {name: statement for statement in body for name in _defined(statement)}
    kept = [s for s in body if not _defined(s) and not _registers(s)] + registering
    for statement in kept:  # which grows
        for name in sorted(_names(statement)):
            needed = defined.get(name)
            if needed is not None and needed not in kept:
                kept.append(needed)
    named = {name for item in kept if not _is_import(item) for name in _names(item)}
    return [part for item in body if item in kept for part in _of_import(item, named)]


def _first_line(statement: ast.stmt) -> int:
    decorators = getattr(statement, "decorator_list", [])
    return min([statement.lineno, *(decorator.lineno for decorator in decorators)])


def _defined(statement: ast.stmt) -> set[str]:
    """The names that a statement binds, for others to use."""
    if isinstance(statement, ast.FunctionDef | ast.ClassDef):
        return {statement.name}
    if isinstance(statement, ast.Import | ast.ImportFrom):
        return {(alias.asname or alias.name).split(".")[0] for alias in statement.names}
    if isinstance(statement, ast.Assign | ast.AnnAssign):
        stores = (node for node in ast.walk(statement) if isinstance(node, ast.Name))
        return {node.id for node in stores if isinstance(node.ctx, ast.Store)}
    return set()


def _registers(statement: ast.stmt) -> bool:
    """Whether a statement registers a part by a call, as ``corpus(…)`` does."""
    called = statement.value if isinstance(statement, ast.Expr) else None
    if not isinstance(called, ast.Call):
        return False
    function = called.func.func if isinstance(called.func, ast.Call) else called.func
    return ast.unparse(function).rpartition(".")[2] in _REGISTERING


def _imports_beside(path: Path, statements: list[ast.stmt]) -> set[Path]:
    """The files of the study's folder that statements of an extension import."""
    found = set()
    for node in (node for statement in statements for node in ast.walk(statement)):
        for name in _imported_names(node):
            base = Path.cwd().joinpath(*name.split("."))
            places = (base.with_suffix(".py"), base / "__init__.py")
            found |= {place for place in places if place.is_file() and place != path}
    return found


@functools.cache
def _digests_of_package(
    script: Path, without: tuple[str, ...], chosen: Chosen, used: frozenset[Path]
) -> dict[str, str]:
    excluded = {_module_file(f"denoise.{name}") for name in (*without, *_SHAPE_NOTHING)}
    found: dict[str, str] = {}
    seen: set[Path] = set()
    waiting = {script, *used}
    while waiting:
        path = waiting.pop()
        if path in seen or path in excluded:
            continue
        seen.add(path)
        name = path.name if path == script else path.relative_to(PACKAGE).as_posix()
        if path.suffix == ".py":
            statements = _statements(path, _chosen_in(path, chosen))
            waiting |= _imports(path, statements)
            found[name] = _digest(statements)
        else:
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()[:12]
    return found


def code_digest(
    script: Path,
    without: tuple[str, ...] = (),
    chosen: Chosen = frozenset(),
    notes: Path | None = None,
) -> str:
    """Identifies the behaviour of a script, wherever it lies: 12 hex digits.

    Parameters
    ----------
    without, chosen
        As of `digests_of_files`.
    notes
        A folder to note what the digest is made of, for `changed_files`.
    """
    parts = digests_of_files(script, without, chosen)
    digest = hashlib.sha256(repr(sorted(parts.items())).encode()).hexdigest()[:12]
    if notes is not None and not (notes / f"{digest}.json").exists():
        files.write_json(notes / f"{digest}.json", parts)
    return digest


def changed_files(before: str, now: str, notes: Path) -> list[str]:
    """The files that differ between two digests; none if the notes of a digest are missing."""
    try:
        one, other = (files.read_json(notes / f"{digest}.json") for digest in (before, now))
    except (OSError, ValueError):
        return []
    return sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))


def lock_digest(folder: Path) -> str:
    """The lock file that `folder` is installed from and 12 hex digits of its SHA-256."""
    installed = sorted((folder / ".venv").glob("installed-*"))
    extra = installed[0].name.removeprefix("installed-") if installed else "cpu"
    lock = folder / "locks" / f"{extra}.txt"
    found = hashlib.sha256(lock.read_bytes()).hexdigest()[:12] if lock.exists() else "none"
    return f"locks/{extra}.txt {found}"
