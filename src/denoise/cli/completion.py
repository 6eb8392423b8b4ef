"""Shell completion: files, and the names of models, experiments and methods.

The shell itself looks up the names in the working folder, because starting Python at every press of
the tab key would take too long.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import shtab

from denoise.api import READY
from denoise.study import paths


def _names(of: str, listed: str, *always: str, folders_too: bool = False) -> dict[str, Any]:
    """What completes the names that the shell command `listed` prints, `always`, and paths of any
    folder."""
    # shtab tells the shell to treat as paths what a function with "_dir" in its name gives.
    function = f"_denoise_{of}" + ("_or_dir" if folders_too else "")
    words = " ".join(always)
    bash = [f'compgen -W "{words} $({listed})" -- "$1"']
    zsh = [f'local -a names=({words} ${{(f)"$({listed})"}})', "compadd -a names"]
    fish = f"(string split -n ' ' '{words}'; {listed}"
    if folders_too:
        hidden = "[[ $1 == .* ]] || hidden=(-X '.*')"
        bash += ["local hidden=()", hidden, 'compgen -d "${hidden[@]}" -- "$1"']
        zsh.append("_files -/")
        fish += "; __fish_complete_directories"
    return {
        "bash": function,
        "zsh": function,
        "tcsh": "d" if folders_too else "",  # its patterns have no room for names
        "fish": f"{fish})",
        "preamble": {
            shell: "\n  ".join([f"{function}() {{", *lines]) + "\n}"
            for shell, lines in (("bash", bash), ("zsh", zsh))
        },
    }


def _of_leaderboards(condition: str) -> str:
    """The shell command that lists the methods of all experiments, or some of them."""
    boards = paths.report("*", "leaderboard.csv")
    return f"awk -F, 'FNR > 1{condition} {{print $1}}' {boards} 2>/dev/null | sort -u"


_VARIANT = _of_leaderboards(' && $2 == "variant"')
_EXPERIMENTS = _names("experiments", f"command ls {paths.REPORTS} 2>/dev/null", folders_too=True)
_VARIANTS = _names("variants", _VARIANT)
_BY_NAME = {
    "model": _names("models", _VARIANT, *READY, folders_too=True),
    "experiment": _EXPERIMENTS,
    "experiments": _EXPERIMENTS,
    "variant": _VARIANTS,
    "variants": _VARIANTS,
    "methods": _names("methods", _of_leaderboards("")),
}
"""Destination of an argument → what completes it."""


def complete_values(parser: argparse.ArgumentParser) -> None:
    """Tell shtab what completes the arguments of `parser` and of its verbs."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for verb in action.choices.values():
                complete_values(verb)
        elif action.dest in _BY_NAME:
            action.complete = _BY_NAME[action.dest]  # type: ignore[attr-defined]
        elif action.type is Path:
            files = shtab.DIRECTORY if action.metavar == "DIR" else shtab.FILE
            action.complete = files  # type: ignore[attr-defined]
