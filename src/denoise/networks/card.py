"""The model card: what a trained network is and what it was trained with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from denoise.core import files
from denoise.core.errors import UserError


def read_card(folder: Path) -> dict[str, Any]:
    """The ``card.json`` of a model folder.

    Raises
    ------
    UserError
        If it cannot be read or is no model card.
    """
    path = folder / "card.json"
    try:
        card = files.read_json(path)
        missing = [name for name in ("variant", "features", "network") if name not in card]
        wrong = [
            name for name in ("rate", "window") if not (type(card[name]) is int and card[name] > 0)
        ]
        if missing or wrong:
            raise ValueError(f"{', '.join(missing + wrong)} missing or wrong")
    except (OSError, ValueError, TypeError, KeyError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{path} is not a model card: {reason}") from None
    return dict(card)
