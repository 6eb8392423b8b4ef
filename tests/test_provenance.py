"""The digest of the code changes with behaviour, and with nothing else."""

from __future__ import annotations

import subprocess
from importlib import metadata
from pathlib import Path

import pytest

import denoise
from denoise.core.provenance import code_version, installed
from denoise.study.code import (
    Chosen,
    _digests_of_package,
    _tree,
    changed_files,
    chosen_of,
    code_digest,
)

SCRIPT = "from denoise import one\nfrom denoise.group import two\none.run(two.run())\n"
PACKAGE = {
    "one.py": '"""Text."""\nfrom denoise.deep import helper\n\ndef run(x):\n    return helper(x)\n',
    "deep.py": "def helper(x):\n    return x + 1\n",
    "group/__init__.py": "",
    "group/two.py": 'USES = ("page.html",)\n\ndef run():\n    return 2\n',
    "group/page.html": "<p>page</p>",
    "other.py": "def run():\n    return 3\n",
}


REGISTRY = """
from denoise import deep, other
CHOSEN_BY_NAME = ("PARTS",)
_TWICE = 2
def _double(x):
    return _TWICE * x
def first(x):
    return _double(x)
def second(x):
    return x
def shared(x):
    return PARTS[x]
PARTS = {"first": first, "second": second, "third": other.run, "fourth": deep.helper}
"""


def digest(
    root: Path, without: tuple[str, ...] = (), chosen: Chosen = frozenset(), **changes: str
) -> str:
    """The digest of the script in a copy of the package with some files changed."""
    folder = root / f"copy{len(list(root.iterdir()))}"
    for name, text in {**PACKAGE, **changes}.items():
        path = folder / "denoise" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    script = folder / "script.py"
    script.write_text(changes.get("script", SCRIPT))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("denoise.study.code.PACKAGE", folder / "denoise")
        return code_digest(script, without, chosen)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("script", SCRIPT + "print(1)\n"),
        ("one.py", PACKAGE["one.py"].replace("helper(x)", "helper(-x)")),
        ("deep.py", "def helper(x):\n    return x + 2\n"),
        ("group/__init__.py", "LIMIT = 1\n"),
        ("group/page.html", "<p>another page</p>"),
    ],
)
def test_changing_code_that_a_script_uses_changes_its_digest(tmp_path, name, text):
    assert digest(tmp_path, **{name: text}) != digest(tmp_path)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("script", f'"""A docstring."""\n# A comment.\n{SCRIPT}'),
        ("one.py", PACKAGE["one.py"].replace("Text.", "A better text.")),
        ("deep.py", "def helper(x):\n    # Why.\n    return (x+1)\n"),
        ("other.py", "def run():\n    return 4\n"),
    ],
)
def test_changing_comments_layout_or_unused_modules_keeps_the_digest(tmp_path, name, text):
    assert digest(tmp_path, **{name: text}) == digest(tmp_path)


def test_an_excluded_module_also_excludes_modules_only_it_uses(tmp_path):
    changed = {"deep.py": "def helper(x):\n    return x + 2\n"}
    assert digest(tmp_path, ("one",), **changed) == digest(tmp_path, ("one",))
    page = {"group/page.html": "<p>another page</p>"}
    assert digest(tmp_path, ("one",), **page) != digest(tmp_path, ("one",))


def of_registry(root: Path, text: str, *names: str, **changes: str) -> str:
    """The digest of a script that runs through a registry, from which it chose `names`."""
    script = "from denoise import parts\nparts.shared(1)\n"
    chosen = chosen_of({"parts": names})
    return digest(root, chosen=chosen, **{"script": script, "parts.py": text, **changes})


def test_adding_a_registry_entry_keeps_the_digest_of_other_entries(tmp_path):
    more = REGISTRY.replace("def shared", "def fifth(x):\n    return -x\ndef shared")
    more = more.replace('"second": second', '"second": second, "fifth": fifth')
    more = more.replace("import deep, other", "import deep, one, other")
    assert of_registry(tmp_path, more, "first") == of_registry(tmp_path, REGISTRY, "first")
    assert of_registry(tmp_path, more, "fifth") != of_registry(tmp_path, REGISTRY, "first")


@pytest.mark.parametrize(
    ("edit", "first", "second"),
    [
        (("return _double(x)", "return -_double(x)"), True, False),
        (("_TWICE * x", "3 * x"), True, False),
        (("return x\n", "return x + 1\n"), False, True),
        (("_TWICE = 2", "_TWICE = 3"), True, False),
        (("return PARTS[x]", "return PARTS[-x]"), True, True),
    ],
)
def test_a_digest_covers_shared_registry_code_and_the_chosen_entry(tmp_path, edit, first, second):
    edited = REGISTRY.replace(*edit)
    assert edited != REGISTRY
    for name, changes in (("first", first), ("second", second)):
        same = of_registry(tmp_path, edited, name) == of_registry(tmp_path, REGISTRY, name)
        assert same is not changes


def test_a_digest_covers_only_the_module_of_the_chosen_registry_entry(tmp_path):
    edited = {"other.py": "def run():\n    return 4\n"}
    for name, changes in (("third", True), ("fourth", False), ("first", False)):
        before, after = (of_registry(tmp_path, REGISTRY, name, **one) for one in ({}, edited))
        assert (before != after) is changes


def test_changed_files_lists_the_files_that_differ_between_two_digests(tmp_path):
    script = tmp_path / "script.py"
    found = []
    for text in ("from denoise.core import text\n", "from denoise.core import labels\n"):
        script.write_text(text)
        _digests_of_package.cache_clear()
        _tree.cache_clear()
        found.append(code_digest(script, notes=tmp_path / "notes"))
    expected = ["core/labels.py", "core/text.py", "script.py"]
    assert changed_files(*found, tmp_path / "notes") == expected
    assert changed_files(found[0], "unknown", tmp_path / "notes") == []


def test_code_version_ignores_a_repository_that_does_not_track_the_package(tmp_path, monkeypatch):
    def git(*arguments: str) -> str:
        who = ["-c", "user.name=tests", "-c", "user.email=tests@localhost"]
        run = subprocess.run(
            ["git", *who, *arguments], cwd=tmp_path, check=True, capture_output=True, text=True
        )
        return run.stdout.strip()

    package = tmp_path / "somebody/site-packages/denoise"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    monkeypatch.setattr("denoise.core.provenance.PACKAGE", package)
    assert code_version() == denoise.__version__
    git("init")
    git("commit", "--allow-empty", "--message", "theirs")
    assert code_version() == denoise.__version__
    git("add", "--all")
    git("commit", "--message", "ours")
    commit = git("rev-parse", "--short=12", "HEAD")
    assert code_version() == f"{denoise.__version__} ({commit})"
    (package / "__init__.py").write_text("changed")
    assert code_version() == f"{denoise.__version__} ({commit}-dirty)"


def test_installed_names_the_version_and_the_tensorflow_build(monkeypatch):
    versions = {"numpy": "2.0", "tensorflow-cpu": "2.21"}

    def version(name: str) -> str:
        if name not in versions:
            raise metadata.PackageNotFoundError(name)
        return versions[name]

    monkeypatch.setattr(metadata, "version", version)
    assert installed("numpy") == "numpy==2.0"
    assert installed("tensorflow") == "tensorflow-cpu==2.21"
    versions["tensorflow"] = versions.pop("tensorflow-cpu")
    assert installed("tensorflow") == "tensorflow==2.21"
    del versions["tensorflow"]
    with pytest.raises(metadata.PackageNotFoundError):
        installed("tensorflow")
