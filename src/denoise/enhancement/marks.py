"""Marks in enhanced files that record how they were made.

With them, the same command continues after an interruption, and recognises its own output.
"""

from __future__ import annotations

from pathlib import Path

import denoise
from denoise import audio
from denoise.core import files
from denoise.core.settings import digest
from denoise.enhancement.settings import EnhancementSettings
from denoise.networks.card import ModelFolder, read_card

_PICTURE_HEAD = 4096
"""Number of bytes at the start of a PNG that contain its texts."""


class Marks:
    """The marks of one model with one choice of settings.

    Parameters
    ----------
    folder
        Of the model.
    settings
        How it is applied.

    Raises
    ------
    UserError
        If the folder has no model card.
    """

    def __init__(self, folder: Path, settings: EnhancementSettings) -> None:
        model = ModelFolder(folder)
        self._name = read_card(model.card).name
        self._made_with = [denoise.__version__, model.content(), settings.model_dump()]

    def of(self, source: Path) -> str:
        """The mark of the output for this recording, by its content."""
        key = digest([*self._made_with, files.file_digest(source)], 16)
        return f"enhanced by denoise {denoise.__version__}, model {self._name} ({key})"

    def is_on(self, target: Path, source: Path) -> bool:
        """Whether a file was made from this recording with this model and these settings."""
        try:
            found = audio.Recording(target)
            if not found.tags.get("comment", "").endswith(self.of(source)):
                return False
            # A copy that broke off has its comment, too.
            return sum(map(len, found)) >= audio.Recording(source).samples
        except audio.UnusableAudio:
            return False

    def is_on_picture(self, target: Path, source: Path) -> bool:
        """Whether a picture shows this recording and its enhanced version."""
        with target.open("rb") as file:
            return self.of(source).encode() in file.read(_PICTURE_HEAD)
