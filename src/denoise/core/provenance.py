"""The version of this code and of the packages it uses, for the record."""

from __future__ import annotations

import contextlib
import subprocess
from importlib import metadata
from pathlib import Path

from denoise import __version__

PACKAGE = Path(__file__).resolve().parents[1]
"""The folder of this package."""
_BUILDS = {"tensorflow": ("tensorflow-cpu",)}
"""Packages that install the same modules under another name."""


def code_version() -> str:
    """The version of this code and, in its git checkout, the commit and whether it was changed."""
    # An installed package may lie within somebody else's repository, which does not know its files.
    known = _git("ls-files", "--error-unmatch", "__init__.py")
    commit = known and _git("describe", "--always", "--dirty", "--abbrev=12")
    return f"{__version__} ({commit})" if commit else __version__


def _git(*arguments: str) -> str:
    """The output of git in the folder of this code; empty if it fails."""
    try:
        run = subprocess.run(
            ["git", *arguments], cwd=PACKAGE, capture_output=True, text=True, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return run.stdout.strip() if run.returncode == 0 else ""


def installed(package: str) -> str:
    """``name==version`` of an installed package; of TensorFlow that of whichever build it is.

    Raises
    ------
    importlib.metadata.PackageNotFoundError
        If it is not installed.
    """
    for name in _BUILDS.get(package, ()):
        with contextlib.suppress(metadata.PackageNotFoundError):
            return f"{name}=={metadata.version(name)}"
    return f"{package}=={metadata.version(package)}"
