"""One training over several devices, each of which computes a part of every batch.

The step is that of one device: the gradient of the mean over the batch, whatever its size.  Only
what looks at the other windows of a batch (batch normalisation) or draws random numbers for them
(dropout) may see the part alone.

With JAX, Keras divides arrays among devices.  With TensorFlow it leaves that to
``tf.distribute``, under which its optimisers count a step once for each device, so that Adam makes
other steps; here the parts are branches of one graph instead, which TensorFlow runs side by side.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from denoise.networks import backend

if TYPE_CHECKING:
    import keras


def divide_arrays(devices: list[str]) -> None:
    """Make JAX divide the batches of all later trainings among `devices`."""
    import keras

    class Parts(keras.distribution.DataParallel):
        """With a batch that cannot be divided evenly, every device computes the whole batch."""

        def get_data_layout(self, data_shape: tuple[int, ...]) -> Any:
            if data_shape[0] % len(devices) == 0:
                return super().get_data_layout(data_shape)
            return keras.distribution.TensorLayout([None] * len(data_shape), self.device_mesh)

    keras.distribution.set_distribution(Parts(devices=devices))


def over(devices: list[str], model_class: type[keras.Model]) -> type[keras.Model]:
    """A class of models that train and test each batch in parts, one on each of `devices`.

    It is `model_class` itself where there is nothing to do: with a single device, or with JAX (see
    `divide_arrays`).
    """
    if len(devices) < 2 or backend.name() != "tensorflow":
        return model_class
    import tensorflow as tf

    class Divided(model_class):
        def train_step(self, data: tuple[Any, ...]) -> dict[str, Any]:
            variables = self.trainable_variables
            values = [variable.value for variable in variables]
            outputs, losses, gradients = [], [], []
            for device, x, y, size, share in _parts(data, devices):
                with tf.device(device):
                    with tf.GradientTape() as tape:
                        output = self(x, training=True)
                        loss = share * self.compute_loss(x, y, output, training=True)
                        scaled = self.optimizer.scale_loss(loss)
                    gradients.append(tape.gradient(scaled, values))
                outputs.append(output[:size])
                losses.append(loss)
            means = [tf.add_n(parts) for parts in zip(*gradients, strict=True)]
            self.optimizer.apply_gradients(zip(means, variables, strict=True))
            return self._measured(data, outputs, losses)

        def test_step(self, data: tuple[Any, ...]) -> dict[str, Any]:
            outputs, losses = [], []
            for device, x, y, size, share in _parts(data, devices):
                with tf.device(device):
                    output = self(x, training=False)
                    losses.append(share * self.compute_loss(x, y, output, training=False))
                outputs.append(output[:size])
            return self._measured(data, outputs, losses)

        def _measured(
            self, data: tuple[Any, ...], outputs: list[Any], losses: list[Any]
        ) -> dict[str, Any]:
            x, y = data[:2]
            for metric in self.metrics:
                if metric.name == "loss":
                    metric.update_state(tf.add_n(losses), sample_weight=tf.shape(x)[0])
            return dict(self.compute_metrics(x, y, tf.concat(outputs, 0)))

    return Divided


def _parts(data: tuple[Any, ...], devices: list[str]) -> Iterator[tuple[str, Any, Any, Any, Any]]:
    """Device, input, target, size and share of the batch of each part.

    Of a batch smaller than the number of devices some parts have the size 0; they then hold
    a window all the same, as the mean over none is not a number.
    """
    import tensorflow as tf

    x, y = data[:2]
    count = tf.shape(x)[0]
    for number, device in enumerate(devices):
        start, end = count * number // len(devices), count * (number + 1) // len(devices)
        place = slice(start, tf.maximum(end, start + 1))
        size = end - start
        share = tf.cast(size, tf.float32) / tf.cast(count, tf.float32)
        yield device, x[place], y[place], size, share
