"""Mixtures have the SNR that was asked for, whoever computes them and with how many processes."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from conftest import hiss, tone_speech
from hypothesis import given, settings
from hypothesis import strategies as st

from denoise import audio
from denoise.core import pools
from denoise.core.arrays import PackWriter
from denoise.core.errors import UserError
from denoise.mixing.draw import draw_utterances, draw_windows
from denoise.mixing.files import Recordings
from denoise.mixing.levels import set_levels
from denoise.mixing.render import Packs, loop, render, render_recording
from denoise.mixing.settings import MixingSettings, MixtureSettings, TestSetSettings

RATE = 8000


def pack(folder, waves: dict[str, np.ndarray], *, speech: bool, noisy=None) -> pd.DataFrame:
    """A prepared source, as `preparation.prepare` writes it, with every split in turn."""
    folder.mkdir(parents=True)
    writer = PackWriter(folder / "audio.npy")
    rows = []
    for number, (name, wave) in enumerate(waves.items()):
        rows.append(
            {
                "source": str(folder / "audio.npy"),
                "id": name,
                "speaker": name if speech else "",
                "sex": "F" if speech else "",
                "noise_type": "" if speech else f"k{number % 2}",
                "group": name,
                "snr": 7.0 if noisy else np.nan,
                "split": ("train", "validation", "test")[number // 2 % 3],
                "validation_windows": 0.0,
                "offset": writer.append(wave),
                "samples": len(wave),
                "noisy_offset": writer.append(noisy[name]) if noisy else -1,
                "level": audio.active_level(wave, RATE)[0],
            }
        )
    writer.close()
    return pd.DataFrame(rows)


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    root = tmp_path_factory.mktemp("sources")
    speech = pack(
        root / "sp", {f"s{k}": tone_speech(4 + k / 3, RATE, k) for k in range(6)}, speech=True
    )
    noise = pack(root / "no", {f"n{k}": hiss(1.5 + k, RATE, k) for k in range(6)}, speech=False)
    return speech, noise


def measured_snr(row: dict, packs) -> float:
    """SNR in dB of the rendered mixture, from the audio alone."""
    noisy, clean = render(row, packs, RATE)
    level, _ = audio.active_level(clean, RATE)
    return 20 * np.log10(level / np.sqrt(np.mean((noisy.astype(float) - clean) ** 2)))


@settings(max_examples=25, deadline=None)
@given(snrs=st.lists(st.floats(-20, 40), min_size=1, max_size=4), seed=st.integers(0, 10**6))
def test_rendered_utterances_have_the_target_snr(sources, snrs, seed):
    chosen = TestSetSettings(snr_db=tuple(snrs), copies=2)
    table = draw_utterances(Recordings(*sources), chosen, seed)
    table = set_levels(table, RATE, seed)
    packs = Packs([*table["speech_source"], *table["noise_source"]])
    for row in table.to_dict("records"):
        assert row["snr_target"] in snrs
        assert row["snr"] == pytest.approx(row["snr_target"], abs=0.01)
        assert measured_snr(row, packs) == pytest.approx(row["snr_target"], abs=0.1)
        noisy, _ = render(row, packs, RATE)
        assert np.abs(noisy).max() <= 0.9901


def test_noise_gains_are_drawn_uniformly_and_applied(sources):
    chosen = MixingSettings(segment=4000, speech_stride=1000, gain=(0.2, 0.8))
    table = set_levels(draw_windows(Recordings(*sources), chosen, "train", RATE, 0), RATE, 0)
    assert table["gain"].between(0.2, 0.8).all() and table["gain"].std() > 0.1
    row = table.iloc[0].to_dict()
    packs = Packs([row["speech_source"], row["noise_source"]])
    noisy, clean = render(row, packs, RATE)
    whole = packs[row["noise_source"]][row["noise_start"] :][: row["noise_samples"]]
    noise = loop(whole, row["noise_offset"], 4000, 160)
    np.testing.assert_allclose(noisy - clean, row["clip_scale"] * row["gain"] * noise, atol=1e-5)


def test_processes_do_not_change_the_mixtures(sources, monkeypatch):
    # So little work is otherwise done without a pool.
    monkeypatch.setattr(pools, "_TRIAL_S", -1)
    monkeypatch.setattr(pools, "_POOL_START_S", -1)
    chosen = MixingSettings(segment=4000, speech_stride=100, snr_range_db=(-5, 15), hours=0.2)
    table = draw_windows(Recordings(*sources), chosen, "train", RATE, 3)
    assert len(table) == round(0.2 * 3600 * RATE / 4000)
    one = set_levels(table, RATE, 3, processes=1)
    two = set_levels(table, RATE, 3, processes=2)
    pd.testing.assert_frame_equal(one, two)


def test_windows_stay_in_their_split(sources):
    speech, noise = sources
    for split in ("train", "validation"):
        table = draw_windows(
            Recordings(speech, noise), MixingSettings(segment=4000), split, RATE, 0
        )
        assert set(table["recording"]) <= set(speech[speech["split"] == split]["id"])
        assert set(table["noise_id"]) <= set(noise[noise["split"] == split]["id"])


@pytest.mark.parametrize("split", ["validation", "test"])
def test_a_test_set_takes_speech_and_noise_of_its_split_only(sources, split):
    speech, noise = sources
    table = draw_utterances(Recordings(speech, noise), TestSetSettings(split=split, copies=4), 0)
    assert set(table["split"]) == {split}
    assert set(table["recording"]) == set(speech[speech["split"] == split]["id"])
    assert set(table["noise_id"]) <= set(noise[noise["split"] == split]["id"])


def test_pad_fills_short_recordings_with_silence(sources):
    window = 5 * RATE  # longer than the first two recordings
    chosen = MixingSettings(segment=window, speech_stride=window, pad=True, gain=[0.5, 0.5])
    speech, _ = sources
    table = set_levels(draw_windows(Recordings(*sources), chosen, "train", RATE, 0), RATE, 0)
    lengths = speech[speech["split"] == "train"].set_index("id")["samples"]
    assert sorted(table["recording"]) == sorted(lengths.index)
    packs = Packs([*table["speech_source"], *table["noise_source"]])
    for row in table.to_dict("records"):
        noisy, clean = render(row, packs, RATE)
        there = lengths[row["recording"]]
        assert len(noisy) == len(clean) == window
        assert np.abs(clean[:there]).max() > 0.01 and not clean[there:].any()
        assert audio.rms(noisy[there:]) > 0.01  # the noise goes on


def test_a_rendered_recording_contains_its_window(sources):
    chosen = MixingSettings(segment=4000, speech_stride=1000, gain=[0.5, 0.5])
    table = set_levels(draw_windows(Recordings(*sources), chosen, "train", RATE, 0), RATE, 0)
    packs = Packs([*table["speech_source"], *table["noise_source"]])
    for row in table.to_dict("records")[:20]:
        whole, clean = render_recording(row, packs, RATE)
        start = row["speech_offset"]
        window, speech = render(row, packs, RATE)
        np.testing.assert_array_equal(clean[start : start + 4000], speech)
        # The same noise, but where the end of the loop is faded into its start.
        same = np.isclose(whole[start : start + 4000], window, atol=1e-6)
        assert same.mean() > 0.9 and len(whole) == row["recording_samples"]


def test_validation_windows_come_from_disjoint_parts_of_train_recordings(sources):
    speech, noise = (table.assign(validation_windows=0.25) for table in sources)
    chosen = MixingSettings(segment=4000, speech_stride=2000)
    windows = {
        split: draw_windows(Recordings(speech, noise), chosen, split, RATE, 0)
        for split in ("train", "validation")
    }
    places = {
        split: set(zip(table["recording"], table["speech_offset"], strict=True))
        for split, table in windows.items()
    }
    assert not places["train"] & places["validation"]
    share = len(places["validation"]) / sum(len(part) for part in places.values())
    assert share == pytest.approx(0.25, abs=0.01)
    allowed = [set(table.loc[table["split"] == "train", "id"]) for table in sources]
    for split, table in windows.items():
        assert set(table["recording"]) <= allowed[0] and set(table["noise_id"]) <= allowed[1]
        assert set(table["split"]) == {split}


def test_windows_of_the_test_split_are_not_subsampled(sources):
    speech, noise = (table.assign(validation_windows=0.25) for table in sources)
    chosen = MixingSettings(segment=4000, speech_stride=4000, windows=3, validation_windows=2)
    table = draw_windows(Recordings(speech, noise), chosen, "test", RATE, 0)
    tested = speech[speech["split"] == "test"]
    assert len(table) == (tested["samples"] // 4000).sum() > 3
    assert set(table["recording"]) == set(tested["id"])
    assert set(table["noise_id"]) <= set(noise.loc[noise["split"] == "test", "id"])


def test_the_number_of_windows_can_be_given(sources):
    for asked, count in (
        ({"windows": 500, "validation_windows": 50}, {"train": 500, "validation": 50}),
        ({"hours": 0.1}, {"train": round(0.1 * 3600 * RATE / 4000)}),
    ):
        chosen = MixingSettings(segment=4000, speech_stride=4000, **asked)
        for split, wanted in count.items():
            assert len(draw_windows(Recordings(*sources), chosen, split, RATE, 0)) == wanted
    with pytest.raises(ValueError, match="either hours or windows"):
        MixingSettings(windows=5, hours=1)


@pytest.mark.parametrize("side", [0, 1])
def test_an_error_names_an_empty_split(sources, side):
    tables = list(sources)
    tables[side] = tables[side][tables[side]["split"] != "test"]
    what = ("speech", "noise")[side]
    with pytest.raises(UserError, match=f"test split of the {what} is empty.* split: test"):
        draw_utterances(Recordings(*tables), TestSetSettings(), 0)
    draw_windows(Recordings(*tables), MixingSettings(segment=4000), "train", RATE, 0)


def test_noise_types_and_snrs_are_balanced(sources):
    chosen = TestSetSettings(snr_db=(0, 10), copies=8)
    table = draw_utterances(Recordings(*sources), chosen, 0)
    counts = table.groupby(["noise_type", "snr_target"]).size()
    assert len(counts) == 4 and counts.max() - counts.min() <= 1


@pytest.mark.parametrize(("kinds", "snrs"), [(2, 4), (4, 4), (5, 4), (6, 4), (3, 7)])
def test_small_test_sets_balance_snrs_and_large_ones_all_pairs(sources, kinds, snrs):
    speech, noise = sources
    noise = noise.iloc[[0] * kinds].assign(noise_type=[f"k{k}" for k in range(kinds)], split="test")
    levels = tuple(range(snrs))
    few = TestSetSettings(snr_db=levels, utterances=snrs, copies=2)
    table = draw_utterances(Recordings(speech, noise), few, 0)
    counts = table["snr_target"].value_counts().reindex(range(snrs), fill_value=0)
    assert counts.max() - counts.min() <= 1
    utterances = int((speech["split"] == "test").sum())
    many = TestSetSettings(snr_db=levels, copies=-(-3 * kinds * snrs // utterances))
    pairs = (
        draw_utterances(Recordings(speech, noise), many, 0)
        .groupby(["noise_type", "snr_target"])
        .size()
    )
    assert len(pairs) == kinds * snrs and pairs.max() - pairs.min() <= 1


def test_pairs_are_rendered_as_published(tmp_path):
    clean = {"p1": tone_speech(3, RATE, 1), "p2": tone_speech(3, RATE, 2)}
    noisy = {name: wave + hiss(3, RATE, 5) for name, wave in clean.items()}
    speech = pack(tmp_path / "vb", clean, speech=True, noisy=noisy).assign(split="test")
    table = draw_utterances(Recordings(speech, speech.iloc[:0]), TestSetSettings(), 0)
    table = set_levels(table, RATE, 0)
    packs = Packs(list(table["speech_source"]))
    for row in table.to_dict("records"):
        got, reference = render(row, packs, RATE)
        np.testing.assert_allclose(got / row["clip_scale"], noisy[row["recording"]], atol=1e-5)
        np.testing.assert_allclose(
            reference / row["clip_scale"], clean[row["recording"]], atol=1e-6
        )
        assert row["snr_target"] == 7.0


@settings(max_examples=40, deadline=None)
@given(
    size=st.integers(8, 3000), offset=st.integers(0, 2999), length=st.integers(1, 9000),
    fade=st.integers(0, 400),
)  # fmt: skip
def test_looped_noise_has_the_requested_length_and_no_click(size, offset, length, fade):
    offset = offset % size
    wave = np.sin(np.linspace(0, 40, size)).astype(np.float32)
    got = loop(wave, offset, length, fade)
    assert len(got) == length
    if offset + length <= size:
        np.testing.assert_array_equal(got, wave[offset : offset + length])


def test_a_cross_fade_keeps_the_power_of_noise():
    noise = np.random.default_rng(0).standard_normal(4000).astype(np.float32)
    long = loop(noise, 0, 400_000, 1000)
    seams = np.concatenate([long[k * 3000 : k * 3000 + 1000] for k in range(1, 100)])
    assert np.sqrt(np.mean(seams**2)) == pytest.approx(1.0, abs=0.05)


def test_speech_shorter_than_a_window_is_an_error_that_says_so(sources):
    with pytest.raises(UserError, match=r"mixing\.segment \(99999 samples, 12\.50 s\)"):
        draw_windows(Recordings(*sources), MixingSettings(segment=99999), "train", RATE, 0)


@pytest.mark.parametrize(
    ("level", "said"),
    [
        ({}, "exactly one"),
        ({"gain": (0.2, 0.8), "snr_db": (0,)}, "exactly one"),
        ({"gain": (0.8, 0.2)}, "low to high"),
        ({"gain": (-1, 1)}, "negative"),
        ({"snr_db": (1000,)}, "between -60 and 100"),
    ],
)
def test_invalid_levels_are_rejected(level, said):
    with pytest.raises(ValueError, match=said):
        MixtureSettings(**level)
