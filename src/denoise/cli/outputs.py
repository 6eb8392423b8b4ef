"""The output files of `denoise enhance`, and those that exist already."""

from __future__ import annotations

import glob
import os
from pathlib import Path
from typing import TYPE_CHECKING

from denoise import audio
from denoise.core.errors import UserError
from denoise.core.terminal import say

if TYPE_CHECKING:
    from denoise.enhancement.marks import Marks

Job = tuple[Path, Path]
"""A recording, and where its enhanced version goes."""
_MADE = ".enhanced"
_OTHER_SUFFIXES = frozenset(
    (".aif", ".aifc", ".aiff", ".au", ".caf", ".m4a", ".opus", ".rf64", ".snd", ".w64", ".wma")
)
"""Audio suffixes that are not searched for in folders; some can be read if named."""


def output_paths(inputs: list[Path], output: Path | None) -> list[Job]:
    """Input and output file of each recording; formats that are only read become WAV."""
    pairs: list[Job] = []
    for path in inputs:
        path = path.resolve() if path.name in {"", ".."} else path
        if path.is_dir():
            root = output or path.with_name(f"{path.name}.enhanced")
            pairs += [(file, root / file.relative_to(path)) for file in _recordings(path)]
        elif not path.exists():
            said = "matches no file" if glob.has_magic(str(path)) else "does not exist"
            raise UserError(f"{path} {said}: give an audio file or a folder of them")
        elif not path.is_file():
            raise UserError(f"{path} is not a regular file: `denoise stream` reads what is piped")
        elif output is None:
            pairs.append((path, path.with_name(f"{path.stem}{_MADE}{path.suffix}")))
        elif len(inputs) == 1 and audio.has_audio_suffix(output):
            pairs.append((path, output))
        elif audio.has_audio_suffix(output) and not output.is_dir():
            raise UserError(f"-o {output} is one file: give a folder for {len(inputs)} inputs")
        elif output.suffix and not output.is_dir():
            raise UserError(
                f"-o {output}: '{output.suffix}' is no format that can be written: give a wav, "
                "flac, ogg or mp3 file, or a folder"
            )
        else:
            pairs.append((path, output / path.name))
    return [
        (source, target if audio.has_audio_suffix(target) else target.with_suffix(".wav"))
        for source, target in pairs
    ]


def _recordings(folder: Path) -> list[Path]:
    """The recordings of a folder to enhance; reports the files that are skipped."""
    found = audio.audio_files(folder)
    names = {path.with_suffix("") for path in found}
    own = {path for path in found if path.stem.endswith(_MADE) and _source(path) in names}
    others = [path for path in folder.rglob("*") if path.suffix.lower() in _OTHER_SUFFIXES]
    for what, paths in (
        ("made by this command", own),
        ("in formats that must be named one by one", others),
    ):
        if paths:
            say(f"{len(paths)} files {what} are left out: {min(paths)}, …")
    return [path for path in found if path not in own]


def _source(path: Path) -> Path:
    """The input of an output of this command, without suffixes."""
    return path.with_suffix("").with_suffix("")


def without_outputs(jobs: list[Job], marks: Marks) -> list[Job]:
    """The jobs whose recordings are not what another one of them has made before."""
    made = {_file_of(target): source for source, target in jobs if target.is_file()}
    left = []
    for source, target in jobs:
        origin = made.get(_file_of(source)) if source.is_file() else None
        if origin is None or origin == source or not marks.is_on(source, origin):
            left.append((source, target))
    if len(left) < len(jobs):
        say(f"{len(jobs) - len(left)} of the inputs are outputs of this command: left out")
    return left


def check_targets(jobs: list[Job], marks: Marks | None, *, plot: bool) -> set[Job]:
    """Those of the jobs whose outputs are there, made as they would be now.

    Parameters
    ----------
    marks
        What such outputs say; None if whatever is there may be replaced.

    Raises
    ------
    UserError
        If another output exists already, or two inputs would have the same one.
    """
    sources: dict[Path, Path] = {}
    done: set[Job] = set()
    # By the file and not by its name: links and other spellings are the same recording.
    inputs = {_file_of(source): source for source, _ in jobs if source.is_file()}
    for source, target in jobs:
        if target.exists() and _file_of(target) in inputs:
            which = inputs[_file_of(target)]
            other = f"the input {which}, and the output of {source}"
            same = "the recording itself" if which == source else other
            raise UserError(f"{target} is {same}: give another -o")
        outputs = (target, target.with_suffix(".png")) if plot else (target,)
        for made in outputs:
            if made in sources:
                raise UserError(
                    f"{sources[made]} and {source} would both be written to {made}: enhance them "
                    "one by one"
                )
            sources[made] = source
            _check_place(made)
            if made.is_dir():
                raise UserError(f"{made} is a folder: give another -o")
        if marks is None:
            continue
        own = {made: os.path.lexists(made) and _is_made(made, source, marks) for made in outputs}
        if all(own.values()):
            done.add((source, target))
        for made in outputs:
            if os.path.lexists(made) and not own[made]:
                raise UserError(
                    f"{made} exists already and was not made from this recording with this model "
                    "and these settings: give --force to overwrite, --skip-existing to enhance "
                    "only what has no output yet, or another -o"
                )
    return done


def _check_place(made: Path) -> None:
    """Raise `UserError` if a file exists in place of a folder."""
    above = next(place for place in made.parents if os.path.lexists(place))
    if not above.is_dir():
        raise UserError(f"{made}: {above} is not a folder: give another -o")


def _is_made(made: Path, source: Path, marks: Marks) -> bool:
    """Whether a file is the output of this command for a recording."""
    if not made.is_file():
        return False
    told = marks.is_on_picture if made.suffix == ".png" else marks.is_on
    return told(made, source)


def _file_of(path: Path) -> tuple[int, int]:
    """The identity of a file, independent of its name."""
    about = path.stat()
    return about.st_dev, about.st_ino
