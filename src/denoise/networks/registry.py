"""The networks, by the name they have in ``config.yaml``.

To add one, write a module with its settings and a function that builds it, and name both in
`NETWORKS`.  Keras is imported only when a network is built.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, Union

from pydantic import BeforeValidator, Field

from denoise.core.errors import UserError, unknown
from denoise.networks import autoencoder, temporal_unet, unet
from denoise.networks.base import NetworkSettings

if TYPE_CHECKING:
    import keras

CHOSEN_BY_NAME = ("NETWORKS",)


class Network(NamedTuple):
    """A network that can be chosen."""

    settings: type[NetworkSettings]
    build: Callable[..., keras.Model]
    """From its settings, the shape of an input and the channels of the output."""
    stream: Callable[..., keras.Model] | None = None
    """Of one that can follow a stream: what gives its next frames from the states."""


NETWORKS: dict[str, Network] = {
    "unet": Network(unet.UNetSettings, unet.build),
    "autoencoder": Network(autoencoder.AutoencoderSettings, autoencoder.build),
    "temporal_unet": Network(
        temporal_unet.TemporalUNetSettings, temporal_unet.build, temporal_unet.streaming
    ),
}


def _check_name(value: Any) -> Any:
    """Fill in the default network, and refuse a name that is none."""
    if not isinstance(value, dict):
        return value
    value = {"name": "unet", **value}
    if not isinstance(value["name"], str) or value["name"] not in NETWORKS:
        raise unknown("network", str(value["name"]), NETWORKS)
    return value


if TYPE_CHECKING:
    AnyNetwork = NetworkSettings
else:
    AnyNetwork = Annotated[
        Union[tuple(network.settings for network in NETWORKS.values())],  # noqa: UP007
        Field(discriminator="name"),
        BeforeValidator(_check_name),
    ]


def network_settings(value: dict[str, Any]) -> NetworkSettings:
    """The settings of a network from their JSON form, such as a model card has."""
    _check_name(value)
    return NETWORKS[value["name"]].settings.model_validate(value)


def check_shape(settings: NetworkSettings, shape: tuple[int, int]) -> None:
    """Raise `UserError` unless the network takes spectrograms [shape=(frequency, time)]."""
    steps = settings.steps
    if shape[0] % steps[0] or shape[1] % steps[1]:
        raise UserError(
            f"network {settings.name} with {len(settings.filters)} levels needs spectrograms whose "
            f"frequencies and frames are multiples of {steps[0]} and {steps[1]}, not "
            f"{shape[0]}x{shape[1]}: change features.stft, features.bins, mixing.segment or "
            "network.filters"
        )


def build_network(
    settings: NetworkSettings, input_shape: tuple[int, int, int], outputs: int = 1
) -> keras.Model:
    """Build the network that `settings` describe.

    Parameters
    ----------
    input_shape
        (frequency, time, channels) of the input.
    outputs
        Channels of the output, which otherwise has the shape of the input.

    Raises
    ------
    UserError
        If the network cannot take this shape.
    """
    check_shape(settings, input_shape[:2])
    return NETWORKS[settings.name].build(settings, input_shape, outputs)


def streaming_network(settings: NetworkSettings, model: keras.Model) -> keras.Model:
    """A causal network, built from `settings`, for the next frames of a stream.

    Its inputs are the frames [shape=(batch, frequency, frames, channels)] and the states, zeros at
    the start of a stream; its outputs those of `model` for these frames, and the states to go on
    with.  It shares the weights of `model`.
    """
    if settings.name not in NETWORKS:
        raise UserError(
            f"network {settings.name} belongs to a study: run this in the folder of the study, "
            "where config.yaml names its file in extensions"
        )
    stream = NETWORKS[settings.name].stream
    if stream is None:
        raise UserError(
            f"network {settings.name} has no streaming version: give @network the argument stream"
        )
    return stream(settings, model)
