"""Every corpus is indexed from its publisher's layout."""

from __future__ import annotations

import math

import pandas as pd
import pytest
from conftest import all_archives, esc50_zip, zip_of

from denoise.core import files
from denoise.core.errors import UserError
from denoise.core.tables import read_table
from denoise.corpora import folder, librispeech, synthetic
from denoise.corpora.indexing import index_subset
from denoise.corpora.registry import find_corpus
from denoise.corpora.sources import SourceSettings


@pytest.fixture(scope="module")
def archives(tmp_path_factory):
    root = tmp_path_factory.mktemp("archives")
    for name, content in all_archives().items():
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_bytes(content)
    return root


def index(corpus: str, subset: str, names: list[str], archives, tmp_path) -> pd.DataFrame:
    target = tmp_path / f"{subset}.csv"
    paths = [archives / corpus / name for name in names]
    index_subset(corpus, subset, paths, target)
    return read_table(target)


def test_librispeech_has_speakers_and_their_sex(archives, tmp_path):
    table = index("librispeech", "dev-clean-2", ["dev-clean-2.tar.gz"], archives, tmp_path)
    assert table.groupby("speaker")["sex"].first().to_dict() == {"21": "F", "22": "M"}
    assert len(table) == 4
    assert table["duration"].between(2.49, 2.51).all()


def test_esc50_index_has_noise_types_and_folds(archives, tmp_path):
    table = index("esc50", "all", ["ESC-50-master.zip"], archives, tmp_path)
    assert sorted(table["noise_type"].unique()) == ["dog", "rain"]
    assert table.groupby("noise_type")["group"].nunique().to_dict() == {"dog": 5, "rain": 5}


def test_esc50_with_a_missing_clip_is_refused(tmp_path):
    import io
    import zipfile

    with zipfile.ZipFile(io.BytesIO(esc50_zip())) as package:
        members = {name: package.read(name) for name in package.namelist()}
    members.pop(next(name for name in members if name.endswith(".wav")))
    (tmp_path / "e.zip").write_bytes(zip_of(members))
    with pytest.raises(UserError, match="1 of 10 clips .* are missing"):
        index_subset("esc50", "all", [tmp_path / "e.zip"], tmp_path / "all.csv")
    assert not (tmp_path / "all").exists() and not (tmp_path / "all.csv").exists()


def test_voicebank_index_has_noise_type_and_snr_from_the_log(archives, tmp_path):
    names = ["clean_testset_wav.zip", "noisy_testset_wav.zip", "logfiles.zip"]
    table = index("voicebank_demand", "test", names, archives, tmp_path)
    assert list(table["snr"]) == [2.5, 5.0, 7.5]
    assert set(table["noise_type"]) == {"cafe"} and set(table["speaker"]) == {"p232"}
    assert all("noisy_testset_wav" in path for path in table["noisy_path"])


def test_voicebank_without_its_log_has_no_noise_types(archives, tmp_path):
    lonely = tmp_path / "lonely"
    lonely.mkdir()
    for name in ("clean_testset_wav.zip", "noisy_testset_wav.zip"):
        (lonely / name).write_bytes((archives / "voicebank_demand" / name).read_bytes())

    (lonely / "logfiles.zip").touch()  # as `corpora.download.obtain` leaves it
    paths = [lonely / name for name in ("clean_testset_wav.zip", "noisy_testset_wav.zip")]
    paths.append(lonely / "logfiles.zip")
    index_subset("voicebank_demand", "test", paths, tmp_path / "test.csv")
    table = read_table(tmp_path / "test.csv")
    assert set(table["noise_type"]) == {""} and all(math.isnan(value) for value in table["snr"])


def test_a_folder_takes_noise_types_from_file_names_without_copying(noise_folder):
    table = folder.build_folder(noise_folder, None)
    assert set(table["noise_type"]) == {"fan"} and table["group"].nunique() == 5
    assert all(path.startswith(str(noise_folder)) for path in table["path"])


def test_speaker_level_takes_the_speaker_from_the_folder_name(noise_folder, tmp_path):
    (tmp_path / "speech").mkdir()
    noise_folder.rename(tmp_path / "speech" / "anna")
    table = folder.build_folder(tmp_path / "speech", 1)
    assert set(table["speaker"]) == {"anna"}
    with pytest.raises(UserError, match="above speaker_level 2"):
        folder.build_folder(tmp_path / "speech", 2)


def test_errors_name_empty_and_missing_folders(tmp_path):
    with pytest.raises(UserError, match="holds no"):
        folder.build_folder(tmp_path, None)
    with pytest.raises(UserError, match="does not exist"):
        folder.build_folder(tmp_path / "nowhere", None)


def test_the_synthetic_corpus_has_all_speakers_and_is_deterministic(tmp_path, monkeypatch):
    speakers = synthetic.SPEAKERS
    assert len(speakers) >= 20 and {sex for sex, *_ in speakers.values()} == {"F", "M"}
    assert len(synthetic.sentences()) >= 200
    monkeypatch.setattr(synthetic, "UTTERANCES", 1)
    digests = []
    for name in ("one", "two"):
        table = synthetic.build(tmp_path / name, "speech")
        assert len(table) == len(speakers)
        digests.append([files.file_digest(tmp_path / name / path) for path in table["path"]])
    assert digests[0] == digests[1]
    assert len(set(digests[0])) == len(speakers)


def test_synthetic_noise_has_all_noise_types_of_the_presets(tmp_path, monkeypatch):
    monkeypatch.setattr(synthetic, "RECORDINGS", 1)
    table = synthetic.build(tmp_path, "noise")
    wanted = {"rain", "thunder", "wind", "clock", "alarm", "bells", "footsteps", "saw", "vacuum",
              "insects", "engine", "babble", "hum", "white", "pink"}  # fmt: skip
    assert set(table["noise_type"]) == wanted


def test_unknown_corpora_and_subsets_suggest_known_names():
    with pytest.raises(UserError, match="did you mean 'librispeech'.*esc50"):
        find_corpus("librispech")
    with pytest.raises(ValueError, match="did you mean 'dev-clean'.*train-clean-100"):
        SourceSettings(corpus="librispeech", subsets=("dev-cleen",))


def test_speakers_txt_with_a_bar_in_a_name(tmp_path):
    (tmp_path / "S.TXT").write_text("; comment\n7 | F | x | 1 | A | B\n")
    assert librispeech.read_speakers(tmp_path / "S.TXT") == {"7": "F"}
