"""A convolutional autoencoder: an encoder and a decoder without skip connections.

All information passes through the bottleneck, which a U-Net avoids.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from denoise.networks.base import NormalisedSettings

if TYPE_CHECKING:
    import keras


class AutoencoderSettings(NormalisedSettings):
    """A convolutional autoencoder. Changing it trains again."""

    name: Literal["autoencoder"] = "autoencoder"
    """The name of the network."""
    filters: tuple[int, ...] = Field((64, 128, 256), min_length=1)
    """Filters of the levels of the encoder; the decoder has them in reverse."""
    bottleneck: int = Field(512, ge=1)
    """Filters of the bottleneck."""
    dropout: float = Field(0.1, ge=0, lt=1)
    """Share of the values that dropout removes after each level of the encoder."""
    l2: float = Field(5e-4, ge=0)
    """Factor of the squared kernel weights of the encoder, which are added to the loss."""
    output_activation: Literal["tanh", "sigmoid", "linear"] = "sigmoid"
    """Activation of the last convolution; it must reach the range of the scaled target."""

    @property
    def steps(self) -> tuple[int, int]:
        """Both sides of a spectrogram are halved at every level of the encoder."""
        step = int(2 ** len(self.filters))
        return step, step


def build(
    settings: AutoencoderSettings, input_shape: tuple[int, int, int], outputs: int = 1
) -> keras.Model:
    """Build an autoencoder from inputs [shape=(batch, *input_shape)] to `outputs` channels."""
    import keras
    from keras import layers

    inputs = x = layers.Input(input_shape)
    for filters in settings.filters:
        x = layers.Conv2D(
            filters, 3, padding="same", activation="relu",
            kernel_regularizer=keras.regularizers.L2(settings.l2),
        )(x)  # fmt: skip
        x = layers.BatchNormalization(momentum=settings.norm_momentum)(x)
        x = layers.MaxPooling2D()(x)
        x = layers.Dropout(settings.dropout)(x)
    x = layers.Conv2D(settings.bottleneck, 3, padding="same", activation="relu")(x)
    for filters in reversed(settings.filters):
        x = layers.Conv2DTranspose(filters, 3, strides=2, padding="same", activation="relu")(x)
        x = layers.BatchNormalization(momentum=settings.norm_momentum)(x)
    outputs_ = layers.Conv2D(
        outputs, 3, padding="same", activation=settings.output_activation, dtype="float32"
    )(x)
    return keras.Model(inputs, outputs_, name="autoencoder")
