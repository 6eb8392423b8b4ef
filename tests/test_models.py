"""Networks have their published size; losses have their closed form."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import numpy as np
import pytest
import yaml

from denoise.core.errors import UserError
from denoise.networks.autoencoder import AutoencoderSettings
from denoise.networks.operations import macs
from denoise.networks.registry import build_network, network_settings
from denoise.networks.temporal_unet import TemporalUNetSettings
from denoise.networks.unet import UNetSettings
from denoise.training import losses

ROOT = Path(__file__).parents[1]
WIDE = UNetSettings(
    filters=(64, 128, 256, 512, 1024), negative_slope=0, normalisation="batch", dropout=0.1,
    dropout_at="every", up="transposed", head=0, output_activation="sigmoid",
)  # fmt: skip


@pytest.mark.parametrize(
    ("network", "shape", "parameters"),
    [
        (UNetSettings(), (128, 128, 1), 1_941_093),
        # 34.5 M published; the sum over the layers is worked out in the next test.
        (WIDE, (256, 128, 1), 34_535_745),
        (AutoencoderSettings(), (600, 264, 1), 3_102_721),
    ],
    ids=["unet-huber-esc50", "unet-bce-logspec", "autoencoder-rain"],
)
def test_networks_have_their_published_number_of_parameters(network, shape, parameters):
    model = build_network(network, shape)
    assert model.count_params() == parameters
    assert model.output_shape == (None, *shape)


def test_the_wide_network_has_the_parameter_count_of_its_layers():
    def convolution(inputs, outputs, size=3, *, normalised=True):
        return (size * size * inputs + 1) * outputs + (4 * outputs if normalised else 0)

    sizes = [64, 128, 256, 512, 1024]
    total = convolution(1, 64) + convolution(64, 64)
    for inputs, outputs in itertools.pairwise(sizes):
        total += convolution(inputs, outputs) + convolution(outputs, outputs)
        total += convolution(outputs, inputs, normalised=False)  # back up
        total += convolution(2 * inputs, inputs) + convolution(inputs, inputs)
    total += convolution(64, 1, 1, normalised=False)
    assert build_network(WIDE, (32, 32, 1)).count_params() == total


def test_the_esc50_preset_uses_the_default_unet():
    recipe = yaml.safe_load((ROOT / "presets" / "unet-huber-esc50.yaml").read_text())
    assert network_settings(recipe["network"]) == UNetSettings()


@pytest.mark.parametrize("where", ["deepest", "every"])
def test_dropout_keeps_the_mean_of_the_bottleneck_input(where):
    import keras

    keras.utils.set_random_seed(0)
    model = build_network(UNetSettings(filters=(4, 8), dropout_at=where), (16, 16, 1))
    pooling = next(layer for layer in model.layers if type(layer).__name__ == "MaxPooling2D")
    entrance = next(
        layer for layer in model.layers[model.layers.index(pooling) + 1 :]
        if type(layer).__name__ == "Conv2D"
    ).input  # fmt: skip
    part = keras.Model(model.input, entrance)
    image = np.random.default_rng(0).standard_normal((1, 16, 16, 1)).astype(np.float32)
    trained = np.asarray(part(np.repeat(image, 2000, axis=0), training=True)).mean(axis=0)
    used = np.asarray(part(image, training=False))[0]
    # Dropout of one half before the maxima of four would raise positive means by a half or more.
    assert trained.mean() == pytest.approx(used.mean(), rel=0.02)
    assert not np.array_equal(trained, used)


def test_batch_normalisation_precedes_every_activation_but_the_last():
    plain = build_network(UNetSettings(filters=(2, 4)), (8, 8, 1))
    normalised = build_network(UNetSettings(filters=(2, 4), normalisation="batch"), (8, 8, 1))
    # Scale, shift, running mean and variance of each filter.
    filters = [2, 2, 4, 4, 2, 2, 2, 2]
    assert normalised.count_params() - plain.count_params() == 4 * sum(filters)
    before = [
        type(layer.input._keras_history.operation).__name__
        for layer in normalised.layers
        if type(layer).__name__ == "LeakyReLU"
    ]
    assert before == ["BatchNormalization"] * len(filters)
    assert type(normalised.layers[-1]).__name__ == "Conv2D"


@pytest.mark.parametrize("settings", [
    UNetSettings(filters=(2, 4), normalisation="batch", norm_momentum=0.6),
    AutoencoderSettings(filters=(2,), bottleneck=4, norm_momentum=0.6),
])  # fmt: skip
def test_batch_norm_statistics_are_updated_with_the_configured_momentum(settings):
    import keras

    model = build_network(settings, (8, 8, 1))
    layers = (keras.layers.BatchNormalization,)
    first = next(layer for layer in model.layers if isinstance(layer, layers))
    noise = np.random.default_rng(0).standard_normal((4, 8, 8, 1))
    before = np.asarray(keras.Model(model.input, first.input)(noise))
    model(noise, training=True)
    np.testing.assert_allclose(first.moving_mean, 0.4 * before.mean((0, 1, 2)), atol=1e-6)
    expected = 0.6 * 1 + 0.4 * before.var((0, 1, 2))
    np.testing.assert_allclose(first.moving_variance, expected, rtol=1e-5)


def test_a_network_gives_as_many_channels_as_the_target_has():
    for network in (UNetSettings(filters=(2, 4)), AutoencoderSettings(filters=(2,), bottleneck=4)):
        assert build_network(network, (8, 8, 3), 2).output_shape == (None, 8, 8, 2)


def test_the_temporal_network_has_the_parameter_count_of_its_layers():
    def convolution(inputs, outputs, size=9):
        return (size * inputs + 1) * outputs

    def residual(filters):
        return convolution(filters, filters) + convolution(filters, filters, 1)

    total = convolution(4 * 3, 8) + residual(8)  # four frequencies of three channels
    total += convolution(8, 16, 12) + residual(16)
    total += 3 * residual(16)
    total += convolution(16 + 8, 8) + residual(8) + convolution(8, 4 * 2, 1)
    network = TemporalUNetSettings(filters=(8, 16), dilations=(1, 2, 4))
    model = build_network(network, (32, 7, 3), 2)
    assert model.count_params() == total
    assert model.output_shape == (None, 32, None, 2)


ATTENTIVE = TemporalUNetSettings(filters=(4, 6), dilations=(1, 3), attention_heads=2)


def test_attention_over_frequency_matches_keras():
    """Beside Keras's own layer, which has the same bias for every frequency."""
    import keras

    model = build_network(ATTENTIVE, (32, 7, 1))
    rng = np.random.default_rng(0)
    for weight in model.weights:
        weight.assign(rng.normal(scale=0.5, size=weight.shape))
    parts = {part: model.get_layer(f"attention1_{part}") for part in
             ("norm", "queries", "keys", "values", "out")}  # fmt: skip
    for part in ("queries", "keys"):
        kernel, bias = parts[part].get_weights()
        parts[part].set_weights([kernel, np.broadcast_to(bias[:1], bias.shape)])
    x = rng.standard_normal((2, 32, 7, 1)).astype(np.float32)
    seen, found = (
        np.asarray(keras.Model(model.input, parts[part].output)(x)) for part in ("norm", "out")
    )
    theirs = keras.layers.MultiHeadAttention(2, 3, attention_axes=(2,))
    theirs(seen, seen)
    ours = [weight for part in ("queries", "keys", "values", "out")
            for weight in parts[part].get_weights()]  # fmt: skip
    theirs.set_weights([weight[0] if weight.shape == (4, 2, 3) else weight for weight in ours])
    np.testing.assert_allclose(found, np.asarray(theirs(seen, seen)), atol=1e-5)


@pytest.mark.parametrize(("every", "blocks"), [(1, 2), (2, 1)])
def test_attention_over_frequency_adds_its_parameters_and_operations(every, blocks):
    plain = ATTENTIVE.model_copy(update={"attention_heads": 0})
    attentive = ATTENTIVE.model_copy(update={"attention_every": every})
    with_it, without = (build_network(one, (32, 7, 1)) for one in (attentive, plain))
    frequencies, filters = 32 // 4 // 2, 6
    biases = 2 * frequencies * filters + 2 * filters
    parameters = blocks * (2 * filters + 4 * filters**2 + biases)
    assert with_it.count_params() - without.count_params() == parameters
    products = blocks * 5 * frequencies * 4 * filters**2
    assert macs(with_it, 5) - macs(without, 5) == products


def test_heads_and_places_of_attention_that_do_not_fit_are_an_error():
    with pytest.raises(ValueError, match="attention_heads 4 must divide the last of filters, 6"):
        TemporalUNetSettings(filters=(4, 6), attention_heads=4)
    with pytest.raises(ValueError, match="attention_every 3 leaves none: there are only 2"):
        TemporalUNetSettings(filters=(4, 6), dilations=(1, 3), attention_every=3)


@pytest.mark.parametrize("heads", [0, 2])
@pytest.mark.parametrize("causal", [False, True])
def test_the_temporal_network_has_the_receptive_field_of_its_dilations(causal, heads):
    network = TemporalUNetSettings(
        filters=(4, 6),
        dilations=(1, 3),
        frequency_folding=2,
        attention_heads=heads,
        causal=causal,
        output_activation="linear",
    )
    model = build_network(network, (8, 60, 1))
    rng = np.random.default_rng(0)
    for weight in model.weights:
        weight.assign(rng.normal(size=weight.shape))
    quiet = rng.standard_normal((1, 8, 60, 1)).astype(np.float32)
    struck = quiet.copy()
    struck[:, :, 30] += 1
    changed = np.abs(np.asarray(model(struck)) - np.asarray(model(quiet))).max(axis=(0, 1, 3))
    # Convolutions of three frames outside of the bottleneck, and a dilated one in each block: those
    # that are not in residual blocks see one frame in a causal network.
    reach = (3 if causal else 6) + 1 + 3
    before = 30 if causal else 30 - reach
    after = 30 + (2 * reach if causal else reach)
    assert np.flatnonzero(changed > 1e-4).tolist() == list(range(before, after + 1))


def test_an_untrained_causal_network_uses_no_past_frames():
    model = build_network(TemporalUNetSettings(filters=(4, 6), causal=True), (8, 30, 1))
    frames = np.random.default_rng(0).standard_normal((1, 8, 30, 1)).astype(np.float32)
    frames[:, :, :20] = 0
    struck = np.asarray(model(frames))
    frames[:, :, :20] = 1
    np.testing.assert_array_equal(np.asarray(model(frames))[:, :, 20:], struck[:, :, 20:])


def test_residual_blocks_are_the_identity_at_initialisation():
    settings = TemporalUNetSettings(filters=(4,), dilations=(1, 2, 4), attention_heads=2)
    deep = build_network(settings, (8, 5, 1))
    shallow = build_network(TemporalUNetSettings(filters=(4,), dilations=()), (8, 5, 1))
    for layer in shallow.layers:
        if layer.weights:
            deep.get_layer(layer.name).set_weights(layer.get_weights())
    noise = np.random.default_rng(0).standard_normal((1, 8, 5, 1)).astype(np.float32)
    np.testing.assert_array_equal(np.asarray(deep(noise)), np.asarray(shallow(noise)))


@pytest.mark.parametrize(
    ("network", "shape", "step"),
    [
        (UNetSettings(), (100, 128, 1), "16 and 16"),
        (AutoencoderSettings(), (600, 260, 1), "8 and 8"),
        (TemporalUNetSettings(), (257, 5, 1), "16 and 1"),
    ],
)
def test_a_spectrogram_that_does_not_fit_the_depth_is_an_error(network, shape, step):
    with pytest.raises(UserError, match=f"multiples of {step}, not {shape[0]}x{shape[1]}"):
        build_network(network, shape)


T = np.array([[0.1, 0.9], [0.5, 0.0]], np.float32).reshape(1, 2, 2, 1)
O = np.array([[0.2, 0.7], [0.5, 2.5]], np.float32).reshape(1, 2, 2, 1)  # noqa: E741
P = np.clip(O, 0, 0.75)


@pytest.mark.parametrize(
    ("name", "output", "expected"),
    [
        ("mse", O, (0.01 + 0.04 + 6.25) / 4),
        ("mae", O, (0.1 + 0.2 + 2.5) / 4),
        ("huber", O, (0.005 + 0.02 + 2.0) / 4),
        ("log_cosh", O, sum(math.log(math.cosh(e)) for e in (0.1, 0.2, 2.5)) / 4),
        ("bce", P, -np.mean(T * np.log(P) + (1 - T) * np.log(1 - P))),
    ],
)
def test_losses_have_their_closed_form(name, output, expected):
    assert float(np.mean(losses.LOSSES[name](T, output))) == pytest.approx(expected, rel=1e-5)


def test_soft_iou_of_binary_masks_equals_set_iou():
    one = np.array([1, 1, 0, 0, 1, 0], np.float32).reshape(1, 2, 3, 1)
    other = np.array([1, 0, 1, 0, 1, 0], np.float32).reshape(1, 2, 3, 1)
    assert float(losses.soft_iou(one, other)[0]) == pytest.approx(2 / 4)
    assert float(losses.soft_iou(one, one)[0]) == pytest.approx(1)
    # 0.02 + 0.63 + 0.25 over the sums less that.
    assert float(losses.soft_iou(T, np.minimum(O, 1))[0]) == pytest.approx(0.9 / (1.5 + 2.4 - 0.9))
