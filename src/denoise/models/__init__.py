"""The networks, by the name they have in ``config.yaml``.

To add one, write a module with settings and a function that builds it, and name it in `NETWORKS`.
Keras is imported only when a network is built.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from denoise.errors import unknown
from denoise.models import unet
from denoise.settings import Settings

if TYPE_CHECKING:
    import keras

NETWORKS: dict[str, tuple[type[Settings], Callable[..., Any]]] = {
    "unet": (unet.UNetSettings, unet.build),
}


def settings_class(name: str) -> type[Settings]:
    """The settings of the network called `name`; an error that lists them all if there is none."""
    if name not in NETWORKS:
        raise unknown("network", name, NETWORKS)
    return NETWORKS[name][0]


def build(settings: Settings, input_shape: tuple[int, int, int]) -> keras.Model:
    """Build the network that `settings` describe, for inputs [shape=(batch, *input_shape)]."""
    name = settings.name  # type: ignore[attr-defined]
    return NETWORKS[name][1](settings, input_shape)
