"""A stream gives what the whole recording gives, however it comes, through any of the exports."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import hiss, tone_speech
from made import model_card

from denoise.cli.stream import PCM
from denoise.core import files
from denoise.core.errors import UserError
from denoise.enhancement.enhancer import Enhancer
from denoise.enhancement.live import Times, blocks_of, follow, load_stream, to_pcm
from denoise.features.codec import Features
from denoise.features.settings import FeatureSettings
from denoise.features.stft import istft, stft
from denoise.networks.card import write_card
from denoise.networks.export import FORMATS, METADATA, export
from denoise.networks.loading import load_model
from denoise.networks.registry import build_network, network_settings

ROOT = Path(__file__).parents[1]
RATE = 16000
FEATURES = FeatureSettings(
    stft={"n_fft": 128, "hop": 48}, bins=64, reference="absolute", reference_magnitude=4,
    input="compressed_complex", target="mask_and_phase_correction", cache=False,
)  # fmt: skip
NETWORK = {
    "name": "temporal_unet", "filters": [6, 8], "dilations": [1, 4], "frequency_folding": 2,
    "attention_heads": 2,
}  # fmt: skip
NOISY = (tone_speech(1.0, RATE, 1) + 0.3 * hiss(1.0, RATE, 2))[:15_973]


def make_model(folder: Path, *, causal: bool, seed: int = 0) -> Path:
    """A model with random weights, and outputs that use their whole range."""
    from denoise.networks import backend

    backend.start("tensorflow", threads=1)
    import keras

    keras.utils.set_random_seed(seed)
    settings = network_settings({**NETWORK, "causal": causal})
    model = build_network(settings, (64, 40, 3), 3)
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        weight.assign(rng.normal(scale=0.15, size=weight.shape))
    folder.mkdir(parents=True)
    model.save(folder / "model.keras")
    card = model_card(
        name=folder.name, rate=RATE, segment=39 * 48, parameters=model.count_params(),
        input_shape=(64, 40, 3), features=FEATURES, network=settings,
    )  # fmt: skip
    write_card(folder / "card.json", card)
    return folder


@pytest.fixture(scope="module")
def causal(tmp_path_factory):
    return make_model(tmp_path_factory.mktemp("models") / "causal", causal=True)


@pytest.fixture(scope="module")
def looking_ahead(tmp_path_factory):
    return make_model(tmp_path_factory.mktemp("models") / "ahead", causal=False)


def at_once(folder: Path, wave: np.ndarray) -> np.ndarray:
    """The transform of a whole recording, one call of the network, and the inverse."""
    model, _ = load_model(folder)
    features = Features(FEATURES)
    spectra = stft(wave[None], FEATURES.stft)
    references = features.references(spectra)
    output = model.predict(features.encode_input(spectra, references), verbose=0)
    return istft(features.decode(output, spectra, references), FEATURES.stft, len(wave))[0]


@pytest.mark.parametrize("size", [48, 7, 1000, 20_000])
def test_stream_output_does_not_depend_on_the_block_size(causal, size):
    stream = load_stream(causal)
    given = [stream.process(NOISY[k : k + size]) for k in range(0, len(NOISY), size)]
    before_the_end = sum(map(len, given))
    assert len(NOISY) - before_the_end < stream.latency
    found = np.concatenate([*given, stream.flush()])
    assert len(found) == len(NOISY)
    np.testing.assert_allclose(found, at_once(causal, NOISY), atol=1e-6)
    # Flushing begins a new stream.
    again = np.concatenate([stream.process(NOISY), stream.flush()])
    np.testing.assert_allclose(again, found, atol=1e-6)


def test_stream_output_does_not_depend_on_later_input(causal):
    stream = load_stream(causal)
    other = NOISY.copy()
    other[8000:] = 0
    first, second = (
        np.concatenate([stream.process(wave), stream.flush()]) for wave in (NOISY, other)
    )
    same = 8000 - stream.latency
    np.testing.assert_array_equal(first[:same], second[:same])
    assert np.abs(first[8000:] - second[8000:]).max() > 0.01


def test_a_causal_model_enhances_recordings_as_it_enhances_streams(causal):
    enhancer = Enhancer.load(causal)
    np.testing.assert_allclose(enhancer.enhance(NOISY), at_once(causal, NOISY), atol=1e-6)
    clean = tone_speech(1.0, RATE, 1)[: len(NOISY)]
    enhanced, error = enhancer.enhance_utterance(NOISY, clean, RATE)
    features = Features(FEATURES)
    spectra = stft(np.stack([NOISY, clean]), FEATURES.stft)
    references = features.references(spectra[:1])
    target = features.encode_target(spectra[:1], spectra[1:], references)
    output = load_model(causal)[0].predict(
        features.encode_input(spectra[:1], references), verbose=0
    )
    assert error == pytest.approx(np.mean(np.square(output - target)), rel=1e-4)
    assert len(enhanced) == len(NOISY)


def test_a_short_stream_is_returned_completely(causal):
    stream = load_stream(causal)
    for samples in (0, 1, 60, 129):
        assert len(stream.process(NOISY[:samples])) + len(stream.flush()) == samples


def test_a_network_that_looks_ahead_is_refused(looking_ahead):
    with pytest.raises(UserError, match="model ahead looks at later audio and cannot follow"):
        load_stream(looking_ahead)


def denoise(*arguments: str, given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "denoise.cli", *arguments],
        input=given, capture_output=True, check=False, cwd=ROOT,
    )  # fmt: skip


@pytest.mark.parametrize("kind", ["s16le", "f32le"])
def test_stream_command_writes_the_stream_output(causal, kind):
    number = np.dtype(PCM[kind])
    done = denoise("stream", "--model", str(causal), "--format", kind, given=to_pcm(NOISY, number))
    assert done.returncode == 0, done.stderr.decode()
    found = np.frombuffer(done.stdout, number).astype(np.float32)
    found /= 32768 if kind == "s16le" else 1
    np.testing.assert_allclose(found, at_once(causal, NOISY), atol=1e-4)
    said = done.stderr.decode()
    assert "latency 8 ms" in said and "333 blocks" in said and "RTF" in said


def test_stream_json_option_prints_only_json_timings(causal):
    done = denoise("stream", "--model", str(causal), "--json", given=to_pcm(NOISY, np.dtype("<i2")))
    told = json.loads(done.stderr)
    assert (told["rate"], told["latency_ms"], told["blocks"]) == (RATE, 8, 333)
    assert told["rtf"] == pytest.approx(told["mean_ms"] / told["block_ms"])


def test_stream_input_that_is_not_valid_raw_pcm_is_refused(causal):
    file = io.BytesIO()
    soundfile.write(file, NOISY, RATE, format="WAV")
    with pytest.raises(UserError, match="an audio file with a header, not raw PCM"):
        list(blocks_of(io.BytesIO(file.getvalue()), 48, np.dtype("<i2")))
    with pytest.raises(UserError, match="ends in the middle of a sample: 1 of 2 bytes"):
        list(blocks_of(io.BytesIO(b"abc"), 48, np.dtype("<i2")))
    with pytest.raises(UserError, match="NaN or infinite"):
        list(blocks_of(io.BytesIO(np.full(3, np.nan, "<f4").tobytes()), 48,
                                 np.dtype("<f4")))  # fmt: skip


@pytest.mark.parametrize("how", [KeyboardInterrupt, SystemExit(143), UserError("odd")])
def test_an_interrupted_stream_writes_all_input_read_so_far(causal, how):
    def blocks():
        for start in range(0, 1000, 48):
            yield NOISY[start : min(start + 48, 1000)]
        raise how

    out, times = io.BytesIO(), Times()
    with pytest.raises(type(how) if isinstance(how, BaseException) else how):
        follow(load_stream(causal), blocks(), out, np.dtype("<f4"), times)
    whole = Enhancer.load(causal).enhance(NOISY[:1000])
    np.testing.assert_allclose(np.frombuffer(out.getvalue(), "<f4"), whole, atol=1e-5)
    assert times.count == 21


def test_complete_samples_before_a_partial_one_are_read():
    found = []
    with pytest.raises(UserError, match="1 of 2 bytes"):
        for block in blocks_of(io.BytesIO(bytes(2 * 10 + 1)), 48, np.dtype("<i2")):
            found.append(len(block))
    assert found == [10]


def test_pcm_is_rounded_and_clipped():
    found = np.frombuffer(to_pcm(np.array([0.5, 2, -2]), np.dtype("<i2")), "<i2")
    assert found.tolist() == [16384, 32767, -32768]


def test_block_times_are_summarised():
    times = Times()
    for milliseconds in range(1, 101):
        times.add(milliseconds / 1000)
    assert times.quantile(0.99) == pytest.approx(0.099, abs=1e-4)
    assert times.quantile(0.5) == pytest.approx(0.05, abs=1e-4)
    assert "50.50 ms a block of 16 ms (RTF 3.156)" in times.summary(0.016)


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(kind, marks=pytest.mark.slow) if kind == "savedmodel" else kind
        for kind in FORMATS
    ],
)
@pytest.mark.parametrize("which", ["causal", "looking_ahead"])
def test_an_exported_model_gives_equal_output_without_this_package(request, tmp_path, which, kind):
    """The example reads the metadata and imports nothing of ours."""
    folder = request.getfixturevalue(which)
    target = tmp_path / f"model{FORMATS[kind]}"
    frames = 40 if (which, kind) == ("looking_ahead", "litert") else None
    about = export(folder, kind, target, frames)
    assert about["rate"] == RATE and about["stft"]["n_fft"] == 128
    soundfile.write(tmp_path / "in.wav", NOISY, RATE, subtype="FLOAT")
    done = subprocess.run(
        [sys.executable, "-I", str(ROOT / "examples" / "exported.py"), str(target),
         str(tmp_path / "in.wav"), str(tmp_path / "out.wav")],
        capture_output=True, check=False, env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr.decode()
    found, rate = soundfile.read(tmp_path / "out.wav", dtype="float32")
    assert rate == RATE
    expected = at_once(folder, NOISY)
    if frames:  # pieces of a fixed length: equal where none of them ends
        expected, found = expected[:1000], found[:1000]
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_exports_store_metadata_in_the_place_each_format_defines(causal, tmp_path):
    import onnx

    paths = {kind: tmp_path / f"m{suffix}" for kind, suffix in FORMATS.items()}
    told = [export(causal, kind, path) for kind, path in paths.items()]
    with zipfile.ZipFile(paths["litert"]) as package:
        assert json.loads(package.read(METADATA)) == told[0]
    properties = {item.key: item.value for item in onnx.load(paths["onnx"]).metadata_props}
    assert json.loads(properties["denoise"]) == told[1]
    assert files.read_json(paths["savedmodel"] / "assets.extra" / METADATA) == told[2]
    assert told[0]["states"] == 5  # one for each residual block, which alone look back


def test_exporting_an_unsupported_number_of_frames_is_refused(tmp_path):
    import keras

    inputs = keras.Input((8, 16, 1))
    model = keras.Model(inputs, keras.layers.Conv2D(1, 1)(inputs))
    model.save(tmp_path / "model.keras")
    features = FeatureSettings(stft={"n_fft": 16, "hop": 4}, bins=8)
    card = model_card(
        name="fixed", rate=RATE, segment=60, features=features, input_shape=(8, 16, 1)
    )
    write_card(tmp_path / "card.json", card)
    with pytest.raises(UserError, match="model fixed takes 16 frames at once, not 3"):
        export(tmp_path, "onnx", tmp_path / "x.onnx", 3)
