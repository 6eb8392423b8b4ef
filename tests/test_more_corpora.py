"""Corpora in their publishers' layouts, each in an archive or a folder of a few sounds."""

from __future__ import annotations

import importlib.util
import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import encoded, hiss, tar_of, tone_speech, zip_of
from made import prepare_into
from test_config import plan

from denoise.core.errors import UserError
from denoise.core.tables import read_table
from denoise.corpora import simulated_rooms
from denoise.corpora.indexing import index_layout, index_subset
from denoise.corpora.registry import CORPORA, find_corpus
from denoise.corpora.sources import SourceSettings, listing_of
from denoise.corpora.splits import SplitSettings, assign

VOICE = encoded(tone_speech(1.5, 16000, 1), 16000, "WAV")
NOISE = encoded(hiss(2, 16000, 1), 16000, "WAV")
RESPONSE = encoded(np.r_[np.zeros(40), 0.9, 0.1 * hiss(0.2, 16000, 3)], 16000, "WAV")


def index(corpus: str, subset: str, content: dict[str, bytes], tmp_path: Path) -> pd.DataFrame:
    """What is found in archives (name → content) of a subset."""
    paths = []
    for name, packed in content.items():
        paths.append(tmp_path / name)
        paths[-1].write_bytes(packed)
    assert set(content) == {one.name for one in find_corpus(corpus).subsets[subset]}
    index_subset(corpus, subset, paths, tmp_path / f"{subset}.csv")
    table = read_table(tmp_path / f"{subset}.csv")
    assert table["duration"].gt(0.05).all()  # all can be read
    return table.set_index("id")


def test_musan_has_noise_music_and_speech_in_one_archive(tmp_path):
    archive = tar_of(
        {
            "musan/README": b"", "musan/noise/free-sound/noise-free-sound-0000.wav": NOISE,
            "musan/noise/sound-bible/noise-sound-bible-0000.wav": NOISE,
            "musan/music/fma/music-fma-0000.wav": NOISE,
            "musan/speech/us-gov/speech-us-gov-0000.wav": VOICE,
            "musan/speech/us-gov/speech-us-gov-0001.wav": VOICE,
            "musan/speech/us-gov/ANNOTATIONS":
                b"speech-us-gov-0000 m english\nspeech-us-gov-0001 f english\n",
        }
    )  # fmt: skip
    noise = index("musan", "noise", {"musan.tar.gz": archive}, tmp_path)
    assert sorted(noise.index) == ["noise-free-sound-0000", "noise-sound-bible-0000"]
    assert set(noise["noise_type"]) == {"noise"} and noise["group"].nunique() == 2
    # The rest of the archive is not extracted with it.
    assert not list((tmp_path / "noise").rglob("*music*"))
    speech = index("musan", "speech", {"musan.tar.gz": archive}, tmp_path)
    assert speech["sex"].tolist() == ["M", "F"] and speech["speaker"].nunique() == 2


RIRS = {
    "RIRS_NOISES/real_rirs_isotropic_noises/rir_list":
        b"--rir-id real-1 --room-id lab  RIRS_NOISES/real_rirs_isotropic_noises/lab_rir_1.wav\n"
        b"--rir-id real-2 --room-id lab  RIRS_NOISES/real_rirs_isotropic_noises/lab_rir_2.wav\n",
    "RIRS_NOISES/real_rirs_isotropic_noises/lab_rir_1.wav": RESPONSE,
    "RIRS_NOISES/real_rirs_isotropic_noises/lab_rir_2.wav": RESPONSE,
    "RIRS_NOISES/real_rirs_isotropic_noises/lab_noise_1.wav": NOISE,
    "RIRS_NOISES/simulated_rirs/smallroom/rir_list":
        b"--rir-id small-1 --room-id smallroom-Room001 "
        b"RIRS_NOISES/simulated_rirs/smallroom/Room001/Room001-00001.wav\n"
        b"--rir-id small-2 --room-id smallroom-Room002 Room002/Room002-00001.wav\n",
    "RIRS_NOISES/simulated_rirs/smallroom/Room001/Room001-00001.wav": RESPONSE,
    "RIRS_NOISES/simulated_rirs/smallroom/Room002/Room002-00001.wav": RESPONSE,
    "RIRS_NOISES/pointsource_noises/noise-free-sound-0000.wav": NOISE,
}  # fmt: skip


def test_rirs_noises_has_rooms_and_point_source_noises(tmp_path):
    archive = {"rirs_noises.zip": zip_of(RIRS)}
    real = index("rirs_noises", "real", archive, tmp_path)
    assert real["group"].to_dict() == {"lab_rir_1": "lab", "lab_rir_2": "lab"}
    small = index("rirs_noises", "small", archive, tmp_path)
    assert sorted(small["group"]) == ["smallroom-Room001", "smallroom-Room002"]
    points = index("rirs_noises", "pointsource", archive, tmp_path)
    assert points["noise_type"].tolist() == ["pointsource"]


def test_a_list_that_names_a_missing_response_is_refused(tmp_path):
    gone = {name: data for name, data in RIRS.items() if not name.endswith("lab_rir_2.wav")}
    with pytest.raises(UserError, match=r"names .*lab_rir_2.wav, which is not in the archive"):
        index("rirs_noises", "real", {"rirs_noises.zip": zip_of(gone)}, tmp_path)


def matlab(response: np.ndarray, rate: int) -> bytes:
    from scipy.io import savemat

    buffer = io.BytesIO()
    savemat(buffer, {"h_air": response[None], "air_info": {"fs": float(rate), "room": "booth"}})
    return buffer.getvalue()


def test_air_responses_are_converted_to_audio_and_grouped_by_room(tmp_path):
    response = np.r_[np.zeros(300), 0.8, np.zeros(4799)]
    names = [
        "air_binaural_aula_carolina_0_1_1_90_3",
        "air_binaural_stairway_1_1_2_90",
        "air_phone_stairway1_hhp_0",
        "air_phone_BT_office_hhp_1",
        "air_phone_booth_hfrp_1",
    ]
    members = {f"AIR_1_4/{name}.mat": matlab(response, 48000) for name in names}
    archive = {"air_database_release_1_4.zip": zip_of({**members, "AIR_1_4/license.txt": b"MIT"})}
    table = index("air", "all", archive, tmp_path)
    rooms = ["aula_carolina", "stairway", "stairway", "office", "booth"]
    assert table["group"].to_dict() == dict(zip(names, rooms, strict=True))
    assert table["duration"].tolist() == pytest.approx([5100 / 48000] * 5)
    # At the rate of the study, from 2 ms before the direct sound.
    prepare_into(tmp_path / "prepared", tmp_path / "all.csv", "room")
    prepared = np.load(tmp_path / "prepared/audio.npy")
    assert np.argmax(np.abs(prepared[:100])) == 0.002 * 8000


def test_an_invalid_matlab_file_is_rejected(tmp_path):
    archive = {"air_database_release_1_4.zip": zip_of({"AIR_1_4/air_binaural_booth_0.mat": b"no"})}
    with pytest.raises(UserError, match="air: air_binaural_booth_0.mat cannot be read"):
        index("air", "all", archive, tmp_path)


def test_speechocean762_has_speakers_sex_and_words(tmp_path):
    root = "speechocean762"
    archive = tar_of(
        {
            f"{root}/WAVE/SPEAKER0001/000010011.WAV": VOICE,
            f"{root}/WAVE/SPEAKER0003/000030012.WAV": VOICE,
            f"{root}/train/wav.scp": b"000010011\tWAVE/SPEAKER0001/000010011.WAV\n",
            f"{root}/train/utt2spk": b"000010011\t0001\n",
            f"{root}/train/spk2gender": b"0001\tm\n",
            f"{root}/train/text": b"000010011\tWE CALL IT BEAR\n",
            f"{root}/test/wav.scp": b"000030012\tWAVE/SPEAKER0003/000030012.WAV\n",
            f"{root}/test/utt2spk": b"000030012\t0003\n",
            f"{root}/test/spk2gender": b"0003\tf\n",
            f"{root}/resource/scores.json": b"{}",
        }
    )
    row = index("speechocean762", "train", {f"{root}.tar.gz": archive}, tmp_path).loc["000010011"]
    assert (row.speaker, row.sex, row.transcript) == ("0001", "M", "WE CALL IT BEAR")
    test = index("speechocean762", "test", {f"{root}.tar.gz": archive}, tmp_path)
    assert test[["speaker", "sex"]].to_numpy().tolist() == [["0003", "F"]]


def test_demand_indexes_one_channel_per_location(tmp_path):
    packed = {
        archive.name: zip_of(
            {f"{archive.name.partition('_')[0]}/ch{n:02d}.wav": NOISE for n in (1, 2)}
        )
        for archive in find_corpus("demand").subsets["16k"]
    }
    table = index("demand", "16k", packed, tmp_path)
    assert len(table) == 17 and table["group"].nunique() == 17
    assert table.loc["DKITCHEN", "noise_type"] == "domestic"
    assert len(find_corpus("demand").subsets["48k"]) == 18
    assert set(table["noise_type"]) == set(find_corpus("demand").noise_types)
    # Each kind trains, validates and tests, but that of which a place is lacking.
    split = assign(table.assign(speaker="", sex=""), "all", SplitSettings(), 0)
    assert split.value_counts().to_dict() == {"train": 6, "test": 6, "validation": 5}


def test_vctk_indexes_one_of_two_microphones(tmp_path):
    flac = encoded(tone_speech(1.2, 48000, 4), 48000, "FLAC")
    waves = "wav48_silence_trimmed"
    archive = zip_of(
        {
            f"{waves}/p225/p225_001_mic1.flac": flac, f"{waves}/p225/p225_001_mic2.flac": flac,
            f"{waves}/p227/p227_002_mic1.flac": flac, "txt/p225/p225_001.txt": b"Please call.\n",
            "speaker-info.txt": b"ID  AGE  GENDER  ACCENTS  REGION COMMENTS \n"
            b"p225  23  F    English    Southern  England\np227  38  M    English    Cumbria\n",
        }
    )  # fmt: skip
    first = index("vctk", "mic1", {"VCTK-Corpus-0.92.zip": archive}, tmp_path)
    assert first["sex"].to_dict() == {"p225_001": "F", "p227_002": "M"}
    assert first["transcript"].to_dict() == {"p225_001": "Please call.", "p227_002": ""}
    second = index("vctk", "mic2", {"VCTK-Corpus-0.92.zip": archive}, tmp_path)
    assert second["path"].str.endswith("p225/p225_001_mic2.flac").all() and len(second) == 1


def test_wham_subsets_match_the_published_split(tmp_path):
    members = {f"wham_noise/{part}/a_{part}.wav": NOISE for part in ("tr", "cv", "tt")}
    archive = {"wham_noise.zip": zip_of({**members, "wham_noise/metadata/x.csv": b"a\n"})}
    table = index("wham", "cv", archive, tmp_path)
    assert table.index.tolist() == ["cv/a_cv"] and table["noise_type"].tolist() == ["wham"]


@pytest.fixture
def common_voice(tmp_path) -> Path:
    folder = tmp_path / "cv-corpus-21.0-2025-03-14/de"
    (folder / "clips").mkdir(parents=True)
    mp3 = io.BytesIO()
    import soundfile

    soundfile.write(mp3, tone_speech(1.5, 32000, 2), 32000, format="MP3")
    heads = "client_id\tpath\tsentence_id\tsentence\tgender\n"
    rows = {
        "train": [("a" * 40, "one", 'Er sagt: "Ja.', "female_feminine")],
        "test": [("b" * 40, "two", "Nein.", ""), ("b" * 40, "three", "Doch.", "male")],
    }
    for part, listed in rows.items():
        lines = [f"{who}\t{name}.mp3\tx\t{said}\t{sex}" for who, name, said, sex in listed]
        (folder / f"{part}.tsv").write_text(heads + "\n".join(lines) + "\n", "utf-8")
        for _, name, _, _ in listed:
            (folder / f"clips/{name}.mp3").write_bytes(mp3.getvalue())
    return folder


def test_common_voice_is_taken_from_the_folder_of_a_language(common_voice, tmp_path):
    index_layout("common_voice", "train", common_voice, tmp_path / "train.csv")
    (row,) = read_table(tmp_path / "train.csv").to_dict("records")
    assert (row["speaker"], row["sex"]) == ("a" * 16, "F")
    assert row["transcript"] == 'Er sagt: "Ja.' and Path(row["path"]).is_file()
    index_layout("common_voice", "test", common_voice, tmp_path / "test.csv")
    table = read_table(tmp_path / "test.csv")
    assert len(set(table["group"])) == 1 and table["duration"].between(1.4, 1.6).all()
    with pytest.raises(UserError, match=r"has no dev.tsv: give the folder of a language"):
        index_layout("common_voice", "dev", common_voice, tmp_path / "dev.csv")


def test_subsets_of_a_local_corpus_can_be_used_for_train_and_test(common_voice):
    def speech(part: str, use: str) -> dict:
        return {"corpus": "common_voice", "path": str(common_voice), "subsets": [part],
                "split": use}  # fmt: skip

    made = plan(set={"data.speech": [speech("train", "train"), speech("test", "test")]})
    stages = [stage for stage in made.indexes.values() if stage.settings["corpus"] != "synthetic"]
    assert sorted(stage.settings["part"] for stage in stages) == ["test", "train"]
    assert len({stage.name for stage in stages}) == 2
    with pytest.raises(UserError, match="takes common_voice train for train and for test"):
        plan(set={"data.speech": [speech("train", "train"), speech("train", "test")]})


def test_subsets_that_share_utterances_cannot_be_used_for_train_and_test(common_voice):
    def tested(trained: dict, test: dict) -> None:
        noise = [{"corpus": "esc50", "folds": [5]}]
        plan(
            set={"data.speech": [{**trained, "split": "train"}],
                 "test_sets": {"test": {"data": {"speech": [test], "noise": noise}}}}
        )  # fmt: skip

    language = {"corpus": "common_voice", "path": str(common_voice)}
    tested({**language, "subsets": ["train"]}, {**language, "subsets": ["test"]})
    with pytest.raises(UserError, match="takes common_voice test, which the variant trains on"):
        tested({**language, "subsets": ["validated"]}, {**language, "subsets": ["test"]})
    with pytest.raises(UserError, match="takes vctk mic2, which the variant trains on"):
        tested({"corpus": "vctk"}, {"corpus": "vctk", "subsets": ["mic2"]})
    with pytest.raises(UserError, match="mic1 and mic2 of vctk are the same utterances: name one"):
        plan(set={"data.speech": [{"corpus": "vctk", "subsets": ["mic1", "mic2"]}]})


def test_a_changed_table_of_a_local_corpus_is_read_again(common_voice):
    source = SourceSettings(corpus="common_voice", path=str(common_voice), subsets=["train"])
    before = listing_of(source)
    assert listing_of(source) == before
    table = common_voice / "train.tsv"
    table.write_text(table.read_text("utf-8").replace("female_feminine", "male_masculine"), "utf-8")
    assert listing_of(source) != before


def test_dns_challenge_is_taken_from_the_folder_of_its_data(tmp_path):
    folder = tmp_path / "datasets_fullband"
    measured = "impulse_responses/SLR28/RIRS_NOISES/real_rirs_isotropic_noises"
    for name, content in {
        "clean_fullband/read_speech/book_00000_chp_0009_reader_06709_0_seg_1.wav": VOICE,
        "clean_fullband/read_speech/book_00001_chp_0002_reader_06709_3_seg_0.wav": VOICE,
        "clean_fullband/vctk_wav48_silence_trimmed/p225_001_mic1.wav": VOICE,
        "clean_fullband/emotional_speech/1001_DFA_ANG.wav": VOICE,
        "noise_fullband/abc.wav": NOISE,
        "impulse_responses/SLR26/simulated_rirs_48k/smallroom/Room001/Room001-00001.wav": RESPONSE,
        "impulse_responses/SLR26/simulated_rirs_48k/smallroom/Room001/Room001-00002.wav": RESPONSE,
        f"{measured}/air_type1_air_binaural_booth_0_0_1.wav": RESPONSE,
        f"{measured}/air_type1_air_phone_lecture1_hhp_1.wav": RESPONSE,
        f"{measured}/RVB2014_type1_rir_largeroom1_near_angla.wav": RESPONSE,
        f"{measured}/RVB2014_type1_rir_largeroom1_far_anglb.wav": RESPONSE,
        f"{measured}/RVB2014_type1_noise_largeroom1_1.wav": NOISE,
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    tables = {}
    for part in ("clean", "noise", "rooms"):
        index_layout("dns_challenge", part, folder, tmp_path / f"{part}.csv")
        tables[part] = read_table(tmp_path / f"{part}.csv")
    assert tables["clean"]["speaker"].value_counts().to_dict() == {
        "read_speech/06709": 2,
        "vctk_wav48_silence_trimmed/p225": 1,
        "emotional_speech/1001_DFA_ANG": 1,
    }
    assert tables["noise"]["noise_type"].tolist() == ["noise"]
    assert tables["rooms"]["group"].value_counts().to_dict() == {
        "SLR26/simulated_rirs_48k/smallroom/Room001": 2,
        "booth": 1,
        "lecture": 1,
        "RVB2014_type1_rir_largeroom1": 2,
    }
    with pytest.raises(UserError, match="has none of clean_fullband, clean"):
        index_layout("dns_challenge", "clean", tmp_path, tmp_path / "x.csv")


@pytest.mark.skipif(
    importlib.util.find_spec("pyroomacoustics") is None, reason="needs pyroomacoustics"
)
def test_larger_simulated_rooms_decay_more_slowly(tmp_path, monkeypatch):
    monkeypatch.setattr(simulated_rooms, "ROOMS", 2)
    first = simulated_rooms.build(tmp_path / "one", "small")
    assert len(first) == 8 and first["group"].nunique() == 2
    import soundfile

    again = simulated_rooms.build(tmp_path / "two", "small")
    decays = []
    for path in first["path"]:
        response, rate = soundfile.read(tmp_path / "one" / path)
        np.testing.assert_array_equal(response, soundfile.read(tmp_path / "two" / path)[0])
        # Schroeder's integral, from -5 to -25 dB, three times as long for 60 dB.
        left = 10 * np.log10(np.cumsum(response[::-1] ** 2)[::-1] / np.sum(response**2))
        decays.append(3 * (np.argmax(left < -25) - np.argmax(left < -5)) / rate)
    assert again["id"].tolist() == first["id"].tolist()
    # Small rooms are asked for 0.15 to 0.5 s; what Sabine's formula gives is not far from it.
    assert 0.1 < min(decays) < max(decays) < 0.7
    large = simulated_rooms.build(tmp_path / "large", "large")
    response, rate = soundfile.read(tmp_path / "large" / large["path"][0])
    left = 10 * np.log10(np.cumsum(response[::-1] ** 2)[::-1] / np.sum(response**2))
    assert 3 * (np.argmax(left < -25) - np.argmax(left < -5)) / rate > max(decays)


@pytest.mark.parametrize(
    ("sources", "said"),
    [
        ({"data.speech": [{"corpus": "musan", "subsets": ["noise"]}]}, "holds noise: name it in"),
        ({"data.noise": [{"corpus": "rirs_noises", "subsets": ["real"]}]},
         "noise names rirs_noises real, which holds impulse responses of rooms: name it in rooms"),
        ({"data.speech": [{"corpus": "air"}]}, "speech names air all, which holds impulse"),
        ({"data.rooms": [{"corpus": "rirs_noises", "subsets": ["pointsource"]}]},
         "rooms names rirs_noises pointsource, which holds no impulse responses"),
        ({"data.speech": [{"corpus": "common_voice", "subsets": ["train"]}]},
         "corpus common_voice needs path: the folder that it was extracted to"),
        ({"data.speech": [{"corpus": "vctk", "path": "here"}]}, "corpus vctk has no setting path"),
        ({"data.noise": [{"corpus": "musan"}]}, "corpus musan needs subsets: some of noise, music"),
    ],
)  # fmt: skip
def test_corpora_of_the_wrong_type_or_options_are_rejected(sources, said):
    with pytest.raises(UserError) as error:
        plan(set=sources)
    assert said in str(error.value)


def test_every_corpus_says_its_licence_and_where_it_comes_from():
    for corpus in CORPORA.values():
        assert corpus.licence and (corpus.homepage or corpus.name in {"folder", "pairs"})
        known = {one for archives in corpus.subsets.values() for one in archives}
        assert all(archive.urls and archive.megabytes for archive in known)
        for part in (*corpus.noise_subsets, *corpus.room_subsets, *corpus.within):
            assert part in corpus.subsets
        if corpus.default_subset:
            assert SourceSettings(corpus=corpus.name).parts() == (corpus.default_subset,)
