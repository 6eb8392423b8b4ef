"""What the packages of the library may not do, where the import linter cannot see it."""

from __future__ import annotations

import re
import subprocess
import sys

from draw_packages import PICTURE, ROOT, picture

IMPORT_ALL = """
import importlib, pkgutil, sys
import denoise
for module in pkgutil.walk_packages(denoise.__path__, "denoise."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
print(*{"keras", "tensorflow", "jax", "torch"} & set(sys.modules))
"""


def test_importing_any_module_does_not_import_keras():
    ran = subprocess.run([sys.executable, "-c", IMPORT_ALL], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.split() == []


def test_package_diagram_matches_the_imports():
    assert PICTURE.read_text(encoding="utf-8") == picture(), (
        "python tests/draw_packages.py draws it"
    )


def test_every_function_of_the_walk_through_the_packages_exists():
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    walk = re.findall(r"`(\w+/\w+\.py):(\w+)`", page)
    assert len(walk) > 20
    for file, function in walk:
        text = (ROOT / "src" / "denoise" / file).read_text(encoding="utf-8")
        assert re.search(rf"^ *def {function}\(", text, re.MULTILINE), (file, function)
