"""The digest of the code changes with behaviour, and with nothing else."""

from __future__ import annotations

import subprocess
from importlib import metadata
from pathlib import Path

import pytest

import denoise
from denoise.core.provenance import code_version, installed
from denoise.study.code import code_digest

SCRIPT = "from denoise import one\nfrom denoise.group import two\none.run(two.run())\n"
PACKAGE = {
    "one.py": '"""Text."""\nfrom denoise.deep import helper\n\ndef run(x):\n    return helper(x)\n',
    "deep.py": "def helper(x):\n    return x + 1\n",
    "group/__init__.py": "",
    "group/two.py": 'USES = ("page.html",)\n\ndef run():\n    return 2\n',
    "group/page.html": "<p>page</p>",
    "other.py": "def run():\n    return 3\n",
}


def digest(root: Path, without: tuple[str, ...] = (), **changes: str) -> str:
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
        return code_digest(script, without)


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
def test_a_change_of_what_a_script_uses_changes_its_digest(tmp_path, name, text):
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
def test_comments_layout_and_unused_modules_do_not(tmp_path, name, text):
    assert digest(tmp_path, **{name: text}) == digest(tmp_path)


def test_a_module_left_out_takes_along_what_only_it_uses(tmp_path):
    changed = {"deep.py": "def helper(x):\n    return x + 2\n"}
    assert digest(tmp_path, ("one",), **changed) == digest(tmp_path, ("one",))
    page = {"group/page.html": "<p>another page</p>"}
    assert digest(tmp_path, ("one",), **page) != digest(tmp_path, ("one",))


def test_the_commit_is_that_of_this_code_and_of_no_other_repository(tmp_path, monkeypatch):
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


def test_a_package_is_named_with_its_version_and_tensorflow_by_its_build(monkeypatch):
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
