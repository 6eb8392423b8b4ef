"""Features decode what they encode, whatever the target, the scaling and the reference."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pandas as pd
import pytest
from conftest import hiss, tone_speech
from made import write_cache

from denoise.core import files
from denoise.core.arrays import PackWriter
from denoise.core.tables import read_table, write_table
from denoise.features import cache
from denoise.features.codec import Features
from denoise.features.scaling import Statistics, measured_scales
from denoise.features.settings import FeatureSettings, ScalingSettings
from denoise.features.stft import stft
from denoise.mixing.render import Packs, loop, render

RATE, WINDOW = 8000, 8064
CLEAN = np.stack([tone_speech(WINDOW / RATE, RATE, seed) for seed in (3, 4)])
NOISY = CLEAN + np.stack([hiss(WINDOW / RATE, RATE, seed) for seed in (5, 6)]) * 0.5


def spectra(features: Features) -> tuple[np.ndarray, np.ndarray]:
    noisy, clean = (stft(waves, features.settings.stft) for waves in (NOISY, CLEAN))
    return noisy, clean


def fitted(**settings) -> Features:
    """Features with the scalings measured on the two windows above."""
    chosen = FeatureSettings(floor_db=-120, **settings)
    features = Features(chosen)
    noisy, clean = spectra(features)
    found = {}
    for side, levels in features.levels(noisy, clean, features.references(noisy)).items():
        found[side] = Statistics()
        found[side].add(levels)
    return Features(chosen, json.loads(json.dumps(measured_scales(chosen, found))))


@pytest.mark.parametrize("reference", ["window", "utterance", "absolute"])
@pytest.mark.parametrize(
    ("target", "scaling"),
    [*itertools.product(["noise", "clean"], ["affine", "min_max", "standard"]),
     ("clean", "example_min_max")],
)  # fmt: skip
def test_decoding_the_true_target_gives_the_clean_spectrum(target, scaling, reference):
    chosen = {"kind": scaling, "add": 46, "divide": 50}
    features = fitted(target=target, target_scaling=chosen, reference=reference)
    noisy, clean = spectra(features)
    zero = features.references(noisy)
    estimate = features.decode(features.encode_target(noisy, clean, zero), noisy, zero)
    wanted = np.abs(clean)
    if scaling == "example_min_max":  # below the faintest noisy bin nothing can be told apart
        wanted = np.maximum(wanted, np.abs(noisy).min(axis=(1, 2), keepdims=True))
    np.testing.assert_allclose(np.abs(estimate), wanted, rtol=1e-3, atol=2e-4)
    loud = np.abs(noisy) > 1e-2
    np.testing.assert_allclose(np.angle(estimate[loud]), np.angle(noisy[loud]), atol=1e-3)


def test_a_bounded_mask_gives_the_smaller_of_clean_and_noisy_magnitude():
    features = fitted(target="mask")
    noisy, clean = spectra(features)
    zero = features.references(noisy)
    target = features.encode_target(noisy, clean, zero)
    assert target.min() >= 0 and target.max() <= 1
    estimate = np.abs(features.decode(target, noisy, zero))
    np.testing.assert_allclose(
        estimate, np.minimum(np.abs(clean), np.abs(noisy)), rtol=1e-4, atol=1e-6
    )


def test_a_complex_mask_gives_the_clean_spectrum_with_its_phase():
    features = fitted(target="complex_mask", input="level_and_phase")
    noisy, clean = spectra(features)
    zero = features.references(noisy)
    target = features.encode_target(noisy, clean, zero)
    assert target.shape == (2, 128, 128, 2) and np.abs(target).max() < 10
    estimate = features.decode(target, noisy, zero)
    # Beyond 9.999 of 10 the compression cannot be undone; ratios up to 50 can.
    there = np.abs(clean) < 50 * np.abs(noisy)
    assert there.mean() > 0.99
    np.testing.assert_allclose(estimate[there], clean[there], rtol=2e-2, atol=1e-4)


def test_the_complex_mask_matches_the_published_formula():
    features = Features(FeatureSettings(target="complex_mask", input="level_and_phase"))
    noisy = np.array([[[1 + 1j]]], np.complex64)
    clean = noisy * np.complex64(2 - 3j)
    target = features.encode_target(noisy, clean, features.references(noisy))
    # K (1 - exp(-C x)) / (1 + exp(-C x)) with K = 10 and C = 0.1.
    expected = [10 * (1 - np.exp(-0.1 * x)) / (1 + np.exp(-0.1 * x)) for x in (2, -3)]
    np.testing.assert_allclose(target[0, 0, 0], expected, rtol=1e-5)


def test_mask_and_phase_correction_give_the_clean_spectrum_within_range():
    features = fitted(target="mask_and_phase_correction", input="compressed_complex")
    noisy, clean = spectra(features)
    zero = features.references(noisy)
    target = features.encode_target(noisy, clean, zero)
    assert target.shape == (2, 128, 128, 3) and np.abs(target).max() <= 1
    estimate = features.decode(target, noisy, zero)
    near = np.real(clean * np.conj(noisy)) >= 0
    assert 0.5 < near.mean() < 1
    expected = clean * np.minimum(1, np.abs(noisy) / np.maximum(np.abs(clean), 1e-9))
    np.testing.assert_allclose(estimate[near], expected[near], rtol=1e-3, atol=1e-5)
    # Farther turns stop at a quarter, on the side of the clean spectrum.
    far = ~near & (np.abs(estimate) > 1e-3)
    turned = np.angle(estimate[far] / noisy[far])
    wanted = np.angle(clean[far] / noisy[far])
    np.testing.assert_allclose(turned, np.sign(wanted) * np.pi / 2, atol=1e-3)


def test_a_compressed_input_is_a_power_of_the_magnitude_with_its_phase():
    noisy, _ = spectra(Features(FeatureSettings()))
    loudest = np.abs(noisy).max(axis=(1, 2), keepdims=True)
    expected = (np.abs(noisy) / loudest) ** 0.5 * np.exp(1j * np.angle(noisy))
    for kind, channels in (("compressed", 1), ("compressed_complex", 3)):
        features = Features(FeatureSettings(input=kind, compression=0.5))
        encoded = features.encode_input(noisy, features.references(noisy))
        parts = np.stack([np.abs(expected), expected.real, expected.imag], -1)[..., :channels]
        np.testing.assert_allclose(encoded, parts, atol=1e-5)


def test_phase_channels_are_cosine_and_sine():
    features = Features(FeatureSettings(input="level_and_phase"))
    noisy, _ = spectra(features)
    encoded = features.encode_input(noisy, features.references(noisy))
    assert encoded.shape == (2, 128, 128, 3)
    np.testing.assert_allclose(encoded[..., 1], np.cos(np.angle(noisy)), atol=1e-4)
    np.testing.assert_allclose(encoded[..., 2], np.sin(np.angle(noisy)), atol=1e-4)


def test_a_window_reference_makes_the_input_independent_of_level():
    features = Features(FeatureSettings(reference="window"))
    noisy, _ = spectra(features)
    quiet = np.float32(0.01) * noisy
    np.testing.assert_allclose(
        features.encode_input(noisy, features.references(noisy)),
        features.encode_input(quiet, features.references(quiet)),
        atol=1e-4,
    )


def test_an_absolute_reference_keeps_the_level():
    features = Features(FeatureSettings(reference="absolute", floor_db=-200))
    noisy, _ = spectra(features)
    zero = features.references(noisy)
    difference = features.encode_input(noisy, zero) - features.encode_input(noisy / 10, zero)
    np.testing.assert_allclose(difference, 20 / 50, atol=1e-3)


def test_the_default_scaling_matches_the_published_recipe():
    features = Features(FeatureSettings())
    noisy = np.array([[[1.0, 0.1, 1e-9]]], np.complex64)
    # 0, -20 and the floor of -80 dB, through (dB + 46) / 50.
    expected = (np.array([0, -20, -80]) + 46) / 50
    encoded = features.encode_input(noisy, features.references(noisy))
    np.testing.assert_allclose(encoded[0, 0, :, 0], expected, atol=1e-5)


@pytest.mark.parametrize("kind", ["min_max", "example_min_max", "standard"])
def test_measured_scalings_give_the_configured_range_or_moments(kind):
    scaling = {"kind": kind, "range": [-1, 1]}
    features = fitted(target="clean", input_scaling=scaling, target_scaling=scaling)
    noisy, clean = spectra(features)
    zero = features.references(noisy)
    for encoded in (
        features.encode_input(noisy, zero),
        features.encode_target(noisy, clean, zero),
    ):
        if kind == "standard":
            assert encoded.mean() == pytest.approx(0, abs=1e-4)
            assert encoded.std() == pytest.approx(1, abs=1e-4)
        else:
            assert encoded.min() >= -1 and encoded.max() <= 1
    encoded = features.encode_input(noisy, zero)
    ends = [(window.min(), window.max()) for window in encoded]
    if kind == "min_max":
        assert np.min(ends) == pytest.approx(-1) and np.max(ends) == pytest.approx(1)
    elif kind == "example_min_max":
        np.testing.assert_allclose(ends, [(-1, 1)] * 2, atol=1e-5)


def test_decoding_scales_an_example_by_its_noisy_input_not_its_clean_speech():
    features = fitted(target="clean", target_scaling={"kind": "example_min_max"})
    noisy, _ = spectra(features)
    zero = features.references(noisy)
    output = np.full((2, 128, 128, 1), 0.5, np.float32)
    alone = features.decode(output, noisy, zero)
    levels = features.levels(noisy, None, zero)["input"]
    middle = (levels.min(axis=(1, 2)) + levels.max(axis=(1, 2))) / 2
    np.testing.assert_allclose(
        20 * np.log10(np.abs(alone[:, 64, 64]) / zero[:, 0, 0]), middle, atol=1e-3
    )


def test_merged_statistics_equal_those_of_all_windows():
    levels = np.random.default_rng(0).normal(-40, 15, (60, 8, 8)).astype(np.float32)
    whole, merged = Statistics(), Statistics()
    whole.add(levels)
    for part in np.array_split(levels, 7):
        one = Statistics()
        one.add(part)
        merged.merge(one)
    for kind in ("standard", "min_max"):
        a, b = (statistics.scale(ScalingSettings(kind=kind)) for statistics in (whole, merged))
        assert (a.add, a.divide) == pytest.approx((b.add, b.divide), rel=1e-6)
    assert whole.scale(ScalingSettings(kind="standard")).divide == pytest.approx(
        float(levels.std(dtype=np.float64)), rel=1e-6
    )


def test_bins_above_the_network_input_get_the_gain_of_its_highest_bin():
    features = fitted(bins=100, target="mask")
    noisy, clean = spectra(features)
    zero = features.references(noisy)
    assert features.encode_input(noisy, zero).shape == (2, 100, 128, 1)
    target = features.encode_target(noisy, clean, zero)
    estimate = features.decode(target, noisy, zero)
    assert estimate.shape == noisy.shape
    np.testing.assert_allclose(estimate[:, 110], noisy[:, 110] * target[:, 99, :, 0], rtol=1e-5)


def pack(folder, waves: list[np.ndarray]) -> list[int]:
    folder.mkdir()
    writer = PackWriter(folder / "audio.npy")
    offsets = [writer.append(wave) for wave in waves]
    writer.close()
    return offsets


@pytest.fixture
def mixtures(tmp_path):
    """A table of eight windows of two recordings, the first of which ends loudly."""
    speech = [tone_speech(4, RATE, 1) * np.linspace(0.1, 3, 4 * RATE, dtype=np.float32),
              tone_speech(3, RATE, 2)]  # fmt: skip
    noise = [hiss(2, RATE, 3)]
    starts = pack(tmp_path / "speech", speech)
    pack(tmp_path / "noise", noise)
    rows = [
        {"speech_source": str(tmp_path / "speech/audio.npy"),
         "noise_source": str(tmp_path / "noise/audio.npy"),
         "speech_offset": 5000 * number, "speech_start": starts[which] + 5000 * number,
         "recording_samples": len(speech[which]), "samples": WINDOW, "paired": False,
         "noise_start": 0, "noise_samples": len(noise[0]), "noise_offset": 700 * number,
         "gain": 0.3, "clip_scale": 1.0}
        for which in range(2) for number in range(4 if which == 0 else 3)
    ]  # fmt: skip
    path = tmp_path / "train.csv"
    write_table(path, pd.DataFrame(rows))
    return path, speech, noise


def test_an_utterance_reference_uses_the_whole_recording(mixtures):
    path, speech, noise = mixtures
    settings = FeatureSettings(reference="utterance", dtype="float32")
    write_cache(path.parent / "cache", path, RATE, settings)
    encoded = np.load(path.parent / "cache" / "shards" / "input-00000.npy")
    rows = read_table(path).to_dict("records")
    packs = Packs([rows[0]["speech_source"], rows[0]["noise_source"]])
    for number, row in enumerate(rows):
        wave = speech[0] if number < 4 else speech[1]
        start = row["speech_offset"]
        # The recording with its noise, made from its parts: the noise goes on in both directions.
        looped = loop(noise[0], row["noise_offset"] - start, len(wave), 160)
        loudest = np.abs(stft((wave + np.float32(0.3) * looped)[None], settings.stft)).max()
        noisy, _ = render(row, packs, RATE)
        level = 20 * np.log10(np.maximum(np.abs(stft(noisy[None], settings.stft)), 1e-10) / loudest)
        expected = (np.maximum(level, -80) + 46) / 50
        np.testing.assert_allclose(encoded[number, ..., 0], expected[0], atol=1e-3)


def test_the_cache_uses_the_scaling_measured_on_the_training_windows(mixtures):
    path, _, _ = mixtures
    scaling = {"kind": "min_max"}
    settings = FeatureSettings(
        target="clean", input_scaling=scaling, target_scaling=scaling, dtype="float32"
    )
    cache.measure(path, RATE, settings, path.parent / "scaling.json")
    scales = files.read_json(path.parent / "scaling.json")
    write_cache(path.parent / "cache", path, RATE, settings, scales)
    manifest = files.read_json(path.parent / "cache" / "manifest.json")
    assert manifest["scales"] == scales
    for side in ("input", "target"):
        encoded = np.load(path.parent / "cache" / "shards" / f"{side}-00000.npy")
        assert (encoded.min(), encoded.max()) == pytest.approx((0, 1), abs=1e-6)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"target": "complex_mask"}, "needs input: level_and_phase or compressed_complex"),
        (
            {"target": "mask_and_phase_correction", "input": "compressed"},
            "needs input: level_and_phase or",
        ),
        ({"bins": 500}, r"bins 500 must be at most n_fft // 2 \+ 1 = 128"),
        ({"input_scaling": {"range": [1, 0]}}, "range .* must go from low to high"),
    ],
)
def test_invalid_feature_settings_are_rejected(settings, said):
    with pytest.raises(ValueError, match=said):
        FeatureSettings(**settings)
