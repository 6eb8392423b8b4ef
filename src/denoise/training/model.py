"""The model for training: the network, extended for losses on the waveform."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from denoise.core.errors import UserError
from denoise.networks import backend
from denoise.networks.base import NetworkSettings
from denoise.networks.loading import load_network
from denoise.networks.registry import build_network
from denoise.training import data_parallel, losses
from denoise.training.batches import Batches, WaveformBatches
from denoise.training.discriminator import Discriminator
from denoise.training.optimiser import optimiser
from denoise.training.settings import TrainingSettings
from denoise.training.teacher import Teacher
from denoise.training.waveform import WaveformCodec

if TYPE_CHECKING:
    import keras


def compiled(
    network: NetworkSettings,
    settings: TrainingSettings,
    windows: Batches,
    discriminator: Discriminator | None = None,
    teacher: Teacher | None = None,
) -> keras.Model:
    """The compiled model for a training."""
    import keras

    keras.config.set_dtype_policy(precision(settings))
    model = build_network(network, windows.item_shape, windows.outputs)
    devices = backend.devices() if settings.devices == "all" else []
    divided = data_parallel.over(devices, keras.Model)
    waveforms = losses.is_waveform_loss(settings.loss)
    if isinstance(windows, WaveformBatches):
        model = _with_signal_loss(model, settings, windows, discriminator, teacher, divided)
    elif divided is not keras.Model:
        model = divided(model.inputs, model.outputs[0], name=model.name)
    jit = settings.xla
    if jit == "auto":
        jit = settings.backend == "jax" or (backend.has_gpu() and divided is keras.Model)
    model.compile(
        optimizer=optimiser(settings.optimiser, len(windows), settings.accumulate),
        loss=None if waveforms else losses.LOSSES[str(settings.loss)],
        metrics=[losses.METRICS[name] for name in settings.metrics],
        jit_compile=jit and settings.backend != "torch",
    )
    return model


def precision(settings: TrainingSettings) -> str:
    """The number format of `settings` on the available devices."""
    return backend.precision() if settings.precision == "auto" else settings.precision


def _with_signal_loss(
    network: keras.Model,
    settings: TrainingSettings,
    windows: WaveformBatches,
    discriminator: Discriminator | None,
    teacher: Teacher | None,
    model_class: type[keras.Model],
) -> keras.Model:
    """A model from noisy audio to the network's output, trained with a waveform loss."""
    import keras
    from keras import ops

    measure, metrics = losses.on_signals(settings.loss), bool(settings.metrics)
    codec = WaveformCodec(windows.features, windows.samples)
    codec.prepare()

    class Encode(keras.layers.Layer):
        def call(self, noisy: Any) -> Any:
            return codec.input(noisy)

        def compute_output_shape(self, shape: Any) -> Any:
            return (None, *network.inputs[0].shape[1:])

    class SignalModel(model_class):
        def compute_loss(
            self,
            x: Any = None,
            y: Any = None,
            y_pred: Any = None,
            sample_weight: Any = None,
            training: bool = True,
        ) -> Any:
            noisy, clean = y[..., 0], y[..., 1]
            enhanced = codec.decode(y_pred, noisy)
            wanted = teacher.enhance(noisy) if teacher is not None and training else clean
            loss = ops.mean(measure(wanted, enhanced)) + sum(self.losses)
            return (
                loss if discriminator is None else loss + discriminator.loss(clean, noisy, enhanced)
            )

        def compute_metrics(self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None) -> Any:
            target = codec.target(y[..., 0], y[..., 1]) if metrics else y_pred
            return super().compute_metrics(x, target, y_pred, sample_weight)

    noisy = keras.Input((windows.samples,), dtype="float32")
    seen = Encode(dtype="float32")(noisy)
    trained = SignalModel(noisy, network(seen), name=network.name)
    trained.network, trained.decode = network, codec.decode
    if discriminator is not None:
        trained.discriminator = discriminator.network
    return trained


def network_of(model: keras.Model) -> keras.Model:
    """The network of a model for training, without codec and discriminator."""
    return getattr(model, "network", model)


def interpolate_weights(path: Path, model: keras.Model, share: float = 1.0) -> None:
    """Set the weights of a model to ``share`` × those of a ``model.keras`` + (1 - ``share``) × its
    own."""
    network = network_of(model)
    others = load_network(path).get_weights()
    own = network.get_weights()
    if [weight.shape for weight in others] != [weight.shape for weight in own]:
        raise UserError(
            f"training.start_from: {path} holds another network than the one to be trained: it "
            f"has {len(others)} weight arrays with {sum(map(np.size, others)):,} values, the "
            f"network to be trained {len(own)} with {sum(map(np.size, own)):,}, or their shapes "
            "differ: network and features must be the same"
        )
    network.set_weights(
        [(share * other + (1 - share) * weight) for other, weight in zip(others, own, strict=True)]
    )
