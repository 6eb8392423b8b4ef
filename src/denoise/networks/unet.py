"""The U-Net of Ronneberger, Fischer & Brox (MICCAI 2015) for spectrograms.

A contracting path of double 3x3 convolutions and max-pooling, an expanding path of up-sampling,
and skip connections between the levels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from denoise.networks.base import NormalisedSettings

if TYPE_CHECKING:
    import keras


class UNetSettings(NormalisedSettings):
    """A U-Net. Changing it trains again."""

    name: Literal["unet"] = "unet"
    """The name of the network."""
    filters: tuple[int, ...] = Field((16, 32, 64, 128, 256), min_length=2)
    """Filters of each level; the last is the bottleneck."""
    negative_slope: float = Field(0.3, ge=0, lt=1)
    """Slope of LeakyReLU for negative values; 0 is ReLU."""
    normalisation: Literal["none", "batch"] = "none"
    """`batch`: batch normalisation (Ioffe & Szegedy, ICML 2015) before every activation but the
    last."""
    dropout: float = Field(0.5, ge=0, lt=1)
    """Share of the values that dropout removes."""
    dropout_at: Literal["deepest", "every"] = "deepest"
    """`deepest`: at the deepest skip connection, after the pooling next to it, and at the
    bottleneck; `every`: after each pooling and each concatenation."""
    up: Literal["upsampling", "transposed"] = "upsampling"
    """`upsampling`: repetition and a 2x2 convolution; `transposed`: a 3x3 transposed convolution
    of stride 2."""
    head: int = Field(2, ge=0)
    """Filters of a 3x3 convolution before the last 1x1 convolution; 0 for none."""

    @property
    def steps(self) -> tuple[int, int]:
        """Both sides of a spectrogram are halved at every level but the bottleneck."""
        step = int(2 ** (len(self.filters) - 1))
        return step, step


def build(
    settings: UNetSettings, input_shape: tuple[int, int, int], outputs: int = 1
) -> keras.Model:
    """Build a U-Net from inputs [shape=(batch, *input_shape)] to `outputs` channels."""
    import keras
    from keras import layers

    levels = len(settings.filters) - 1

    def double(x: Any, filters: int) -> Any:
        return _convolve(settings, _convolve(settings, x, filters, 3), filters, 3)

    def enlarge(x: Any, filters: int) -> Any:
        if settings.up == "upsampling":
            return _convolve(settings, layers.UpSampling2D()(x), filters, 2)
        return layers.Conv2DTranspose(filters, 3, strides=2, padding="same")(x)

    def drop(x: Any, *, here: bool) -> Any:
        return layers.Dropout(settings.dropout)(x) if here else x

    everywhere = settings.dropout_at == "every"
    inputs = x = layers.Input(input_shape)
    skips = []
    for level, filters in enumerate(settings.filters):
        deepest = not everywhere and level >= levels - 1
        x = double(x, filters)
        if level == levels:
            break
        skips.append(drop(x, here=deepest))
        # Before the pooling, dropout would raise the maxima of training over those of use.
        x = drop(layers.MaxPooling2D()(x), here=deepest or everywhere)
    x = drop(x, here=not everywhere)
    for filters, skip in zip(settings.filters[-2::-1], skips[::-1], strict=True):
        x = layers.Concatenate()([skip, enlarge(x, filters)])
        x = double(drop(x, here=everywhere), filters)
    if settings.head:
        x = _convolve(settings, x, settings.head, 3)
    # Half precision would round the output to steps of a quarter dB.
    outputs_ = layers.Conv2D(outputs, 1, activation=settings.output_activation, dtype="float32")(x)
    return keras.Model(inputs, outputs_, name="unet")


def _convolve(settings: UNetSettings, x: Any, filters: int, size: int) -> Any:
    from keras import layers

    x = layers.Conv2D(filters, size, padding="same", kernel_initializer="he_normal")(x)
    if settings.normalisation == "batch":
        x = layers.BatchNormalization(momentum=settings.norm_momentum)(x)
    return layers.LeakyReLU(negative_slope=settings.negative_slope)(x)
