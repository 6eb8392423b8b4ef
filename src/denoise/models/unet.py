"""The U-Net of Ronneberger, Fischer & Brox (MICCAI 2015) for spectrograms.

A contracting path of double 3x3 convolutions and max-pooling, an expanding path of up-sampling
and 2x2 convolutions, and skip connections between the levels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, field_validator

from denoise.errors import UserError
from denoise.settings import Settings

if TYPE_CHECKING:
    import keras


class UNetSettings(Settings):
    """A U-Net. Changing it trains again."""

    name: Literal["unet"] = "unet"
    """The network."""
    filters: tuple[int, ...] = (16, 32, 64, 128, 256)
    """Filters of each level; the last is the bottleneck."""
    leak: float = Field(0.3, ge=0, lt=1)
    """Slope of LeakyReLU for negative values; 0 is ReLU."""
    normalisation: Literal["none", "batch"] = "none"
    """`batch`: batch normalisation (Ioffe & Szegedy, ICML 2015) before every activation but the
    last."""
    dropout: float = Field(0.5, ge=0, lt=1)
    """Dropout at the deepest level with a skip, and at the bottleneck."""
    output_activation: Literal["tanh", "sigmoid", "linear"] = "tanh"
    """Activation of the last 1x1 convolution."""

    @field_validator("filters")
    @classmethod
    def _check_filters(cls, filters: tuple[int, ...]) -> tuple[int, ...]:
        if len(filters) < 2 or min(filters) < 1:
            raise ValueError(f"filters {list(filters)} must be two or more positive numbers")
        return filters


def check_shape(settings: UNetSettings, shape: tuple[int, int]) -> None:
    """Raise `UserError` unless both sides of a spectrogram [shape=(frequency, time)] can be halved
    at every level."""
    levels = len(settings.filters) - 1
    step = 2**levels
    if shape[0] % step or shape[1] % step:
        raise UserError(
            f"a U-Net with {levels + 1} levels needs spectrograms whose sides are multiples of "
            f"{step}, not {shape[0]}x{shape[1]}: change features.stft, mixing.window "
            "or network.filters"
        )


def build(settings: UNetSettings, input_shape: tuple[int, int, int]) -> keras.Model:
    """Build the network; output has the shape of the input.

    Parameters
    ----------
    input_shape
        (frequency, time, channels); both lengths must be multiples of ``2 ** levels``.

    Raises
    ------
    UserError
        If the lengths do not fit the depth.
    """
    import keras
    from keras import layers

    check_shape(settings, input_shape[:2])
    levels = len(settings.filters) - 1

    def convolve(x: Any, filters: int, size: int) -> Any:
        normalised = settings.normalisation == "batch"
        x = layers.Conv2D(
            filters, size, padding="same", kernel_initializer="he_normal", use_bias=not normalised
        )(x)
        if normalised:
            x = layers.BatchNormalization()(x)
        return layers.LeakyReLU(negative_slope=settings.leak)(x)

    inputs = x = layers.Input(input_shape)
    skips = []
    for level, filters in enumerate(settings.filters):
        x = convolve(convolve(x, filters, 3), filters, 3)
        if level >= levels - 1:
            x = layers.Dropout(settings.dropout)(x)
        if level < levels:
            skips.append(x)
            x = layers.MaxPooling2D()(x)
    for filters, skip in zip(settings.filters[-2::-1], skips[::-1], strict=True):
        x = convolve(layers.UpSampling2D()(x), filters, 2)
        x = layers.Concatenate()([skip, x])
        x = convolve(convolve(x, filters, 3), filters, 3)
    x = convolve(x, 2, 3)
    # Half precision would round the output to steps of a quarter dB.
    outputs = layers.Conv2D(
        input_shape[2], 1, activation=settings.output_activation, dtype="float32"
    )(x)
    return keras.Model(inputs, outputs, name="unet")
