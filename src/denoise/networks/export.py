"""Writing a trained network for other run-times, with all they need to know to use it.

The network alone is exported, from its input to its output; the transforms around it are a few
lines in any language (``examples/exported.py``), and stand with their parameters in the metadata.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import tempfile
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from denoise import __version__
from denoise.core import files
from denoise.core.errors import UserError
from denoise.networks.card import ModelCard
from denoise.networks.loading import load_model
from denoise.networks.registry import streaming_network

FORMATS = {"litert": ".tflite", "onnx": ".onnx", "savedmodel": ".savedmodel"}
"""Format → suffix of the file; a SavedModel is a folder."""
METADATA = "denoise.json"
_EXTRA = "assets.extra"
_SAVED = frozenset(
    {_EXTRA, "assets", "fingerprint.pb", "keras_metadata.pb", "saved_model.pb", "variables"}
)
"""What a SavedModel consists of."""


def export(folder: Path, kind: str, target: Path, frames: int | None = None) -> dict[str, Any]:
    """Write the network of a model folder to `target`; returns the metadata written with it.

    A causal network becomes one step of a stream, with its states as further inputs and outputs.
    The metadata is JSON: in an ONNX model the metadata property ``denoise``, in a LiteRT file an
    attached file `METADATA` (LiteRT files may end in a ZIP archive), in a SavedModel a file of that
    name in its ``assets.extra``.

    Parameters
    ----------
    kind
        One of `FORMATS`.
    frames
        Frames of a call: default 1 for a stream, else those of a training window; without a given
        number, ONNX and SavedModel take any number from networks that do.

    Raises
    ------
    UserError
        If the model cannot be read, or does not take so many frames.
    """
    model, card = load_model(folder)
    stepped = card.causal
    if stepped:
        model = streaming_network(card.network, model)
    own = model.inputs[0].shape[2]
    if own is not None and frames not in {None, own}:
        raise UserError(f"model {card.name} takes {own} frames at once, not {frames}")
    count = frames or own or (1 if stepped else card.input_shape[1])
    free = frames is None and own is None and not stepped and kind != "litert"
    about = describe(card, model, None if free else count)
    made = f"{_EXTRA}/{METADATA}" if kind == "savedmodel" else None
    if kind == "savedmodel":
        _check_own(target)
    try:
        with _quiet(), files.replacing(target, made) as temporary:
            _write(model, kind, temporary, None if free else count)
            _attach(temporary, kind, about)
    except ImportError as error:
        raise UserError(
            f"exporting to {kind} needs a library that is not installed ({error}): run "
            "make export, or pip install 'denoise[export]'"
        ) from None
    return about


def _check_own(folder: Path) -> None:
    """Refuse to replace a SavedModel in which something else was put."""
    made = (folder / _EXTRA / METADATA).is_file()  # what was not is refused anyhow
    names = {path.name for path in folder.iterdir()} if made else set()
    if others := sorted(names - _SAVED):
        raise UserError(f"{folder} holds {others[0]}, which is no part of a model: move it away")


def describe(card: ModelCard, model: Any, frames: int | None) -> dict[str, Any]:
    """What is written with an exported network."""
    features = card.features.model_dump(mode="json")
    ends = {
        side: [
            [None if size is None else int(size) for size in (1, *tensor.shape[1:])]
            for tensor in getattr(model, side)
        ]
        for side in ("inputs", "outputs")
    }
    for shapes in ends.values():
        shapes[0][2] = frames
    return {
        "denoise": __version__,
        "name": card.name,
        "rate": card.rate,
        "segment": card.segment,
        "stft": {
            **features["stft"],
            "window": "periodic Hann",
            "frames": "centred; n_fft // 2 zeros before the signal and after it",
            "inverse": "least squares: overlap-add of windowed frames over the sum of squared "
            "windows",
        },
        "features": features,
        "scales": card.scales,
        "layout": "batch, frequency, frame, channel",
        **ends,
        "input_names": [tensor.name for tensor in model.inputs],
        "states": len(model.inputs) - 1,
    }


def _write(model: Any, kind: str, path: Path, frames: int | None) -> None:
    import keras

    signature = [
        keras.InputSpec(
            shape=(None if frames is None else 1, *(size or frames for size in tensor.shape[1:])),
            dtype="float32",
            name=tensor.name,
        )
        for tensor in model.inputs
    ]
    formats = {"litert": "litert", "onnx": "onnx", "savedmodel": "tf_saved_model"}
    # Keras looks at the suffix, which a folder of the user's may lack.
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".export-") as folder:
        named = Path(folder) / f"model{FORMATS[kind]}"
        model.export(
            str(named),
            format=formats[kind],
            verbose=False,
            input_signature=[signature] if len(signature) > 1 else signature,
        )
        named.rename(path)


def _attach(path: Path, kind: str, about: dict[str, Any]) -> None:
    text = json.dumps(about, indent=1)
    if kind == "litert":
        with zipfile.ZipFile(path, "a") as package:
            package.writestr(METADATA, text)
    elif kind == "onnx":
        import onnx

        network = onnx.load(path)
        onnx.helper.set_model_props(network, {"denoise": text})
        onnx.save(network, path)
    else:
        extra = path / _EXTRA
        extra.mkdir()
        (extra / METADATA).write_text(text)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without what converters print and warn about for their own developers."""
    with (
        warnings.catch_warnings(),
        open(os.devnull, "w") as null,  # noqa: PTH123
        contextlib.redirect_stdout(null),
    ):
        warnings.simplefilter("ignore")
        level = logging.root.manager.disable
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(level)
