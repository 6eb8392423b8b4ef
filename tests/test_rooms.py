"""What the rooms of the library may not do, where the import linter cannot see it."""

from __future__ import annotations

import subprocess
import sys

IMPORT_ALL = """
import importlib, pkgutil, sys
import denoise
for module in pkgutil.walk_packages(denoise.__path__, "denoise."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
print(*{"keras", "tensorflow", "jax", "torch"} & set(sys.modules))
"""


def test_nothing_imports_keras_before_it_needs_it():
    ran = subprocess.run([sys.executable, "-c", IMPORT_ALL], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.split() == []
