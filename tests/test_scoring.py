"""Methods of different rates are scored by what all of them can give."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import soundfile
from conftest import hiss, tone_speech
from made import files_of_test_set

from denoise.audio import resample
from denoise.core import files
from denoise.core.arrays import PackWriter, load_array
from denoise.core.tables import read_table, write_table
from denoise.evaluation.folders import score_folders
from denoise.evaluation.scoring import MethodOutput, score_test_set
from denoise.metrics.pesq import pesq
from denoise.metrics.sdr import si_sdr

RATE = 16000


@pytest.fixture(scope="module")
def test_set(tmp_path_factory):
    """Two utterances at 16 kHz, and what two methods make of them."""
    folder = tmp_path_factory.mktemp("set")
    rows = []
    packs = {name: PackWriter(folder / f"{name}.npy") for name in ("clean", "noisy", "low")}
    for number in range(2):
        hiss_of_speech = 0.02 * np.sin(2 * np.pi * 6000 * np.arange(2 * RATE) / RATE)
        clean = tone_speech(2, RATE, number) + hiss_of_speech.astype(np.float32)
        noisy = clean + 0.3 * hiss(2, RATE, 10 + number)
        # A method of 8 kHz: nothing above 4 kHz.
        low = resample(resample(noisy, RATE, 8000), 8000, RATE)
        offset = packs["clean"].append(clean)
        packs["noisy"].append(noisy)
        packs["low"].append(low)
        rows.append({"id": f"u{number}", "split": "test", "recording": f"r{number}", "speaker": "s",
                     "sex": "F", "noise_type": "k", "noise_id": "n", "snr_target": 0.0, "snr": 0.0,
                     "offset": offset, "samples": len(clean)})  # fmt: skip
    for pack in packs.values():
        pack.close()
    write_table(folder / "mixtures.csv", pd.DataFrame(rows))
    return folder


def scored(folder, method, score_rate, bandwidth):
    files.write_json(folder / "manifest.json", {"rate": RATE, "score_rate": score_rate})
    output = MethodOutput(folder / f"{method}.npy", bandwidth=bandwidth)
    score_test_set(output, files_of_test_set(folder), folder / "scores.csv")
    return read_table(folder / "scores.csv")


def test_scores_at_a_common_rate_do_not_penalise_a_narrow_band_method(test_set):
    wide, low = (scored(test_set, name, 8000, None) for name in ("noisy", "low"))
    columns = ["snr", "si_sdr", "seg_snr", "pesq_nb", "stoi", "csig", "cbak", "covl"]
    np.testing.assert_allclose(wide[columns], low[columns], atol=0.1)
    at_own_rate = scored(test_set, "low", RATE, None)
    assert (at_own_rate["snr"] < low["snr"] - 0.3).all()


def test_narrow_band_scores_are_computed_at_8_khz(test_set):
    table = scored(test_set, "noisy", 8000, None)
    packs = [load_array(test_set / f"{name}.npy") for name in ("clean", "noisy")]
    for number, row in table.iterrows():
        part = slice(2 * RATE * number, 2 * RATE * (number + 1))
        pair = [resample(pack[part], RATE, 8000) for pack in packs]
        assert row["pesq_nb"] == pytest.approx(pesq(*pair, 8000, "nb"), rel=1e-6)
        assert row["si_sdr"] == pytest.approx(si_sdr(*pair), rel=1e-6)
        whole = [pack[part] for pack in packs]
        assert row["pesq_wb"] == pytest.approx(pesq(*whole, RATE, "wb"), rel=1e-6)


@pytest.mark.parametrize(("bandwidth", "wide"), [(8000, 0), (16000, 2), (22050, 2), (None, 2)])
def test_wide_band_pesq_is_computed_only_for_wide_band_methods(test_set, bandwidth, wide):
    table = scored(test_set, "low", 8000, bandwidth)
    assert table["pesq_wb"].notna().sum() == wide
    assert table["pesq_nb"].notna().all() and (table["status"] == "ok").all()


def test_without_a_lower_score_rate_the_test_set_rate_is_used(test_set):
    table = scored(test_set, "noisy", RATE, RATE)
    packs = [load_array(test_set / f"{name}.npy")[: 2 * RATE] for name in ("clean", "noisy")]
    assert table["si_sdr"].iloc[0] == pytest.approx(si_sdr(*packs), rel=1e-6)


@pytest.fixture
def stereo(tmp_path):
    """Two voices left and right, and what is written beside them with a name for each fault."""
    left, right = (tone_speech(2, RATE, number) for number in (1, 2))
    noise = 0.05 * np.stack([hiss(2, RATE, 3), hiss(2, RATE, 4)], axis=1)
    clean = np.stack([left, right], axis=1)
    for name, estimate in {
        "same": clean + noise,
        "swapped": clean[:, ::-1] + noise,
        "turned over": noise - clean,
        "mono": (clean + noise).mean(axis=1),
    }.items():
        for role, wave in (("clean", clean), ("enhanced", estimate)):
            (tmp_path / role).mkdir(exist_ok=True)
            soundfile.write(tmp_path / role / f"{name}.wav", wave, RATE, subtype="FLOAT")
    return tmp_path


def test_channels_are_scored_each_with_its_own_reference(stereo):
    table = score_folders(stereo / "clean", stereo / "enhanced").set_index(["file", "channel"])
    clean, estimate = (
        soundfile.read(stereo / role / "same.wav")[0] for role in ("clean", "enhanced")
    )
    for channel in (1, 2):
        expected = si_sdr(clean[:, channel - 1], estimate[:, channel - 1])
        assert table.loc[("same", channel), "si_sdr"] == pytest.approx(expected, abs=1e-3)
        # The sum of both channels is the same: as mono it could not be told.
        assert table.loc[("swapped", channel), "si_sdr"] < expected - 10
        assert "si_sdr: inverted polarity" in table.loc[("turned over", channel), "status"]
    assert table.loc[("mono", 1), "status"] == ("channels differ: the reference has 2, this has 1")


def test_a_mono_reference_is_used_for_all_channels(tmp_path):
    clean = tone_speech(2, RATE, 1)
    noisy = clean[:, None] + hiss(2, RATE, 5)[:, None] * [0.02, 0.2]
    for role, wave in (("clean", clean), ("enhanced", noisy)):
        (tmp_path / role).mkdir()
        soundfile.write(tmp_path / role / "a.wav", wave, RATE, subtype="FLOAT")
    table = score_folders(tmp_path / "clean", tmp_path / "enhanced")
    assert table["channel"].tolist() == [1, 2] and (table["status"] == "ok").all()
    # Twenty decibels more noise.
    assert np.subtract(*table["si_sdr"]) == pytest.approx(20, abs=0.2)


def test_out_of_phase_channels_are_not_treated_as_silence(tmp_path):
    wave = tone_speech(2, RATE, 1)
    pair = np.stack([wave, -wave], axis=1)
    for role, level in (("clean", 0.0), ("enhanced", 0.02)):
        (tmp_path / role).mkdir()
        noisy = pair + level * hiss(2, RATE, 7)[:, None]
        soundfile.write(tmp_path / role / "a.wav", noisy, RATE, subtype="FLOAT")
    table = score_folders(tmp_path / "clean", tmp_path / "enhanced")
    assert (table["status"] == "ok").all() and (table["si_sdr"] > 5).all()
