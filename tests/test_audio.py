"""Decoding, resampling, levels, preparation and splits."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import soundfile
from conftest import hiss, tone_speech
from hypothesis import example, given, settings
from hypothesis import strategies as st
from made import prepare_into, prepared_source

from denoise import audio
from denoise.audio import audio_files
from denoise.core import files
from denoise.core.arrays import load_array
from denoise.core.errors import UserError
from denoise.core.tables import read_table, write_table
from denoise.corpora import splits
from denoise.corpora.indexing import index_folder
from denoise.corpora.selection import AudioSettings, SelectionSettings, select
from denoise.corpora.splits import SPLITS, SplitSettings, assign, check_disjoint

RATE = 8000


def test_resampling_does_not_shift_a_tone():
    time = np.arange(48000) / 48000
    tone = np.sin(2 * np.pi * 1000 * time).astype(np.float32)
    low = audio.resample(tone, 48000, 8000)
    expected = np.sin(2 * np.pi * 1000 * np.arange(8000) / 8000)
    assert len(low) == 8000
    np.testing.assert_allclose(low[500:-500], expected[500:-500], atol=1e-3)


def test_active_level_of_continuous_speech_is_its_rms():
    noise = np.random.default_rng(0).standard_normal(4 * RATE).astype(np.float32)
    level, activity = audio.active_level(noise, RATE)
    assert activity > 0.98
    assert level == pytest.approx(1.0, rel=0.02)


def test_active_level_does_not_fall_with_added_silence():
    speech = np.random.default_rng(0).standard_normal(4 * RATE).astype(np.float32)
    padded = np.concatenate([speech, np.zeros(12 * RATE, np.float32)])
    level, activity = audio.active_level(padded, RATE)
    # Only the hangover of 0.2 s and the decay of the envelope are counted of the silence.
    assert 20 * np.log10(level) == pytest.approx(0, abs=0.6)
    assert 4.0 <= 16 * activity < 4.6
    assert audio.rms(padded) == pytest.approx(0.5, rel=0.02)


def test_silence_has_no_active_level():
    level, activity = audio.active_level(np.zeros(RATE, np.float32), RATE)
    assert level == 0 and activity == 0


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda path: path.write_bytes(b"RIFF not audio at all"), "cannot be decoded"),
        (lambda path: soundfile.write(path, np.zeros((0, 1)), RATE), "is empty"),
        (
            lambda path: soundfile.write(path, np.full(99, np.nan), RATE, subtype="FLOAT"),
            "NaN or infinite",
        ),
    ],
)
def test_unusable_files_give_their_reason(tmp_path, make, said):
    path = tmp_path / "bad.wav"
    make(path)
    with pytest.raises(audio.UnusableAudio, match=said):
        audio.read(path)


@pytest.mark.parametrize("suffix", ["flac", "wav"])
def test_a_truncated_file_is_rejected(tmp_path, suffix):
    path = tmp_path / f"cut.{suffix}"
    soundfile.write(path, tone_speech(5, RATE, 1), RATE)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(audio.UnusableAudio):
        audio.read(path)


@settings(max_examples=20, deadline=None)
@given(
    rates=st.tuples(st.sampled_from([8000, 11025, 48000]), st.sampled_from([8000, 16000])),
    sizes=st.lists(st.integers(0, 5000), min_size=1, max_size=12),
    size=st.integers(1, 4000),
)
def test_blockwise_resampling_equals_resampling_the_whole_signal(rates, sizes, size):
    wave = hiss(10, 8000, 1)[: sum(sizes)]
    blocks = np.split(wave, np.cumsum(sizes)[:-1])
    found = list(audio.rechunked(audio.resampled(blocks, *rates), size))
    assert all(len(block) == size for block in found[:-1])
    whole = audio.resample(wave, *rates) if len(wave) else wave
    np.testing.assert_array_equal(np.concatenate([np.zeros(0, np.float32), *found]), whole)


def test_a_recording_is_read_in_blocks_and_again(tmp_path):
    wave = np.stack([tone_speech(2, RATE, c) for c in range(2)], axis=1)
    soundfile.write(tmp_path / "a.wav", wave, RATE, subtype="FLOAT")
    recording = audio.Recording(tmp_path / "a.wav", 5000)
    assert (recording.rate, recording.channels, recording.samples) == (RATE, 2, 2 * RATE)
    for _ in range(2):
        blocks = list(recording)
        assert [len(block) for block in blocks] == [5000, 5000, 5000, 1000]
        np.testing.assert_array_equal(np.concatenate(blocks), wave)


def test_wav_files_beyond_the_size_limit_are_written_as_rf64(tmp_path, monkeypatch):
    monkeypatch.setattr("denoise.audio.encoding._WAV_LIMIT", 30_000)
    wave = tone_speech(2, RATE, 1)
    for seconds, kind in ((1, "WAV"), (2, "RF64")):
        audio.write(tmp_path / "a.wav", wave[: seconds * RATE], RATE)
        assert soundfile.info(str(tmp_path / "a.wav")).format == kind
        found, rate = audio.read(tmp_path / "a.wav")
        assert rate == RATE
        np.testing.assert_allclose(found[:, 0], wave[: seconds * RATE], atol=1e-4)


def index_of(folder, waves: dict[str, np.ndarray]) -> object:
    rows = []
    for name, wave in waves.items():
        path = folder / f"{name}.wav"
        soundfile.write(path, wave, RATE, subtype="FLOAT")
        names = {"id": name, "path": str(path), "speaker": name, "group": name, "sex": "F"}
        rest = {"noise_type": "", "noisy_path": "", "snr": np.nan, "duration": len(wave) / RATE}
        rows.append({**names, **rest})
    write_table(folder / "index.csv", pd.DataFrame(rows))
    return folder / "index.csv"


def test_preparation_drops_unusable_files_and_records_the_reason(tmp_path):
    waves = {f"s{k}": tone_speech(2, RATE, k) for k in range(6)}
    waves["silent"] = np.zeros(2 * RATE, np.float32)
    waves["nan"] = np.full(2 * RATE, np.nan, np.float32)
    waves["brief"] = tone_speech(0.5, RATE, 9)
    index = index_of(tmp_path, waves)
    settings = AudioSettings(max_dropped=0.5)
    out = tmp_path / "out"
    prepare_into(out, index, audio=settings, processes=2)
    manifest = files.read_json(out / "manifest.json")
    assert {drop["id"]: drop["reason"] for drop in manifest["dropped"]} == {
        "silent": "is silent",
        "nan": "holds NaN or infinite samples",
    }
    assert manifest["left_out"] == {"shorter than 1 s": 1}
    table = read_table(out / "index.csv")
    pack = load_array(out / "audio.npy")
    assert len(table) == 6 and len(pack) == table["samples"].sum()
    row = table[table["id"] == "s3"].iloc[0]
    np.testing.assert_allclose(
        pack[row["offset"] : row["offset"] + row["samples"]], waves["s3"], atol=1e-6
    )
    strict = AudioSettings(max_dropped=0.1)
    with pytest.raises(UserError, match=r"2 of 8 files.*silent\.wav is silent"):
        prepare_into(tmp_path / "o2", index, audio=strict)


def test_noise_recordings_are_split_within_each_noise_type(tmp_path):
    kinds = ("fan", "rain", "street")
    for kind in kinds:
        (tmp_path / "noise" / kind).mkdir(parents=True)
        for number in range(3):
            path = tmp_path / "noise" / kind / f"{number}.wav"
            soundfile.write(path, hiss(0.5, RATE, number), RATE)
    index_folder(tmp_path / "noise", None, tmp_path / "index.csv")
    out = tmp_path / "out"
    prepare_into(out, tmp_path / "index.csv", "noise")
    splits.split([prepared_source(out, "all")], SplitSettings(), 0, tmp_path / "splits.csv")
    table = read_table(tmp_path / "splits.csv")
    assert set(table["speaker"]) == {""}
    for kind in kinds:
        assert sorted(table.loc[table["noise_type"] == kind, "split"]) == [
            "test",
            "train",
            "validation",
        ]


def test_files_with_equal_names_in_two_folders_get_different_ids(tmp_path):
    for part in ("train", "test"):
        (tmp_path / part / "speech").mkdir(parents=True)
        for number in range(4):
            path = tmp_path / part / "speech" / f"{number}.wav"
            soundfile.write(path, tone_speech(1.5, RATE, number + 10 * len(part)), RATE)
        index_folder(tmp_path / part / "speech", None, tmp_path / f"{part}.csv")
        prepare_into(tmp_path / f"{part}-out", tmp_path / f"{part}.csv")
    sources = [prepared_source(tmp_path / f"{use}-out", use) for use in ("train", "test")]
    splits.split(sources, SplitSettings(), 0, tmp_path / "splits.csv")
    table = read_table(tmp_path / "splits.csv")
    assert table["id"].is_unique and (table["split"] == "test").sum() == 4
    assert set(table["noise_type"]) == {""}


def test_copies_of_a_recording_stay_in_one_split(tmp_path, caplog):
    folder = tmp_path / "speech"
    for number in range(12):
        (folder / f"s{number}").mkdir(parents=True)
        wave = tone_speech(1.5, RATE, number)
        soundfile.write(folder / f"s{number}" / "own.wav", wave, RATE)
        if number < 6:
            copied = tone_speech(1.5, RATE, 99)
            soundfile.write(folder / f"s{number}" / f"copy{number}.wav", copied, RATE)
    index_folder(folder, 1, tmp_path / "index.csv")
    prepare_into(tmp_path / "out", tmp_path / "index.csv")
    splits.split([prepared_source(tmp_path / "out")], SplitSettings(), 0, tmp_path / "splits.csv")
    table = read_table(tmp_path / "splits.csv")
    assert len(set(table[table["id"].str.contains("copy")]["split"])) == 1
    # So do the other recordings of their speakers.
    assert len(set(table[table["speaker"].isin([f"s{k}" for k in range(6)])]["split"])) == 1
    assert set(table["split"]) == {"train", "validation", "test"}
    assert "6 duplicate recordings, kept in one split" in caplog.text


def test_a_recording_in_both_a_train_and_a_test_source_is_rejected(tmp_path):
    for part in ("mine", "yours"):
        (tmp_path / part).mkdir()
        for number in range(3):
            wave = tone_speech(1.5, RATE, 7 if number == 0 else number + 10 * len(part))
            soundfile.write(tmp_path / part / f"{part}{number}.wav", wave, RATE)
        index_folder(tmp_path / part, None, tmp_path / f"{part}.csv")
        prepare_into(tmp_path / f"{part}-out", tmp_path / f"{part}.csv")
    sources = [prepared_source(tmp_path / "mine-out", "train"),
               prepared_source(tmp_path / "yours-out", "test")]  # fmt: skip
    with pytest.raises(UserError, match=r"1 recordings are in two splits, such as .*0\.wav"):
        splits.split(sources, SplitSettings(), 0, tmp_path / "splits.csv")


def test_symlinked_folders_are_read_once(tmp_path):
    for name in ("in/a.wav", "elsewhere/b.wav"):
        (tmp_path / name).parent.mkdir()
        soundfile.write(tmp_path / name, tone_speech(1, RATE, 1), RATE)
    (tmp_path / "in/link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "in/again").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere/loop").symlink_to(tmp_path / "in")
    found = audio_files(tmp_path / "in")
    names = [path.relative_to(tmp_path / "in").as_posix() for path in found]
    assert names == ["a.wav", "again/b.wav"]


@pytest.mark.parametrize("wave", [np.full(RATE, 0.25), np.array([0.5])])
def test_constant_recordings_are_dropped(tmp_path, wave):
    (tmp_path / "in").mkdir()
    soundfile.write(tmp_path / "in/still.wav", wave, RATE)
    soundfile.write(tmp_path / "in/hum.wav", hiss(1.5, RATE, 0), RATE)
    index_folder(tmp_path / "in", None, tmp_path / "index.csv")
    settings = AudioSettings(max_dropped=0.5, min_duration_s=0)
    prepare_into(tmp_path / "out", tmp_path / "index.csv", "noise", settings)
    (dropped,) = files.read_json(tmp_path / "out/manifest.json")["dropped"]
    assert dropped["path"].endswith("still.wav") and dropped["reason"] == "is constant"


def test_validation_speakers_must_exist_and_leave_a_test_split(tmp_path):
    rows = [(f"s{k}", sex) for k, sex in enumerate("FMFMFMFMFM")]
    table = pd.DataFrame(rows, columns=["speaker", "sex"])
    table["group"], table["noise_type"], table["corpus"], table["id"], table["content"] = (
        table["speaker"], "", "x", table["speaker"], table["speaker"],
    )  # fmt: skip
    chosen = SplitSettings(validation_speakers=("s3", "s4"))
    split = assign(table, "all", chosen, 0)
    assert set(table.loc[split == "validation", "speaker"]) == {"s3", "s4"}
    assert (split == "test").sum() == 2
    write_table(tmp_path / "index.csv", table)
    wrong = SplitSettings(validation_speakers=("s33",))
    with pytest.raises(UserError, match="did you mean 's3'"):
        splits.split([prepared_source(tmp_path, "all")], wrong, 0, tmp_path / "splits.csv")


def test_splitting_by_window_creates_no_validation_recordings(tmp_path):
    rows = [(f"s{k}", "FM"[k % 2]) for k in range(10)]
    table = pd.DataFrame(rows, columns=["speaker", "sex"])
    table["group"], table["noise_type"], table["corpus"], table["id"], table["content"] = (
        table["speaker"], "", "x", table["speaker"], table["speaker"],
    )  # fmt: skip
    write_table(tmp_path / "index.csv", table)
    chosen = SplitSettings(by_window=True, validation=0.1, test=0.2)
    splits.split([prepared_source(tmp_path, "all")], chosen, 0, tmp_path / "splits.csv")
    found = read_table(tmp_path / "splits.csv")
    assert found["split"].value_counts().to_dict() == {"train": 8, "test": 2}
    assert set(found["validation_windows"]) == {0.1}


def test_sources_for_testing_only_need_no_training_source(tmp_path):
    table = pd.DataFrame({"id": ["a"], "speaker": "s", "sex": "F", "noise_type": "", "group": "s",
                          "corpus": "x", "content": "a"})  # fmt: skip
    write_table(tmp_path / "index.csv", table)
    splits.split([prepared_source(tmp_path, "test")], SplitSettings(), 0, tmp_path / "splits.csv")
    assert list(read_table(tmp_path / "splits.csv")["split"]) == ["test"]


def test_hours_are_taken_from_all_speakers():
    table = pd.DataFrame(
        {
            "id": [f"u{k}" for k in range(100)],
            "speaker": [f"s{k % 10}" for k in range(100)],
            "noise_type": "",
            "sex": "F",
            "group": [f"s{k % 10}" for k in range(100)],
            "duration": 36.0,
        }
    )
    kept, skipped = select(table, "x", SelectionSettings(hours=0.3), AudioSettings(), 0)
    assert kept["duration"].sum() == pytest.approx(0.3 * 3600)
    assert kept["speaker"].value_counts().to_dict() == {f"s{k}": 3 for k in range(10)}
    assert skipped == {"beyond hours": 70}


def test_an_unknown_category_error_lists_the_known_ones():
    table = pd.DataFrame({"id": ["a"], "speaker": "", "noise_type": "rain", "sex": "", "group": "f",
                          "duration": 5.0})  # fmt: skip
    with pytest.raises(UserError, match="noise type of esc50 'rein' .did you mean 'rain'"):
        select(table, "esc50", SelectionSettings(noise_types=("rein",)), AudioSettings(), 0)


def test_speakers_can_be_left_out():
    table = pd.DataFrame(
        {"id": list("abcd"), "speaker": ["p1", "p1", "p2", "p3"], "sex": "F", "noise_type": "",
         "group": "", "duration": 5.0}
    )  # fmt: skip
    chosen = SelectionSettings(exclude_speakers=("p1", "p3"))
    kept, skipped = select(table, "vctk", chosen, AudioSettings(), 0)
    assert list(kept["id"]) == ["c"] and skipped == {"excluded": 3}
    with pytest.raises(UserError, match="unknown speaker of vctk 'p4': there are p1, p2, p3"):
        select(table, "vctk", SelectionSettings(exclude_speakers=("p4",)), AudioSettings(), 0)


def test_recordings_are_selected_by_the_names_of_their_files():
    names = ["home/a_1.wav", "home/b/a_2.flac", "home/a_3.wav"]
    table = pd.DataFrame({"id": names, "speaker": "", "noise_type": "a", "sex": "", "group": names,
                          "duration": 5.0})  # fmt: skip
    chosen = SelectionSettings(recordings=("a_2", "a_3"))
    kept, _ = select(table, "folder", chosen, AudioSettings(), 0)
    assert kept["id"].tolist() == names[1:]
    with pytest.raises(UserError, match="recording of folder 'a_4' .did you mean 'a_"):
        select(table, "folder", SelectionSettings(recordings=("a_4",)), AudioSettings(), 0)


@settings(max_examples=60, deadline=None)
@example(groups=[1] * 11, kinds=2, seed=0, test=0.59375, validation=0.25)  # both rounded up
@given(
    groups=st.lists(st.integers(1, 4), min_size=3, max_size=30),
    kinds=st.integers(1, 4),
    seed=st.integers(0, 1000),
    test=st.floats(0.05, 0.6),
    validation=st.floats(0.05, 0.3),
)
def test_no_group_ever_stands_in_two_splits(groups, kinds, seed, test, validation):
    rows = [
        {
            "id": f"{g}-{k}",
            "group": f"g{g}",
            "noise_type": f"k{g % kinds}",
            "sex": "",
            "speaker": "",
        }
        for g, size in enumerate(groups)
        for k in range(size)
    ]
    table = pd.DataFrame(rows)
    chosen = SplitSettings(test=test, validation=validation)
    table["split"] = assign(table, "all", chosen, seed)
    assert table.groupby("group")["split"].nunique().max() == 1
    assert set(table["split"]) <= set(SPLITS)
    for _, part in table.groupby("noise_type"):
        if part["group"].nunique() >= 3:
            assert {"train", "test"} <= set(part["split"])


def test_esc50_folds_are_not_divided_between_splits():
    table = pd.DataFrame(
        [{"id": f"{f}{k}", "group": f"fold{f}", "noise_type": k, "sex": "", "speaker": ""}
         for f in range(1, 6) for k in ("rain", "dog", "saw")]
    )  # fmt: skip
    table["split"] = assign(table, "all", SplitSettings(), 0)
    assert table.groupby("group")["split"].nunique().max() == 1
    assert table.groupby("split")["group"].nunique().to_dict() == {
        "test": 1, "train": 3, "validation": 1,
    }  # fmt: skip


def test_overlapping_splits_are_rejected():
    table = pd.DataFrame(
        {"corpus": "x", "group": ["a", "a", "b"], "split": ["train", "test", "validation"],
         "speaker": "", "noise_type": ["rain", "rain", "dog"]}
    )  # fmt: skip
    with pytest.raises(UserError, match="first 'a'.* two splits"):
        check_disjoint(table)
    # Of another kind, the same fold of ESC-50 holds other recordings.
    check_disjoint(table.assign(noise_type=["rain", "dog", "dog"]))
    # What a speaker says is hers whatever it is called.
    with pytest.raises(UserError, match="first 'a'.* two splits"):
        check_disjoint(table.assign(noise_type=["rain", "dog", "dog"], speaker="a"))


def test_with_a_validation_source_others_are_split_into_train_and_test(tmp_path):
    for name, kinds in (("common", ["rain", "dog"]), ("held", ["saw"])):
        rows = [{"id": f"{name}{kind}{k}", "group": f"{name}{kind}{k}", "noise_type": kind,
                 "sex": "", "speaker": "", "corpus": "x", "content": f"{name}{kind}{k}"}
                for kind in kinds for k in range(10)]  # fmt: skip
        write_table(tmp_path / name / "index.csv", pd.DataFrame(rows))
    out = tmp_path / "splits.csv"
    chosen = SplitSettings()
    sources = [
        prepared_source(tmp_path / "common"),
        prepared_source(tmp_path / "held", "validation"),
    ]
    splits.split(sources, chosen, 0, out)
    table = read_table(out)
    assert set(table.loc[table["split"] == "validation", "noise_type"]) == {"saw"}
    assert table.groupby("split").size().to_dict() == {"test": 4, "train": 16, "validation": 10}
    splits.split(sources[:1], chosen, 0, out)
    assert set(read_table(out)["split"]) == {"train", "validation", "test"}
