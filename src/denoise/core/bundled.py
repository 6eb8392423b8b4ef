"""Files that come with the program: models and presets.

They lie in the folder of the repository, or in the package where that is installed without it.
"""

from __future__ import annotations

from pathlib import Path

from denoise.core.provenance import PACKAGE


def bundled(name: str) -> Path:
    """A file or folder beside this code: ``pretrained``, ``presets``, ``Snakefile``…"""
    installed = PACKAGE / name
    return installed if installed.exists() else PACKAGE.parents[1] / name


def presets_of(workflow: Path | None) -> Path:
    """The folder in which presets are looked up by name.

    Presets beside the folder `workflow` are those that its user edits; a workflow that Snakemake
    fetches from elsewhere uses those of the installed program.
    """
    own = workflow / "presets" if workflow is not None else None
    return own if own is not None and own.is_dir() else bundled("presets")
