"""DNSMOS is what its authors' package gives; recordings are scored by it without references."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
import soundfile
from conftest import hiss, tone_speech

import denoise
from denoise.cli import main
from denoise.metrics.opinion import NAMES, mel_levels
from denoise.metrics.validity import Undefined

RATE = 16_000


def wave(seconds: float) -> np.ndarray:
    return 0.3 * (tone_speech(seconds, RATE, 1) + 0.1 * hiss(seconds, RATE, 2))


def test_mel_spectrogram_equals_librosa():
    import librosa

    given = wave(3)
    power = librosa.feature.melspectrogram(y=given, sr=RATE, n_fft=321, hop_length=160, n_mels=120)
    expected = ((librosa.power_to_db(power, ref=np.max) + 40) / 40).T
    np.testing.assert_allclose(mel_levels(given), expected, atol=1e-4)


@pytest.mark.parametrize("seconds", [1.3, 9.01, 18.75])
def test_dnsmos_equals_the_speechmos_package(seconds):
    from speechmos import dnsmos as published

    given = wave(seconds)
    expected = published.run(given, RATE)
    found = denoise.metrics.dnsmos(given, RATE)
    names = {name: f"{name.removeprefix('dnsmos_')}_mos" for name in NAMES}
    assert found == pytest.approx({ours: float(expected[its]) for ours, its in names.items()},
                                  abs=1e-3)  # fmt: skip


def test_noise_lowers_dnsmos_at_16_and_48_khz():
    for rate in (16_000, 48_000):
        clean = 0.3 * tone_speech(4, rate, 1)
        noisy = clean + 0.3 * hiss(4, rate, 2)
        better, worse = (denoise.metrics.dnsmos(one, rate) for one in (clean, noisy))
        assert better["dnsmos_bak"] > worse["dnsmos_bak"] + 0.3


def test_dnsmos_of_short_or_silent_audio_is_undefined():
    with pytest.raises(Undefined, match=r"shorter than 0\.5 s"):
        denoise.metrics.dnsmos(wave(0.3), RATE)
    with pytest.raises(Undefined, match="is silent"):
        denoise.metrics.dnsmos(np.zeros(RATE, np.float32), RATE)


def test_recordings_are_scored_without_references(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in").mkdir()
    soundfile.write("in/a.wav", wave(2), RATE)
    soundfile.write("b.flac", np.stack([wave(2), 0 * wave(2)], axis=1), RATE)
    with pytest.raises(SystemExit):
        main(["score", "in", "b.flac", "--json", "--jobs", "1"])
    said = capsys.readouterr()
    told = json.loads(said.out)
    assert [(row["file"], row["channel"]) for row in told["files"]] == [
        ("in/a.wav", 1), ("b.flac", 1), ("b.flac", 2),
    ]  # fmt: skip
    expected = denoise.metrics.dnsmos(denoise.read("in/a.wav")[0], RATE)
    assert {name: told["files"][0][name] for name in NAMES} == pytest.approx(expected)
    assert told["files"][2]["dnsmos_ovrl"] is None
    assert "b.flac the recording is silent" in said.err
    assert "error: 1 of 3 rows could not be scored" in said.err
    assert (tmp_path / "scores.csv").is_file()


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([], "give recordings to be judged without references, or --clean DIR and --enhanced DIR"),
        (["a.wav", "--clean", "."], "give either recordings, which are judged without references"),
        (["--clean", "."], "or --clean DIR and --enhanced DIR"),
        (["a.wav"], "a.wav does not exist"),
    ],
)
def test_score_command_rejects_missing_or_conflicting_inputs(
    tmp_path, monkeypatch, capsys, given, expected
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main(["score", *given])
    assert ended.value.code == 1 and expected in capsys.readouterr().err


def test_score_without_pandas_names_the_extra_to_install(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    soundfile.write("a.wav", wave(1), RATE)
    monkeypatch.setitem(sys.modules, "pandas", None)
    monkeypatch.delitem(sys.modules, "denoise.cli.score", raising=False)
    with pytest.raises(SystemExit) as ended:
        main(["score", "a.wav"])
    told = capsys.readouterr().err
    assert ended.value.code == 1
    assert (
        "denoise score needs pandas, which is not installed: pip install 'denoise[score]'" in told
    )
