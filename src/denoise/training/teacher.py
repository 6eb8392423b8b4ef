"""A trained model whose output takes the place of the clean speech."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from denoise.core.errors import UserError
from denoise.features.codec import Features
from denoise.networks.loading import load_model
from denoise.networks.registry import build_network
from denoise.training.waveform import WaveformCodec


class Teacher:
    """Enhances training windows with a model that was trained before.

    Parameters
    ----------
    folder
        Of the model.
    rate
        Samples a second of the windows.
    samples
        Length of the windows.

    Raises
    ------
    UserError
        If there is no model in the folder, or one that cannot enhance such windows.
    """

    def __init__(self, folder: Path, rate: int, samples: int) -> None:
        loaded, card = load_model(folder)
        if card.rate != rate:
            raise UserError(
                f"training.teacher: {folder} works at {card.rate} Hz, the training at {rate} Hz: "
                "give a model of the same sample rate"
            )
        features = Features(card.features, {side: list(two) for side, two in card.scales.items()})
        frequencies, _, channels = loaded.inputs[0].shape[1:]
        frames = features.settings.shape(samples)[1]
        # Built again, so that it computes in the precision of the training.
        self._network = build_network(
            card.network, (frequencies, frames, channels), loaded.outputs[0].shape[-1]
        )
        self._network.set_weights(loaded.get_weights())
        self._network.trainable = False
        self._codec = WaveformCodec(features, samples)
        self._codec.prepare()

    def enhance(self, noisy: Any) -> Any:
        """The model's output for `noisy` [shape=(batch, samples)], without gradient."""
        from keras import ops

        output = self._network(self._codec.input(noisy), training=False)
        return ops.stop_gradient(self._codec.decode(output, noisy))
