"""``denoise new``: create a study folder."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import Any

from denoise.core import files
from denoise.core.bundled import bundled
from denoise.core.errors import UserError
from denoise.core.terminal import show
from denoise.study.config import read_preset
from denoise.study.schema import check_name

_IGNORED = """# What the workflow makes: `denoise run` makes it again.
/.snakemake/
/resources/
/results/
/reports/
__pycache__/
"""
_README = """# {name}

A study of speech denoisers. Its settings are in `config.yaml`. Put your own losses, networks,
metrics, augmentations or corpora into Python files and list these under `extensions` there.

- `denoise plan` shows what would run; `denoise run` runs it, and goes on where it was stopped.
- `denoise where` names the report, `denoise ui` opens the runs in MLflow.
"""


def add(verbs: Any) -> None:
    """Add the verb to the parser."""
    verb = verbs.add_parser(
        "new",
        examples=[
            "denoise new losses",
            "denoise new ~/studies/voicebank --preset unet-huber-voicebank",
        ],
        description="Make a folder with a config.yaml, anywhere: a study of its own, for which "
        "`denoise plan`, `run`, `where` and the other verbs work.",
    )
    verb.add_argument("folder", type=Path, help="a new or empty folder")
    verb.add_argument(
        "--preset", default="quickstart", help="a preset to start from (default %(default)s)"
    )
    verb.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Carry out ``denoise new``."""
    folder = options.folder
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder} is not empty: give a new folder")
    preset = options.preset
    read_preset(preset, bundled("presets"))
    if Path(preset).suffix:
        preset = str(Path(preset).absolute())
    name = folder.absolute().name
    check_name(f"the folder's name '{name}', which becomes the name of the study", name)
    folder.mkdir(parents=True, exist_ok=True)
    files.write_text(folder / ".gitignore", _IGNORED)
    files.write_text(folder / "README.md", _README.format(name=name))
    # Last, as it is what makes the folder a study.
    files.write_text(folder / "config.yaml", config(preset, name))
    show(f"{folder / 'config.yaml'}: preset {preset}. Next: cd {folder} && denoise plan")


def config(preset: str, name: str) -> str:
    """The ``config.yaml`` of the project, with another preset and the name of the experiment."""
    text = bundled("config.yaml").read_text(encoding="utf-8")
    text = text.replace("snakemake --cores 8 all", "denoise run")
    text, count = re.subn(
        r"^preset: .*$",
        lambda found: (
            f"preset: {preset}\n# What the report and the MLflow experiment are called.\n"
            f"experiment: {name}"
        ),
        text,
        flags=re.MULTILINE,
    )
    assert count == 1, "config.yaml names no preset"
    return text
