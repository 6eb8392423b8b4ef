"""Pairs of the user's own: paired by name, with their speakers, and checked for what they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
from conftest import hiss, tone_speech
from made import prepare_into, record_of, scores_of
from pydantic import ValidationError
from workflow_runs import TINY, configure, copy_project, snakemake

from denoise.core.arrays import load_array
from denoise.core.errors import UserError
from denoise.core.tables import read_table
from denoise.corpora.indexing import index_pairs
from denoise.corpora.pairs import build_pairs, pairs_digest
from denoise.corpora.selection import AudioSettings
from denoise.corpora.sources import SourceSettings

RATE = 8000


def write(path: Path, wave: np.ndarray, rate: int = RATE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, wave, rate, subtype="FLOAT")


def two_folders(folder: Path, speakers: int = 2, each: int = 2) -> tuple[Path, Path]:
    """Folders of clean and of noisy recordings of some speakers, at about 6 dB."""
    clean, noisy = folder / "clean", folder / "noisy"
    for speaker in range(speakers):
        for number in range(each):
            wave = 0.3 * tone_speech(2, RATE, 10 * speaker + number)
            name = f"s{speaker}/u{number}"
            write(clean / f"{name}.wav", wave)
            write(noisy / f"{name}.wav", wave + 0.05 * hiss(2, RATE, number))
    return clean, noisy


def test_recordings_are_paired_by_their_name_whatever_their_format(tmp_path):
    for name in ("a", "deep/b"):
        write(tmp_path / f"clean/{name}.wav", hiss(1, RATE, 1))
        (tmp_path / f"noisy/{name}").parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(tmp_path / f"noisy/{name}.flac", 0.1 * hiss(1, RATE, 2), RATE)
    table = build_pairs(tmp_path / "clean", tmp_path / "noisy", None, None)
    pairs = {Path(row.path).stem: Path(row.noisy_path).name for row in table.itertuples()}
    assert pairs == {"a": "a.flac", "b": "b.flac"}
    assert table["speaker"].nunique() == 2  # nothing is known of them


def test_one_folder_is_divided_by_patterns(tmp_path):
    for number in range(3):
        for side in ("clean", "noisy"):
            write(tmp_path / f"x/{number}_{side}_v1.wav", hiss(1, RATE, number))
    table = build_pairs(tmp_path, tmp_path, ("*_clean_v1", "*_noisy_v1"), 1)
    assert set(table["speaker"]) == {"x"} and len(table) == 3
    for row in table.itertuples():
        assert row.noisy_path == row.path.replace("_clean_", "_noisy_")


def test_speakers_come_from_a_folder_level_or_a_table(tmp_path):
    clean, noisy = two_folders(tmp_path)
    assert set(build_pairs(clean, noisy, None, 1)["speaker"]) == {"s0", "s1"}
    (clean / "speakers.csv").write_text("file,speaker\ns0/u0.wav,ann\ns0/u1.wav,bob\n")
    (clean / "transcripts.csv").write_text("file,transcript\ns0/u0.wav,hello\n")
    table = build_pairs(clean, noisy, None, None).set_index("id")
    ann = table[table["speaker"] == "ann"]
    assert len(ann) == 1 and ann["transcript"].tolist() == ["hello"]
    assert (table["group"] == table["speaker"]).all()


def test_a_file_without_a_counterpart_is_named(tmp_path):
    clean, noisy = two_folders(tmp_path)
    (noisy / "s1/u0.wav").unlink()
    with pytest.raises(UserError, match=r"s1/u0\.wav has no noisy version in .*noisy"):
        build_pairs(clean, noisy, None, None)
    (clean / "s1/u0.wav").unlink()
    (clean / "s0/u0.wav").unlink()
    with pytest.raises(UserError, match=r"s0/u0\.wav has no clean version in .*clean"):
        build_pairs(clean, noisy, None, None)


def test_changing_a_noisy_file_changes_the_pairs_digest(tmp_path):
    clean, noisy = two_folders(tmp_path)
    before = pairs_digest(clean, noisy)
    write(noisy / "s0/u0.wav", hiss(2, RATE, 9))
    assert pairs_digest(clean, noisy) != before


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (lambda wave: np.roll(wave, 40), r"is 5\.0 ms \(40 samples at 8000 Hz\) late: align both"),
        (lambda wave: np.roll(wave, -8), r"is 1\.0 ms \(8 samples at 8000 Hz\) early: align both"),
        (lambda wave: wave[: -RATE // 2], r"lasts 2\.00 s, but its noisy version 1\.50 s"),
        (np.zeros_like, "its noisy version is silent"),
    ],
)
def test_misaligned_shortened_or_silent_pairs_are_dropped_with_a_reason(tmp_path, changed, said):
    clean, noisy = two_folders(tmp_path)
    wave, _ = soundfile.read(noisy / "s0/u1.wav")
    write(noisy / "s0/u1.wav", changed(wave))
    index_pairs(clean, noisy, None, 1, tmp_path / "index.csv")
    audio = AudioSettings(sample_rate=RATE)
    with pytest.raises(UserError, match=f"1 of 4 files of .* unusable.*{said}"):
        prepare_into(tmp_path / "out", tmp_path / "index.csv", audio=audio)
    allowed = audio.model_copy(update={"max_dropped": 0.5})
    prepare_into(tmp_path / "out", tmp_path / "index.csv", audio=allowed)
    assert len(read_table(tmp_path / "out/index.csv")) == 3


@pytest.mark.parametrize("snr", [-5, 0, 15])
def test_pairs_that_are_aligned_are_kept_at_any_snr(tmp_path, snr):
    for number in range(6):
        wave = 0.3 * tone_speech(2, RATE, number)
        noise = hiss(2, RATE, 50 + number)
        noise *= np.sqrt(np.mean(wave**2) / np.mean(noise**2)) * 10 ** (-snr / 20)
        write(tmp_path / f"clean/{number}.wav", wave)
        write(tmp_path / f"noisy/{number}.wav", wave + noise)
    index_pairs(tmp_path / "clean", tmp_path / "noisy", None, None, tmp_path / "index.csv")
    audio = AudioSettings(sample_rate=RATE)
    prepare_into(tmp_path / "out", tmp_path / "index.csv", audio=audio)
    table = read_table(tmp_path / "out/index.csv")
    pack = load_array(tmp_path / "out/audio.npy")
    assert len(table) == 6
    first = table.iloc[0]
    noisy = pack[first["noisy_offset"] :][: first["samples"]]
    given, _ = soundfile.read(tmp_path / "noisy/0.wav", dtype="float32")
    np.testing.assert_allclose(noisy, given, atol=1e-6)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ({"corpus": "pairs"}, "corpus pairs needs path: the folder of clean recordings"),
        ({"corpus": "pairs", "path": "a"}, "needs noisy: the folder of the noisy versions"),
        ({"corpus": "pairs", "path": "a", "noisy": "a"}, "needs noisy"),
        ({"corpus": "pairs", "path": "a", "patterns": ["clean", "*_n"]}, "with one \\* for"),
        ({"corpus": "folder", "path": "a", "noisy": "b"}, "are for corpus pairs, not folder"),
    ],
)
def test_invalid_pair_settings_are_refused(source, said):
    with pytest.raises(ValidationError, match=said):
        SourceSettings.model_validate(source)


@pytest.mark.slow
def test_a_study_with_user_supplied_pairs_trains_and_scores(tmp_path):
    folder = copy_project(tmp_path / "project")
    two_folders(folder, speakers=6, each=3)
    configure(
        folder, experiment="own", sweep={}, baselines=["noisy"],
        set={**{key: value for key, value in TINY.items() if "hours" not in key},
             "data.speech": [{"corpus": "pairs", "path": "clean", "noisy": "noisy",
                              "speaker_level": 1}],
             "data.noise": []},
    )  # fmt: skip
    run = snakemake(folder, "all")
    assert run.returncode == 0, run.stdout[-2000:] + run.stderr[-4000:]
    scores = pd.read_csv(scores_of(folder, "noisy", "own"))
    # Syllables of RMS 0.3 / 2, half of the time, against hiss of RMS 0.05.
    assert scores["snr"].between(0, 20).all() and scores["si_sdr"].notna().all()
    assert record_of(folder, "own").methods["quickstart"].kind == "variant"
