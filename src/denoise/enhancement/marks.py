"""What an enhanced file says of how it was made.

By it the same command goes on where it was interrupted, and takes nothing else for its output.
"""

from __future__ import annotations

from pathlib import Path

import denoise
from denoise import audio
from denoise.core import files
from denoise.core.settings import digest
from denoise.networks.card import ModelFolder, read_card


class Marks:
    """The marks of one model with one choice of settings.

    Parameters
    ----------
    folder
        Of the model.
    overlap
        As of `Enhancer`.

    Raises
    ------
    UserError
        If the folder has no model card.
    """

    def __init__(self, folder: Path, overlap: float) -> None:
        model = ModelFolder(folder)
        self._name = read_card(model.card).name
        self._made_with = [denoise.__version__, model.content(), overlap]

    def of(self, source: Path) -> str:
        """What the output says that is made of this recording, by its content."""
        key = digest([*self._made_with, files.file_digest(source)], 16)
        return f"enhanced by denoise {denoise.__version__}, model {self._name} ({key})"

    def is_on(self, target: Path, source: Path) -> bool:
        """Whether a file was made of this recording, with this model and these settings."""
        try:
            said = audio.Recording(target).tags.get("comment", "")
        except audio.UnusableAudio:
            return False
        return said.endswith(")") and said.endswith(self.of(source))
