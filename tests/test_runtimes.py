"""ONNX Runtime gives what Keras gives, for the network of every preset and as a stream."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import hiss, tone_speech
from made import model_card
from test_streaming import FEATURES, NOISY, make_model

from denoise.core import files
from denoise.core.errors import UserError
from denoise.enhancement.enhancer import Enhancer
from denoise.features.settings import FeatureSettings
from denoise.networks.card import ModelFolder, read_card, write_card
from denoise.networks.export import write_onnx
from denoise.networks.runtimes import load_runtime
from denoise.study.plan import make_plan

ROOT = Path(__file__).parents[1]
PRESETS = ROOT / "presets"
LARGE = {"unet-bce-logspec", "autoencoder-rain", "best-gan", "compare-all", "unet-huber-voicebank"}
"""Whose networks take long to convert, or are those of another."""


def recipe_of_preset(name: str):
    """The recipe of its first variant."""
    plan = make_plan({"preset": name}, PRESETS)
    return next(iter(plan.variants.values())).recipe


def randomised(folder: Path, recipe, rate: int = 16_000) -> Path:
    """A model folder of this recipe's network with random weights."""
    from denoise.networks import backend

    backend.start("tensorflow", threads=2)
    import keras

    from denoise.networks.registry import build_network

    keras.utils.set_random_seed(1)
    features = recipe.features
    shape = features.shape(recipe.mixing.segment)
    channels = 3 if features.input == "compressed_complex" else 1
    outputs = 3 if features.target == "mask_and_phase_correction" else 1
    model = build_network(recipe.network, (*shape, channels), outputs)
    rng = np.random.default_rng(0)
    for weight in model.weights:
        if "variance" not in weight.path:
            spread = 1 / np.sqrt(max(1, np.prod(weight.shape[:-1])))
            weight.assign(rng.normal(scale=spread, size=weight.shape))
    folder.mkdir()
    model.save(folder / "model.keras")
    card = model_card(
        name=folder.name, rate=rate, segment=recipe.mixing.segment, features=features,
        network=recipe.network, input_shape=(*shape, channels),
        weights=files.file_digest(folder / "model.keras"),
    )  # fmt: skip
    write_card(folder / "card.json", card)
    return folder


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow) if name in LARGE else name
        for name in sorted(path.stem for path in PRESETS.glob("*.yaml"))
    ],
)
def test_onnx_and_keras_agree_for_every_preset_network(tmp_path, name):
    folder = randomised(tmp_path / name, recipe_of_preset(name))
    write_onnx(ModelFolder(folder))
    (keras, card), (onnx, _) = (load_runtime(folder, which) for which in ("keras", "onnx"))
    frequencies, frames, channels = card.input_shape
    inputs = np.random.default_rng(2).uniform(-1, 1, (3, frequencies, frames, channels))
    inputs = inputs.astype(np.float32)
    assert onnx.frames == keras.frames and onnx.states == keras.states
    if card.causal:
        states = [np.zeros((3, *shape), np.float32) for shape in onnx.states]
        first, states = onnx.step(inputs[:, :, :7], states)
        rest, _ = onnx.step(inputs[:, :, 7:], states)
        found = np.concatenate([first, rest], axis=2)
    else:
        found = onnx.predict(inputs)
    expected = keras.model.predict(inputs, verbose=0)
    assert np.ptp(expected) > 0.01, "a network that gives a constant shows nothing"
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert card.macs_a_frame > 0


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = make_model(tmp_path_factory.mktemp("models") / "causal", causal=True)
    write_onnx(ModelFolder(folder))
    return folder


def test_onnx_and_keras_agree_for_recordings_and_streams(made):
    keras, onnx = (Enhancer.load(made, runtime=which) for which in ("keras", "onnx"))
    for rate in (16_000, 48_000):
        wave = np.stack([tone_speech(1, rate, 1), hiss(1, rate, 2)], axis=1)
        found, expected = (one.enhance_any(wave, rate) for one in (onnx, keras))
        np.testing.assert_allclose(found, expected, atol=1e-5)
    stream = onnx.stream()
    blocks = [stream.process(NOISY[k : k + 48]) for k in range(0, len(NOISY), 48)]
    expected = keras.enhance(NOISY)
    np.testing.assert_allclose(np.concatenate([*blocks, stream.flush()]), expected, atol=1e-5)


@pytest.mark.parametrize("which", ["best", "stream", "small"])
def test_onnx_and_keras_agree_for_the_pretrained_models(which):
    folder = ROOT / "pretrained" / which
    noisy = tone_speech(3, 16_000, 3) + 0.1 * hiss(3, 16_000, 4)
    found, expected = (
        Enhancer.load(folder, runtime=runtime).enhance(noisy) for runtime in ("onnx", "keras")
    )
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_one_thread_and_two_threads_give_identical_output():
    noisy = tone_speech(3, 16_000, 3) + 0.1 * hiss(3, 16_000, 4)
    one, two = (
        Enhancer.load(ROOT / "pretrained" / "best", threads=threads).enhance(noisy)
        for threads in (1, 2)
    )
    np.testing.assert_array_equal(one, two)


def test_onnx_files_contain_the_card_and_are_reproducible(made):
    import onnx

    before, card = (made / "model.onnx").read_bytes(), read_card(made / "card.json")
    told = {item.key: item.value for item in onnx.load(made / "model.onnx").metadata_props}
    assert json.loads(told["card"]) == {**card.model_dump(mode="json"), "onnx": ""}
    assert json.loads(told["denoise"])["rate"] == 16_000
    write_onnx(ModelFolder(made))
    assert (made / "model.onnx").read_bytes() == before
    done = subprocess.run([sys.executable, "-m", "denoise.networks.export", str(made)], check=True)
    assert done.returncode == 0 and (made / "model.onnx").read_bytes() == before


def test_a_model_without_an_onnx_file_runs_in_keras(made, tmp_path):
    copied = tmp_path / "copied"
    copied.mkdir()
    for name in ("model.keras", "card.json"):
        (copied / name).write_bytes((made / name).read_bytes())
    network, _ = load_runtime(copied)
    assert type(network).__name__ == "KerasRuntime"
    with pytest.raises(UserError, match=r"has no model\.onnx of this card: give --runtime keras"):
        load_runtime(copied, "onnx")


def test_a_damaged_or_mismatched_onnx_file_is_refused(made, tmp_path):
    folder = tmp_path / "damaged"
    folder.mkdir()
    for path in made.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    content = bytearray((folder / "model.onnx").read_bytes())
    content[len(content) // 2] ^= 1
    (folder / "model.onnx").write_bytes(content)
    with pytest.raises(UserError, match=r"is the card of another model\.onnx, or one of the two"):
        load_runtime(folder)
    # With the digest of what is no network, it is said what is wrong with it.
    (folder / "model.onnx").write_bytes(b"not a network")
    card = read_card(folder / "card.json")
    digest = files.file_digest(folder / "model.onnx")
    write_card(folder / "card.json", card.model_copy(update={"onnx": digest}))
    with pytest.raises(UserError, match=r"model\.onnx cannot be loaded: "):
        load_runtime(folder)


def test_a_network_whose_input_shape_differs_from_the_card_is_refused(made, tmp_path):
    folder = tmp_path / "other"
    folder.mkdir()
    for path in made.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    features = FEATURES.model_dump() | {"bins": 32}
    card = read_card(folder / "card.json")
    changed = card.model_copy(update={"features": FeatureSettings.model_validate(features)})
    write_card(folder / "card.json", changed)
    with pytest.raises(UserError, match=r"does not fit model\.onnx: its windows have 32x\d+"):
        load_runtime(folder)
