"""Loading a trained network, after its card and its file were checked against each other.

Both files may come from untrusted sources: they are checked first, and no code in them is run.
"""

from __future__ import annotations

import importlib.util
import os
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

from denoise.core import files
from denoise.core.errors import UserError
from denoise.networks.card import ModelCard, ModelFolder, read_card

if TYPE_CHECKING:
    import keras

_MOST_BYTES = {"config.json": 64 << 20, "metadata.json": 1 << 20}
"""Of the texts in a ``model.keras``; the largest preset's has 0.1 MB."""
_MOST_WEIGHTS = 4 << 30
_MOST_RATIO = 100
"""Times that the weights may be as large as the file that holds them."""


def load_model(folder: Path) -> tuple[keras.Model, ModelCard]:
    """The network of a model folder, and its card.

    Raises
    ------
    UserError
        If either is missing or cannot be read, if they do not belong together, or if the file would
        take more memory than a network does.
    """
    given = ModelFolder(folder)
    for path in (given.model, given.card):
        if not path.is_file():
            raise UserError(
                f"{folder} is not a model: it has no {path.name} (see `denoise models` for those "
                "that are trained here)"
            )
    card = read_card(given.card)
    if card.weights and card.weights != files.file_digest(given.model):
        raise UserError(
            f"{given.card} is the card of another model.keras, or one of the two was damaged: copy "
            f"both again from where they were trained; if that is here, delete {folder} and run "
            "`snakemake` again"
        )
    network = load_network(given.model)
    shape = network.inputs[0].shape if network.inputs else ()
    check_fits(shape, card, given.card, given.model)
    return network, card


def load_network(path: Path) -> keras.Model:
    """The network in a ``model.keras``.

    Raises
    ------
    UserError
        If it cannot be read, or would take more memory than a network does.
    """
    name = os.environ.get("KERAS_BACKEND", "tensorflow")
    if "KERAS_BACKEND" not in os.environ and not all(
        map(importlib.util.find_spec, (name, "keras"))
    ):
        raise UserError(
            f"{path} runs in Keras on TensorFlow, which is not installed: pip install "
            "'denoise[workflow]'"
        )
    if importlib.util.find_spec(name) is None:
        raise UserError(f"KERAS_BACKEND is '{name}', which is not installed: unset it")
    import keras

    _check_sizes(path)
    try:
        return keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # Keras raises whatever its parts raise
        raise UserError(f"{path} cannot be loaded: {' '.join(str(error).split())}") from None


def _check_sizes(path: Path) -> None:
    """Look at the sizes of what is packed in a ``model.keras`` before any of it is unpacked."""
    try:
        with zipfile.ZipFile(path) as package:
            members = package.infolist()
    except (zipfile.BadZipFile, OSError) as error:
        raise UserError(f"{path} cannot be loaded: {error}") from None
    for member in members:
        most = _MOST_BYTES.get(member.filename, _MOST_WEIGHTS)
        if member.file_size > min(most, max(1 << 20, _MOST_RATIO * path.stat().st_size)):
            raise UserError(
                f"{path} cannot be loaded: its {member.filename} would be unpacked to "
                f"{member.file_size / 1e6:,.0f} MB, too much for a file of this size"
            )


def check_fits(
    shape: tuple[int | None, ...], card: ModelCard, card_file: Path, network_file: Path
) -> None:
    """Raise `UserError` unless a network takes windows as its card describes them.

    Parameters
    ----------
    shape
        Of the network's input; None where it takes any size.
    """
    expected = card.features.shape(card.segment)
    if len(shape) != 4 or any(
        size not in (None, wanted) for size, wanted in zip(shape[1:3], expected, strict=True)
    ):
        taken = "x".join(str(size or "any") for size in shape[1:3])
        raise UserError(
            f"{card_file} does not fit {network_file.name}: its windows have "
            f"{expected[0]}x{expected[1]} frequencies and frames, the network takes {taken}"
        )
