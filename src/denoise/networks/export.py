"""Writing a trained network for ONNX Runtime, beside ``model.keras``, and for other run-times, with
all they need to know to use it.

The network alone is exported, from its input to its output; the transforms around it are a few
lines in any language (``examples/exported.py``), and stand with their parameters in the metadata.
"""

from __future__ import annotations

import contextlib
import copy
import json
import logging
import os
import subprocess
import sys
import tempfile
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from denoise import __version__
from denoise.core import files
from denoise.core.boundary import report_errors
from denoise.core.errors import UserError
from denoise.networks.card import ModelCard, ModelFolder, write_card
from denoise.networks.loading import load_model
from denoise.networks.operations import macs
from denoise.networks.registry import streaming_network

FORMATS = {"litert": ".tflite", "onnx": ".onnx", "savedmodel": ".savedmodel"}
"""Format → suffix of the file; a SavedModel is a folder."""
METADATA = "denoise.json"
_EXTRA = "assets.extra"
_SAVED = frozenset(
    {_EXTRA, "assets", "fingerprint.pb", "keras_metadata.pb", "saved_model.pb", "variables"}
)
"""What a SavedModel consists of."""
_MANY_FRAMES = 1000
"""Over which the edges of what is counted for a frame do not matter."""


def write_onnx(folder: ModelFolder) -> None:
    """Write the ``model.onnx`` of a model folder, and what it is into the card.

    Like every export to ONNX it has the card in its metadata, as the property ``card``.  Keras
    needs TensorFlow to write it; with another backend, that is a process of its own.

    Raises
    ------
    UserError
        If the network cannot be converted.
    """
    from denoise.networks import backend

    folder.onnx.unlink(missing_ok=True)
    if backend.name() != "tensorflow":
        _write_elsewhere(folder)
        return
    model, card = load_model(folder.path)
    frames = model.inputs[0].shape[2] or _MANY_FRAMES
    found: dict[str, Any] = {"onnx": "", "macs_a_frame": macs(model, frames) / frames}
    if card.causal:
        model = streaming_network(card.network, model)
    count = model.inputs[0].shape[2]
    card = card.model_copy(update=found)
    try:
        with _quiet(), files.replacing(folder.onnx) as temporary:
            _write(model, "onnx", temporary, count, batch=None)
            _attach(temporary, "onnx", describe(card, model, count), card)
    except UserError:
        raise
    except Exception as error:  # Keras and tf2onnx raise whatever their parts raise
        raise UserError(f"{card.name} cannot be written as ONNX: {_first_line(error)}") from None
    found = {"onnx": files.file_digest(folder.onnx)}
    write_card(folder.card, card.model_copy(update=found))


def _write_elsewhere(folder: ModelFolder) -> None:
    environment = {**os.environ, "KERAS_BACKEND": "tensorflow", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [sys.executable, "-m", __name__, str(folder.path)],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        said = done.stderr.strip().splitlines()
        raise UserError(said[-1] if said else "the conversion to ONNX was ended")


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


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
            _attach(temporary, kind, about, card)
    except ImportError as error:
        raise UserError(
            f"exporting to {kind} needs a library that is not installed ({error}): pip install "
            "'denoise[workflow]'"
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


def _write(model: Any, kind: str, path: Path, frames: int | None, batch: int | None = 1) -> None:
    import keras

    signature = [
        keras.InputSpec(
            shape=(
                None if frames is None else batch,
                *(size or frames for size in tensor.shape[1:]),
            ),
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


def _attach(path: Path, kind: str, about: dict[str, Any], card: ModelCard) -> None:
    text = json.dumps(about, indent=1)
    if kind == "litert":
        with zipfile.ZipFile(path, "a") as package:
            package.writestr(METADATA, text)
    elif kind == "onnx":
        import onnx

        network = onnx.load(path)
        _put_in_order(network.graph)
        onnx.helper.set_model_props(network, {"denoise": text, "card": card.model_dump_json()})
        onnx.save(network, path)
    else:
        extra = path / _EXTRA
        extra.mkdir()
        (extra / METADATA).write_text(text)


def _put_in_order(graph: Any) -> None:
    """Order and name the parts of an ONNX graph by how its outputs depend on them.

    The converter's own order and names differ from run to run, and with them the file.
    """
    nodes = _by_dependence(graph)
    initial = {tensor.name: tensor for tensor in graph.initializer}
    used = dict.fromkeys(name for node in nodes for name in node.input if name in initial)
    tensors = [initial[name] for name in used]
    names = {name: f"weights_{number}" for number, name in enumerate(used)}
    names |= {
        name: f"{node.op_type}_{number}_{place}"
        for number, node in enumerate(nodes)
        for place, name in enumerate(node.output)
    }
    names |= {value.name: value.name for value in [*graph.input, *graph.output]} | {"": ""}
    for number, node in enumerate(nodes):
        node.name = f"{node.op_type}_{number}"
        for side in (node.input, node.output):
            side[:] = [names[name] for name in side]
    for tensor in tensors:
        tensor.name = names[tensor.name]
    for field, items in ((graph.node, nodes), (graph.initializer, tensors)):
        kept = copy.deepcopy(items)
        del field[:]
        field.extend(kept)
    del graph.value_info[:]
    graph.name, graph.doc_string = "denoise", ""
    for value in [*graph.input, *graph.output]:
        for place, size in enumerate(value.type.tensor_type.shape.dim):
            if size.dim_param:
                size.dim_param = {0: "batch", 2: "frames"}.get(place, f"{value.name}_{place}")


def _by_dependence(graph: Any) -> list[Any]:
    """The nodes of an ONNX graph, each after those it depends on, from its outputs on."""
    made_by = {value: node for node in graph.node for value in node.output}
    nodes: list[Any] = []
    seen: set[int] = set()
    waiting = [(made_by.get(value.name), False) for value in reversed(graph.output)]
    while waiting:
        node, is_ready = waiting.pop()
        if is_ready:
            nodes.append(node)
        elif node is not None and id(node) not in seen:
            seen.add(id(node))
            waiting.append((node, True))
            waiting += [(made_by.get(name), False) for name in reversed(node.input)]
    return nodes


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


if __name__ == "__main__":
    with report_errors():
        write_onnx(ModelFolder(Path(sys.argv[1])))
