"""A U-Net over frequency whose bottleneck looks far in time.

The contracting path halves the frequencies and keeps every frame.  At the bottleneck stand residual
blocks of dilated convolutions, which see a second or more of the past (and of the future, unless
causal) at little cost: the temporal convolutional network of Luo & Mesgarani, IEEE/ACM TASLP 27(8),
2019, in the U-Net of Ronneberger, Fischer & Brox, MICCAI 2015.  Nothing is normalised: on a CPU a
normalisation takes longer than the convolution before it.  The second convolution of each block
starts at zero instead, so that a deep network begins as a shallow one (Zhang, Dauphin & Ma, ICLR
2019).

With `attention_heads`, blocks are followed by self-attention over the frequencies of every frame
(Vaswani et al., NeurIPS 2017), whose queries and keys know the frequency, as in the blocks of
FastEnhancer (Ahn et al., arXiv:2509.21867).  It looks at one frame, so a causal network stays so.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, field_validator, model_validator

from denoise.networks.base import NetworkSettings

if TYPE_CHECKING:
    import keras


class TemporalUNetSettings(NetworkSettings):
    """A U-Net over frequency with a temporal bottleneck. Changing it trains again."""

    name: Literal["temporal_unet"] = "temporal_unet"
    """The name of the network."""
    filters: tuple[int, ...] = Field((48, 64, 80), min_length=1)
    """Filters of each level; each after the first has half the frequencies."""
    frequency_folding: int = Field(4, ge=1)
    """Number of neighbouring frequencies that are combined into one, as its channels, before the
    first level."""
    dilations: tuple[int, ...] = (1, 2, 4, 8, 1, 2, 4, 8)
    """Dilation over time, in frames, of each residual block of the bottleneck."""
    attention_heads: int = Field(0, ge=0)
    """Heads of the self-attention over frequency after blocks of the bottleneck; they must divide
    the last number of filters. 0 for none."""
    attention_every: int = Field(1, ge=1)
    """Attention after every so many blocks of the bottleneck."""
    causal: bool = False
    """Frames do not depend on later ones, so that a stream can be enhanced live."""
    negative_slope: float = Field(0.1, ge=0, lt=1)
    """Slope of LeakyReLU for negative values."""

    @field_validator("dilations")
    @classmethod
    def _check_dilations(cls, dilations: tuple[int, ...]) -> tuple[int, ...]:
        if min(dilations, default=1) < 1:
            raise ValueError(f"dilations {list(dilations)} must be positive numbers")
        return dilations

    @model_validator(mode="after")
    def _check_heads(self) -> TemporalUNetSettings:
        if self.attention_every > max(1, len(self.dilations)):
            raise ValueError(
                f"attention_every {self.attention_every} leaves none: there are only "
                f"{len(self.dilations)} dilations"
            )
        if self.attention_heads and self.filters[-1] % self.attention_heads:
            raise ValueError(
                f"attention_heads {self.attention_heads} must divide the last of filters, "
                f"{self.filters[-1]}"
            )
        return self

    @property
    def steps(self) -> tuple[int, int]:
        """Frequencies are folded, then halved at every level but the first; frames are kept."""
        return int(self.frequency_folding * 2 ** (len(self.filters) - 1)), 1


class _Whole:
    """Builds a network for whole windows: before their start there was silence."""

    def layer(self, make: Callable[..., Any], name: str, *given: Any, **options: Any) -> Any:
        return make(*given, name=name, **options)

    def after(self, x: Any, frames: int) -> Any:
        from keras import ops

        return ops.pad(x, ((0, 0), (frames, 0), (0, 0), (0, 0)))


class _Stream:
    """Builds a network from the layers of another for a few frames at a time.

    What a convolution needs of the frames before comes in as a state, and goes out for the next.
    """

    def __init__(self, model: keras.Model) -> None:
        self.model = model
        self.before: list[Any] = []
        self.next: list[Any] = []

    def layer(self, make: Callable[..., Any], name: str, *given: Any, **options: Any) -> Any:
        return self.model.get_layer(name)

    def after(self, x: Any, frames: int) -> Any:
        from keras import layers, ops

        state = layers.Input((frames, *x.shape[2:]), name=f"state_{len(self.before):02d}")
        both = ops.concatenate([state, x], axis=1)
        self.before.append(state)
        self.next.append(both[:, -frames:])
        return both


def build(
    settings: TemporalUNetSettings, input_shape: tuple[int, int, int], outputs: int = 1
) -> keras.Model:
    """Build a network from inputs [shape=(batch, f, t, channels)] with any number of frames `t` to
    `outputs` channels; `f` and `channels` are those of `input_shape`."""
    import keras
    from keras import layers

    inputs = layers.Input((input_shape[0], None, input_shape[2]), name="frames")
    return keras.Model(inputs, _graph(settings, _Whole(), inputs, outputs), name=settings.name)


def streaming(settings: TemporalUNetSettings, model: keras.Model) -> keras.Model:
    """The network of `build` for the next frames of a stream, as `networks.registry` describes."""
    import keras
    from keras import layers

    stream = _Stream(model)
    inputs = layers.Input(model.inputs[0].shape[1:], name="frames")
    output = _graph(settings, stream, inputs, model.outputs[0].shape[-1])
    return keras.Model([inputs, *stream.before], [output, *stream.next], name="stream")


def _graph(
    settings: TemporalUNetSettings, builder: _Whole | _Stream, inputs: Any, outputs: int
) -> Any:
    from keras import layers, ops

    def convolve(
        x: Any, name: str, filters: int, size: tuple[int, int] = (3, 3), *, dilation: int = 1,
        **options: Any,
    ) -> Any:  # fmt: skip
        """A convolution over `size` frames and frequencies."""
        reach = (size[0] - 1) * dilation
        padding = "same"
        if settings.causal and reach:
            x = builder.after(x, reach)
            side = (size[1] - 1) // 2
            x = ops.pad(x, ((0, 0), (0, 0), (side, side), (0, 0)))
            padding = "valid"
        return builder.layer(
            layers.Conv2D, name, filters, size, padding=padding, dilation_rate=(dilation, 1),
            **options,
        )(x)  # fmt: skip

    def activate(x: Any, name: str, filters: int, *size: Any, **options: Any) -> Any:
        x = convolve(x, name, filters, *size, kernel_initializer="he_normal", **options)
        return layers.LeakyReLU(negative_slope=settings.negative_slope)(x)

    def residual(x: Any, name: str, dilation: int = 1) -> Any:
        filters = x.shape[-1]
        y = activate(x, f"{name}_spread", filters, dilation=dilation)
        return x + convolve(y, f"{name}_merge", filters, (1, 1), kernel_initializer="zeros")

    # What is causal starts without delay: only the residual blocks, which start at zero, look back.
    frames = 1 if settings.causal else 3
    x = ops.transpose(inputs, (0, 2, 1, 3))
    x = layers.Reshape(
        (-1, x.shape[2] // settings.frequency_folding, x.shape[3] * settings.frequency_folding)
    )(x)
    skips = []
    for level, filters in enumerate(settings.filters):
        if level:
            skips.append(x)
            x = activate(x, f"down{level}", filters, (frames, 4), strides=(1, 2))
        else:
            x = activate(x, "first", filters, (frames, 3))
        x = residual(x, f"encode{level}")
    for number, dilation in enumerate(settings.dilations):
        x = residual(x, f"block{number}", dilation)
        if settings.attention_heads and (number + 1) % settings.attention_every == 0:
            x = x + _attention(builder, settings.attention_heads, x, f"attention{number}")
    for level, filters in reversed(list(enumerate(settings.filters[:-1]))):
        x = ops.concatenate([ops.repeat(x, 2, axis=2), skips[level]], axis=-1)
        x = activate(x, f"up{level}", filters, (frames, 3))
        x = residual(x, f"decode{level}")
    last = builder.layer(
        layers.Conv2D, "last", outputs * settings.frequency_folding, 1,
        activation=settings.output_activation, dtype="float32",
    )  # fmt: skip
    x = layers.Reshape((-1, inputs.shape[1], outputs))(last(x))
    return ops.transpose(x, (0, 2, 1, 3))


def _attention(builder: _Whole | _Stream, heads: int, x: Any, name: str) -> Any:
    """Self-attention over the frequencies of each frame of `x` [shape=(batch, t, f, filters)]."""
    from keras import layers, ops

    frequencies, filters = x.shape[2:]
    size = filters // heads

    def project(y: Any, part: str, bias_axes: str) -> Any:
        return builder.layer(
            layers.EinsumDense, f"{name}_{part}", "btfc,chd->btfhd",
            (None, frequencies, heads, size), bias_axes=bias_axes,
        )(y)  # fmt: skip

    y = builder.layer(layers.LayerNormalization, f"{name}_norm")(x)
    # A bias for each frequency tells queries and keys where they are.
    queries, keys = (project(y, part, "fhd") for part in ("queries", "keys"))
    values = project(y, "values", "hd")
    shares = ops.softmax(ops.einsum("btfhd,btghd->bthfg", queries, keys) / size**0.5)
    out = builder.layer(
        layers.EinsumDense, f"{name}_out", "btfhd,hdc->btfc", (None, frequencies, filters),
        bias_axes="c", kernel_initializer="zeros",
    )  # fmt: skip
    return out(ops.einsum("bthfg,btghd->btfhd", shares, values))
