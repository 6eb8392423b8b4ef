"""What a trained network is computed with: ONNX Runtime, or Keras.

ONNX Runtime starts in half a second and needs no TensorFlow; Keras serves models that have no
``model.onnx``.  Their outputs differ by less than 1e-4.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np

from denoise.core.errors import UserError
from denoise.networks.card import ModelCard, ModelFolder, read_card
from denoise.networks.loading import check_fits, load_model
from denoise.networks.registry import streaming_network

Name = Literal["onnx", "keras"]
NAMES: tuple[Name, ...] = ("onnx", "keras")
_MOST_STATE = 1 << 24
"""Numbers of a state of one stream; those of the preset ``stream`` have 20,000."""


class Runtime(Protocol):
    """A network that is ready to be applied."""

    frames: int | None
    """Frames of every call; None if it takes any number."""
    states: tuple[tuple[int, ...], ...]
    """Of a causal network, the shapes of its states for one recording, which are zeros at the
    start."""

    @property
    def devices(self) -> list[str]:
        """What it is computed on."""

    def predict(self, inputs: np.ndarray) -> np.ndarray:
        """The outputs of a batch of windows [both shape=(batch, f, t, channels)], float32."""

    def step(self, inputs: np.ndarray, states: Sequence[Any]) -> tuple[np.ndarray, list[Any]]:
        """The outputs for the next frames of a batch of streams, and the states to go on with."""


class OnnxRuntime:
    """A network in ONNX Runtime, on the processor.

    Parameters
    ----------
    model
        The content of a ``model.onnx``.
    threads
        Of the arithmetic; default one for each core.

    Raises
    ------
    ValueError
        If it is no network of this kind.
    """

    def __init__(self, model: bytes, threads: int | None = None) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or 0
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(
                model, options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # of classes that ONNX Runtime does not export
            raise ValueError(" ".join(str(error).split())) from None
        inputs = self._session.get_inputs()
        self._names = [one.name for one in inputs]
        self.shape = tuple(_size(size) for size in inputs[0].shape)
        self.frames = self.shape[2] if len(self.shape) == 4 else None
        self.states = tuple(tuple(_size(size) or 0 for size in one.shape[1:]) for one in inputs[1:])
        if any(not 0 < np.prod(shape) <= _MOST_STATE for shape in self.states):
            raise ValueError("a state is empty, has no fixed size, or is too large")

    @property
    def devices(self) -> list[str]:
        """As of `Runtime`."""
        return ["cpu:0"]

    def predict(self, inputs: np.ndarray) -> np.ndarray:
        """As of `Runtime`; one window at a time, because a batch takes more memory and up to half
        more time (docs/performance.md)."""
        return np.concatenate([self._run([window[None]])[0] for window in inputs])

    def step(self, inputs: np.ndarray, states: Sequence[Any]) -> tuple[np.ndarray, list[Any]]:
        """As of `Runtime`."""
        output, *states = self._run([inputs, *states])
        return output, list(states)

    def _run(self, given: list[Any]) -> list[Any]:
        try:
            return list(self._session.run(None, dict(zip(self._names, given, strict=True))))
        except Exception as error:  # of classes that ONNX Runtime does not export
            raise UserError(
                f"the network cannot be computed: {' '.join(str(error).split())}"
            ) from None


def _size(size: Any) -> int | None:
    """That of a dimension; None for any, which ONNX gives a name."""
    return size if isinstance(size, int) else None


class KerasRuntime:
    """A network in Keras.

    Parameters
    ----------
    model : keras.Model
    card
        Its model card.
    """

    def __init__(self, model: Any, card: ModelCard) -> None:
        self.model = model
        self.shape = tuple(model.inputs[0].shape)
        self.frames = self.shape[2]
        self.states: tuple[tuple[int, ...], ...] = ()
        if card.causal:
            from denoise.networks.backend import compiled_call

            stepped = streaming_network(card.network, model)
            # Compiled for every number of frames it meets, the second would not be worth the time.
            self._step_one, self._step = compiled_call(stepped, xla=True), compiled_call(stepped)
            self.states = tuple(tuple(state.shape[1:]) for state in stepped.inputs[1:])

    @property
    def devices(self) -> list[str]:
        """As of `Runtime`."""
        from denoise.networks import backend

        return backend.devices()

    def predict(self, inputs: np.ndarray) -> np.ndarray:
        """As of `Runtime`; in batches of few sizes, since it is compiled for each."""
        size = 1 << (len(inputs) - 1).bit_length()
        padded = np.zeros((size, *inputs.shape[1:]), np.float32)
        padded[: len(inputs)] = inputs
        return np.asarray(self.model.predict_on_batch(padded))[: len(inputs)]

    def step(self, inputs: np.ndarray, states: Sequence[Any]) -> tuple[np.ndarray, list[Any]]:
        """As of `Runtime`; the states stay with the backend, as to bring them here would cost."""
        call = self._step_one if inputs.shape[2] == 1 else self._step
        output, *states = call([inputs, *states])
        return np.asarray(output), list(states)


def default_of(folder: ModelFolder) -> Name:
    """What a model runs in unless something else is asked for: ONNX Runtime where it can."""
    there = folder.onnx.is_file() and folder.card.is_file()
    return "onnx" if there and read_card(folder.card).onnx else "keras"


def load_runtime(
    folder: Path, runtime: Name | None = None, threads: int | None = None
) -> tuple[Runtime, ModelCard]:
    """The network of a model folder, ready to be applied, and its card.

    Parameters
    ----------
    runtime
        Default ONNX Runtime where the folder has a ``model.onnx``, else Keras.
    threads
        Of ONNX Runtime; default one for each core.

    Raises
    ------
    UserError
        If the card or the network is missing or cannot be read, or they do not belong together.
    """
    given = ModelFolder(folder)
    if not given.card.exists():
        raise UserError(
            f"{folder} is not a model: it has no {given.card.name} (see `denoise models` for those "
            "that are trained here)"
        )
    card = read_card(given.card)
    default = default_of(given)
    if runtime == "onnx" and default != "onnx":
        raise UserError(
            f"{folder} has no {given.onnx.name} of this card: give --runtime keras, or train it "
            "again"
        )
    if (runtime or default) == "onnx":
        return _onnx(given, card, threads), card
    model, card = load_model(folder)
    return KerasRuntime(model, card), card


def _onnx(given: ModelFolder, card: ModelCard, threads: int | None) -> OnnxRuntime:
    content = given.onnx.read_bytes()
    if hashlib.sha256(content).hexdigest() != card.onnx:
        raise UserError(
            f"{given.card} is the card of another {given.onnx.name}, or one of the two was damaged:"
            f" copy both again from where they were trained; if that is here, delete {given.path} "
            "and run `snakemake` again"
        )
    try:
        network = OnnxRuntime(content, threads)
    except ValueError as error:
        raise UserError(f"{given.onnx} cannot be loaded: {error}") from None
    check_fits(network.shape, card, given.card, given.onnx)
    return network
