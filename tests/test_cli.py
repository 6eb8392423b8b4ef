"""The `denoise` command: real files in, real files out, and one clear line on bad input."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
from conftest import hiss, tone_speech
from made import model_card, write_record

from denoise import api, cli
from denoise.core.errors import UserError
from denoise.enhancement.enhancer import Enhancer
from denoise.features.settings import FeatureSettings
from denoise.networks.card import ModelFolder, write_card
from denoise.networks.export import write_onnx
from denoise.networks.registry import build_network
from denoise.networks.unet import UNetSettings


@pytest.fixture(scope="module")
def workspace(tmp_path_factory) -> Path:
    """A folder with one tiny model in the workflow's layout, which predicts next to no noise."""
    root = tmp_path_factory.mktemp("workspace")
    folder = root / "results" / "models" / "tiny" / "seed0"
    folder.mkdir(parents=True)
    settings = UNetSettings(filters=(2, 4), dropout=0)
    network = build_network(settings, (32, 32, 1))
    # As it is drawn, some processes would get one that makes recordings louder.
    network.set_weights([0.01 * weight for weight in network.get_weights()])
    network.save(folder / "model.keras")
    features = FeatureSettings(stft={"n_fft": 63, "hop": 31}).model_dump()
    card = model_card(name="tiny", features=features, parameters=300, network=settings)
    write_card(folder / "card.json", card)
    write_onnx(ModelFolder(folder))
    write_record(root, "tried", {"tiny": folder.relative_to(root)}, ("t",))
    shutil.copytree(folder, root / "ready" / "best")
    return root


@pytest.fixture
def inside(workspace, monkeypatch):
    monkeypatch.chdir(workspace)
    monkeypatch.setattr(api, "bundled", lambda name: workspace / "ready")
    return workspace


def run(*arguments: object) -> None:
    cli.main([str(argument) for argument in arguments])


def fails(capsys, *arguments: object) -> str:
    """The one line that a failing command prints."""
    with pytest.raises(SystemExit) as ended:
        run(*arguments)
    assert ended.value.code == 1
    lines = capsys.readouterr().err.strip().splitlines()
    assert lines[-1].startswith("error: ") and "Traceback" not in "".join(lines)
    return lines[-1]


FORMATS = [("wav", 44100, 2), ("flac", 16000, 1), ("ogg", 48000, 1), ("mp3", 22050, 2)]


@pytest.mark.parametrize(("suffix", "rate", "channels"), FORMATS)
def test_enhance_keeps_format_rate_channels_and_length(inside, tmp_path, suffix, rate, channels):
    wave = np.stack([tone_speech(1.3, rate, c) for c in range(channels)], axis=1)
    source = tmp_path / f"my noisy.{suffix}"
    soundfile.write(source, wave, rate)
    run("enhance", source)
    result = soundfile.info(str(tmp_path / f"my noisy.enhanced.{suffix}"))
    original = soundfile.info(str(source))
    assert (result.samplerate, result.channels) == (original.samplerate, original.channels)
    tolerance = 0 if suffix in {"wav", "flac"} else 4000
    assert abs(result.frames - original.frames) <= tolerance


def test_enhance_accepts_folders_and_plots(inside, tmp_path):
    (tmp_path / "in" / "deep").mkdir(parents=True)
    for name in ("a.wav", "deep/b.wav"):
        soundfile.write(tmp_path / "in" / name, tone_speech(1, 8000, 1), 8000)
    run("enhance", tmp_path / "in", "-o", tmp_path / "out", "--model", "tiny", "--plot")
    made = sorted(
        p.relative_to(tmp_path / "out").as_posix() for p in (tmp_path / "out").rglob("*.*")
    )
    assert made == ["a.png", "a.wav", "deep/b.png", "deep/b.wav"]


def test_enhance_never_overwrites_without_force(inside, tmp_path, capsys):
    source, target = tmp_path / "a.wav", tmp_path / "b.wav"
    soundfile.write(source, tone_speech(1, 8000, 1), 8000)
    target.write_bytes(b"precious")
    assert "--force" in fails(capsys, "enhance", source, "-o", target)
    assert target.read_bytes() == b"precious"
    run("enhance", source, "-o", target, "--force")
    assert soundfile.info(str(target)).frames == 8000


def test_enhance_never_writes_two_inputs_to_one_output(inside, tmp_path, capsys):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        soundfile.write(tmp_path / folder / "x.wav", tone_speech(1, 8000, 1), 8000)
    told = fails(
        capsys, "enhance", tmp_path / "a/x.wav", tmp_path / "b/x.wav", "-o", tmp_path / "out"
    )
    assert "would both be written to" in told and not (tmp_path / "out").exists()


def test_enhance_keeps_the_sample_format_and_accepts_the_current_folder(
    inside, tmp_path, monkeypatch
):
    (tmp_path / "here").mkdir()
    soundfile.write(tmp_path / "here/a.wav", tone_speech(1, 8000, 1), 8000, subtype="PCM_24")
    monkeypatch.chdir(tmp_path / "here")
    run("enhance", ".", "--model", inside / "results/models/tiny/seed0")
    assert soundfile.info(str(tmp_path / "here.enhanced/a.wav")).subtype == "PCM_24"


def test_a_sample_rate_the_output_format_cannot_store_is_an_error(inside, tmp_path, capsys):
    soundfile.write(tmp_path / "a.wav", np.zeros((9600, 1)) + 0.1, 96000)
    assert "1 of 1 files" in fails(
        capsys, "enhance", tmp_path / "a.wav", "-o", tmp_path / "a.mp3", "--model", "tiny"
    )
    assert not list(tmp_path.glob("*.mp3"))


def test_an_output_of_an_unknown_format_is_refused(inside, tmp_path, capsys):
    soundfile.write(tmp_path / "a.wav", tone_speech(1, 8000, 1), 8000)
    said = fails(capsys, "enhance", tmp_path / "a.wav", "-o", tmp_path / "out.xyz")
    assert "'.xyz' is no format that can be written: give a wav" in said
    assert not (tmp_path / "out.xyz").exists()


def test_clipping_is_reported(inside, tmp_path, capsys, monkeypatch):
    from denoise.enhancement.enhancer import Enhancer

    soundfile.write(tmp_path / "a.wav", tone_speech(1, 8000, 1), 8000)
    for factor, told in ((1, False), (100, True)):
        monkeypatch.setattr(
            Enhancer,
            "enhance_blocks",
            lambda self, noisy, *rest, by=factor: (by * n for n in noisy),
        )
        run("enhance", tmp_path / "a.wav", "--force")
        assert ("beyond full scale and are clipped" in capsys.readouterr().err) == told


def test_an_error_names_an_invalid_model_card(inside, tmp_path, capsys):
    shutil.copytree(inside / "results/models/tiny/seed0", tmp_path / "model")
    (tmp_path / "model/card.json").write_text('{"variant": "x"}')
    soundfile.write(tmp_path / "a.wav", tone_speech(1, 8000, 1), 8000)
    told = fails(capsys, "enhance", tmp_path / "a.wav", "--model", tmp_path / "model")
    assert "card.json is not a model card" in told


@pytest.mark.parametrize("text", ["", "[]", '{"variant": "x", "rate": 0}', "\xff"])
def test_a_damaged_card_or_model_gives_a_one_line_error(inside, tmp_path, capsys, text):
    shutil.copytree(inside / "results/models/tiny/seed0", tmp_path / "model")
    soundfile.write(tmp_path / "a.wav", tone_speech(1, 8000, 1), 8000)
    (tmp_path / "model/card.json").write_bytes(text.encode("latin-1"))
    for verb in (("enhance", tmp_path / "a.wav", "--model"), ("export", "--format", "litert")):
        told = fails(capsys, *verb, tmp_path / "model")
        assert "card.json is not a model card" in told
    shutil.copy(inside / "results/models/tiny/seed0/card.json", tmp_path / "model")
    for runtime, name, said in (
        ("keras", "model.keras", "model.keras cannot be loaded"),
        (
            "onnx",
            "model.onnx",
            "card.json is the card of another model.onnx, or one of the two was",
        ),
    ):
        content = bytearray((tmp_path / "model" / name).read_bytes())
        part = slice(len(content) // 2, len(content) // 2 + 200)
        content[part] = bytes(value ^ 255 for value in content[part])
        (tmp_path / "model" / name).write_bytes(content)
        told = fails(
            capsys, "enhance", tmp_path / "a.wav", "--model", tmp_path / "model", "--runtime",
            runtime,
        )  # fmt: skip
        assert said in told


@pytest.mark.parametrize("text", ["", "id,si_sdr\n1,2\n", "split,si_sdr\n"])
def test_an_invalid_score_table_does_not_hide_the_model(inside, tmp_path, capsys, text):
    place = inside / "results/scores/tiny/seed0"
    place.mkdir(parents=True, exist_ok=True)
    (place / "t.csv").write_text(text)
    soundfile.write(tmp_path / "a.wav", tone_speech(1, 8000, 1), 8000)
    try:
        run("models")
        said = capsys.readouterr()
        assert "t.csv is no table of scores" in said.err and "tiny" in said.out
        run("enhance", tmp_path / "a.wav", "--model", "tiny")
    finally:
        shutil.rmtree(inside / "results/scores")


def test_unreadable_inputs_and_unwritable_outputs_fail_before_processing(inside, tmp_path, capsys):
    soundfile.write(tmp_path / "a.wav", tone_speech(1, 8000, 1), 8000)
    (tmp_path / "out/a.wav").mkdir(parents=True)
    os.mkfifo(tmp_path / "pipe.wav")
    (tmp_path / "plain").write_text("")
    told = fails(capsys, "enhance", tmp_path / "a.wav", "-o", tmp_path / "out", "--force")
    assert "out/a.wav is a folder" in told
    assert "is not a regular file" in fails(capsys, "enhance", tmp_path / "pipe.wav")
    assert "too long" in fails(capsys, "enhance", tmp_path / f"{'x' * 300}.wav")
    score = ("score", "--clean", tmp_path, "--enhanced", tmp_path, "-o")
    assert "is a folder" in fails(capsys, *score, tmp_path / "out", "--force")
    assert "plain" in fails(capsys, *score, tmp_path / "plain/s.csv")


def test_enhance_names_invalid_inputs_and_arguments(inside, tmp_path, capsys):
    broken = tmp_path / "broken.wav"
    broken.write_text("this is no audio")
    assert "broken.wav cannot be read as audio" in fails(capsys, "enhance", broken)
    assert "nowhere.wav does not exist" in fails(capsys, "enhance", tmp_path / "nowhere.wav")
    soundfile.write(tmp_path / "ok.wav", tone_speech(1, 8000, 1), 8000)
    told = fails(capsys, "enhance", tmp_path / "ok.wav", "--model", "tini")
    assert "did you mean 'tiny'" in told
    assert "between 0 and 0.9" in fails(capsys, "enhance", tmp_path / "ok.wav", "--overlap", "2")
    (tmp_path / "empty").mkdir()
    assert "holds no" in fails(capsys, "enhance", tmp_path / "empty")
    assert not list(tmp_path.glob("*enhanced*"))


def test_enhance_names_undecodable_files_of_a_folder_and_does_the_rest(inside, tmp_path, capsys):
    folder = tmp_path / "in"
    folder.mkdir()
    for name in ("a", "c"):
        soundfile.write(folder / f"{name}.wav", tone_speech(1, 8000, 1), 8000)
    (folder / "b.wav").write_text("this is no audio")
    with pytest.raises(SystemExit):
        run("enhance", folder)
    told = capsys.readouterr().err
    assert "error: 1 of 3 files could not be enhanced" in told
    assert "in/b.wav cannot be read as audio" in told
    made = sorted(path.name for path in (tmp_path / "in.enhanced").iterdir())
    assert made == ["a.wav", "c.wav"]
    for name in ("a", "c"):
        (folder / f"{name}.wav").write_text("no audio either")
    assert "none of 3 files can be read as audio" in fails(capsys, "enhance", folder, "--force")


def test_skip_existing_skips_recordings_with_an_output(inside, tmp_path, capsys):
    folder = tmp_path / "in"
    folder.mkdir()
    for name in ("a", "b"):
        soundfile.write(folder / f"{name}.wav", tone_speech(1, 8000, 1), 8000)
    (tmp_path / "in.enhanced").mkdir()
    run("enhance", folder / "a.wav", "-o", tmp_path / "in.enhanced", "--overlap", 0.25)
    before = (tmp_path / "in.enhanced/a.wav").stat().st_mtime_ns
    assert "--skip-existing" in fails(capsys, "enhance", folder)
    run("enhance", folder, "--skip-existing")
    assert "1 of 2 outputs exist" in capsys.readouterr().err
    assert (tmp_path / "in.enhanced/b.wav").is_file()
    assert (tmp_path / "in.enhanced/a.wav").stat().st_mtime_ns == before


def test_a_repeated_command_makes_only_the_missing_outputs(inside, tmp_path, capsys):
    folder, out = tmp_path / "in", tmp_path / "in.enhanced"
    folder.mkdir()
    for name in ("a.wav", "b.flac", "c.ogg", "d.mp3"):
        soundfile.write(folder / name, tone_speech(1, 8000, 1), 8000)
    run("enhance", folder, "--plot")
    (out / "b.flac").unlink()
    (out / "c.png").unlink()
    before = {path.name: path.stat().st_mtime_ns for path in out.iterdir()}
    sound = (out / "d.mp3").read_bytes()
    (out / "b.png").write_bytes(b"mine")
    assert "b.png exists already" in fails(capsys, "enhance", folder, "--plot")
    (out / "b.png").unlink()
    run("enhance", folder, "--plot", "--json")
    said = capsys.readouterr()
    assert "2 of 4 outputs exist already, made from the same recordings" in said.err
    told = {Path(row["input"]).name: row["made_before"] for row in json.loads(said.out)}
    assert told == {"a.wav": True, "b.flac": False, "c.ogg": False, "d.mp3": True}
    assert {path.name for path in out.iterdir()} == before.keys() | {"b.flac", "c.png"}
    kept = ("a.wav", "a.png", "c.ogg", "d.mp3", "d.png")
    assert {name: (out / name).stat().st_mtime_ns for name in kept} == {
        name: before[name] for name in kept
    }
    assert (out / "d.mp3").read_bytes() == sound
    run("enhance", folder)
    assert "4 of 4 outputs exist already" in capsys.readouterr().err


def test_outputs_of_other_inputs_or_options_are_not_reused(inside, tmp_path, capsys):
    source, out = tmp_path / "a.wav", tmp_path / "a.enhanced.wav"
    soundfile.write(source, tone_speech(1, 8000, 1), 8000)
    run("enhance", source)
    sound = out.read_bytes()
    told = fails(capsys, "enhance", source, "--overlap", 0.25)
    assert "a.enhanced.wav exists already and was not made from this recording" in told
    soundfile.write(source, tone_speech(1, 8000, 2), 8000)  # of the same length
    assert "exists already" in fails(capsys, "enhance", source)
    shutil.copy(source, out)
    assert "exists already" in fails(capsys, "enhance", source)
    run("enhance", source, "--force")
    assert out.read_bytes() not in (sound, source.read_bytes())


def test_truncated_outputs_are_not_reused(inside, tmp_path, capsys):
    for name in ("a.wav", "a.flac", "a.ogg"):
        source = tmp_path / name
        soundfile.write(source, tone_speech(2, 8000, 1), 8000)
        out = tmp_path / f"a.enhanced{source.suffix}"
        run("enhance", source)
        whole = out.read_bytes()
        out.write_bytes(whole[: len(whole) * 3 // 4])
        assert "exists already" in fails(capsys, "enhance", source), name
        run("enhance", source, "--force")
        assert len(out.read_bytes()) == len(whole)


def test_outputs_next_to_the_inputs_are_not_enhanced_again(inside, tmp_path, capsys):
    for name in ("in/a.wav", "in/sub/b.wav"):
        (tmp_path / name).parent.mkdir()
        soundfile.write(tmp_path / name, tone_speech(1, 8000, len(name)), 8000)
    for _ in range(2):
        run("enhance", tmp_path / "in" / "*.wav")
        run("enhance", tmp_path / "in", "-o", tmp_path / "in/out")
    said = capsys.readouterr().err
    assert "1 of the inputs are outputs of this command: left out" in said
    assert sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.wav")) == [
        "in/a.enhanced.wav", "in/a.wav", "in/out/a.wav", "in/out/sub/b.wav", "in/sub/b.wav",
    ]  # fmt: skip


def test_a_broken_link_in_a_folder_is_an_error(inside, tmp_path, capsys):
    folder = tmp_path / "in"
    folder.mkdir()
    soundfile.write(folder / "a.wav", tone_speech(1, 8000, 1), 8000)
    (folder / "gone.wav").symlink_to(tmp_path / "nowhere.wav")
    with pytest.raises(SystemExit):
        run("enhance", folder)
    said = capsys.readouterr().err
    assert "gone.wav cannot be read: No such file or directory" in said
    assert "1 of 2 files could not be enhanced" in said
    assert (tmp_path / "in.enhanced/a.wav").is_file()
    (tmp_path / "link.wav").symlink_to("nowhere/x.wav")
    told = fails(capsys, "enhance", folder / "a.wav", "-o", tmp_path / "link.wav")
    assert "link.wav exists already" in told


def test_score_never_overwrites_a_recording(inside, tmp_path, capsys):
    for folder in ("clean", "enhanced"):
        (tmp_path / folder).mkdir()
        soundfile.write(tmp_path / folder / "a.wav", tone_speech(1, 8000, 1), 8000)
    sound = (tmp_path / "clean/a.wav").read_bytes()
    told = fails(capsys, "score", "--clean", tmp_path / "clean", "--enhanced",
                 tmp_path / "enhanced", "-o", tmp_path / "clean/a.wav", "--force")  # fmt: skip
    assert "clean/a.wav must end in .csv" in told
    assert (tmp_path / "clean/a.wav").read_bytes() == sound


def test_recordings_with_too_low_a_sample_rate_are_not_scored(inside, tmp_path, capsys):
    noise = 0.1 * hiss(1, 8000, 1)[:2000]
    for folder, wave in (("clean", noise), ("enhanced", noise[::-1])):
        (tmp_path / folder).mkdir()
        soundfile.write(tmp_path / folder / "a.wav", wave, 2)
    told = fails(capsys, "score", "--clean", tmp_path / "clean", "--enhanced",
                 tmp_path / "enhanced", "-o", tmp_path / "s.csv", "--jobs", 1)  # fmt: skip
    assert "rows could not be scored at all" in told
    (status,) = pd.read_csv(tmp_path / "s.csv")["status"]
    assert status == "has 2 Hz: speech is scored from 4000 Hz on"


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda path: path.write_text("[" * 200_000), "is nested too deeply"),
        (lambda path: os.mkfifo(path), "is not a file"),
        (lambda path: (path.touch(), os.truncate(path, 1 << 30)), "has 1,074 MB, which"),
    ],
)
def test_an_oversized_or_irregular_card_file_is_rejected(inside, tmp_path, capsys, make, said):
    shutil.copytree("results/models/tiny/seed0", tmp_path / "model")
    (tmp_path / "model/card.json").unlink()
    make(tmp_path / "model/card.json")
    soundfile.write(tmp_path / "a.wav", tone_speech(1, 8000, 1), 8000)
    told = fails(capsys, "enhance", tmp_path / "a.wav", "--model", tmp_path / "model")
    assert "card.json is not a model card" in told and said in told


@pytest.mark.parametrize("closed", ["2>&-", ">&- 2>&-", "<&- 2>&-"])
def test_enhance_works_with_closed_standard_streams(workspace, tmp_path, closed):
    soundfile.write(tmp_path / "a.wav", tone_speech(1, 8000, 1), 8000)
    model = workspace / "results/models/tiny/seed0"
    command = f"{sys.executable} -m denoise.cli enhance a.wav --model {model} {closed}"
    assert subprocess.run([command], shell=True, cwd=tmp_path).returncode == 0
    assert soundfile.info(str(tmp_path / "a.enhanced.wav")).frames == 8000


def test_an_error_names_a_backend_that_is_not_installed(inside, tmp_path, capsys, monkeypatch):
    soundfile.write(tmp_path / "a.wav", tone_speech(1, 8000, 1), 8000)
    monkeypatch.setenv("KERAS_BACKEND", "nonsense")
    told = fails(capsys, "enhance", tmp_path / "a.wav", "--runtime", "keras")
    assert "KERAS_BACKEND is 'nonsense', which is not installed: unset it" in told


def test_enhance_keeps_tags_and_adds_a_comment_on_the_processing(inside, tmp_path):
    source = tmp_path / "a.flac"
    with soundfile.SoundFile(source, "w", 8000, 1) as file:
        file.title, file.comment = "Über allem", "Take 3"
        file.write(tone_speech(1, 8000, 1))
    run("enhance", source)
    with soundfile.SoundFile(tmp_path / "a.enhanced.flac") as file:
        assert file.title == "Über allem"
        assert re.fullmatch(
            r"Take 3 \| enhanced by denoise [\d.]+, model tiny \([0-9a-f]{16}\)", file.comment
        )


def test_a_file_created_during_enhancement_is_not_overwritten(
    inside, tmp_path, capsys, monkeypatch
):
    source, out = tmp_path / "a.wav", tmp_path / "a.enhanced.wav"
    soundfile.write(source, tone_speech(1, 8000, 1), 8000)
    whole = Enhancer.enhance_blocks

    def beside(self, blocks, rate, channels):
        yield from whole(self, blocks, rate, channels)
        made_beside()

    monkeypatch.setattr(Enhancer, "enhance_blocks", beside)
    made_beside = lambda: out.write_bytes(b"mine")  # noqa: E731
    told = fails(capsys, "enhance", source)
    assert told == "error: 1 of 1 files could not be enhanced"
    assert out.read_bytes() == b"mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.enhanced.wav", "a.wav"]
    out.unlink()
    monkeypatch.setattr(Enhancer, "enhance_blocks", whole)
    run("enhance", source, "-o", tmp_path / "same.wav")
    monkeypatch.setattr(Enhancer, "enhance_blocks", beside)
    # The same command beside this one made the same: that is no error.
    made_beside = lambda: shutil.copy(tmp_path / "same.wav", out)  # noqa: E731
    run("enhance", source)
    assert out.read_bytes() == (tmp_path / "same.wav").read_bytes()


def test_files_with_unusual_names_are_enhanced_and_scored(inside, tmp_path, capsys):
    folder = tmp_path / "in"
    folder.mkdir()
    names = [os.fsdecode(b"caf\xe9.wav"), "\x1b[31mred.wav", "new\nline.wav", "plain.wav"]
    for name in names:
        with (folder / name).open("wb") as file:
            soundfile.write(file, tone_speech(1, 8000, 1), 8000, format="WAV")
    run("enhance", folder, "--json")
    said = capsys.readouterr()
    assert {Path(row["input"]).name for row in json.loads(said.out)} == set(names)
    assert "\x1b[31m" not in said.out + said.err
    assert {path.name for path in (tmp_path / "in.enhanced").iterdir()} == set(names)
    run("score", "--clean", folder, "--enhanced", tmp_path / "in.enhanced", "-o",
        tmp_path / "s.csv", "--jobs", 1)  # fmt: skip
    assert pd.read_csv(tmp_path / "s.csv")["file"].tolist() == sorted(
        [r"caf\xe9", "\x1b[31mred", "new\nline", "plain"]
    )


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("/proc/x.wav", "/proc/x.wav: No such file or directory"),
        ("/sys/x.wav", "/sys/x.wav: "),
    ],
)
def test_write_errors_state_their_cause(inside, tmp_path, capsys, place, said):
    soundfile.write(tmp_path / "a.wav", tone_speech(1, 8000, 1), 8000)
    with pytest.raises(SystemExit):
        run("enhance", tmp_path / "a.wav", "-o", place)
    assert f"error: {tmp_path / 'a.wav'}: {said}" in capsys.readouterr().err
    told = fails(capsys, "enhance", tmp_path / "a.wav", "-o", tmp_path / "a.wav" / "x.wav")
    assert "a.wav is not a folder: give another -o" in told


def test_enhance_reports_skipped_outputs_and_unsupported_formats(inside, tmp_path, capsys):
    folder = tmp_path / "in"
    folder.mkdir()
    for name in ("a", "a.enhanced", "b.enhanced"):
        soundfile.write(folder / f"{name}.wav", tone_speech(1, 8000, 1), 8000)
    soundfile.write(folder / "c.aiff", tone_speech(1, 8000, 1), 8000)
    run("enhance", folder)
    said = capsys.readouterr().err
    assert "1 files made by this command are left out" in said and "c.aiff" in said
    made = sorted(path.name for path in (tmp_path / "in.enhanced").iterdir())
    assert made == ["a.wav", "b.enhanced.wav"]
    told = fails(capsys, "enhance", folder / "a.wav", folder / "c.aiff", "-o", tmp_path / "x.wav")
    assert "x.wav is one file: give a folder for 2 inputs" in told


def test_floating_point_samples_beyond_full_scale_are_kept(inside, tmp_path, capsys, monkeypatch):
    from denoise.enhancement.enhancer import Enhancer

    monkeypatch.setattr(
        Enhancer, "enhance_blocks", lambda self, noisy, *rest: (20 * block for block in noisy)
    )
    soundfile.write(tmp_path / "a.wav", tone_speech(1, 8000, 1), 8000, subtype="FLOAT")
    run("enhance", tmp_path / "a.wav")
    assert "clipped" not in capsys.readouterr().err
    before, after = (soundfile.read(tmp_path / name)[0] for name in ("a.wav", "a.enhanced.wav"))
    np.testing.assert_allclose(after, 20 * before, atol=1e-5)
    assert np.abs(after).max() > 1


def test_an_interrupted_command_prints_one_line(inside, tmp_path, capsys, monkeypatch):
    from denoise.enhancement.enhancer import Enhancer

    def interrupted(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Enhancer, "enhance_blocks", interrupted)
    soundfile.write(tmp_path / "a.wav", tone_speech(1, 8000, 1), 8000)
    with pytest.raises(SystemExit) as ended:
        run("enhance", tmp_path / "a.wav")
    assert ended.value.code == 130
    assert capsys.readouterr().err.strip().splitlines()[-1].startswith("interrupted")


def test_a_folder_without_a_model_does_not_hide_a_model_of_that_name(inside, tmp_path, capsys):
    soundfile.write(tmp_path / "a.wav", tone_speech(1, 8000, 1), 8000)
    Path("tiny").mkdir()
    Path("other").mkdir()
    try:
        run("enhance", tmp_path / "a.wav", "--model", "tiny")
        told = fails(capsys, "enhance", tmp_path / "a.wav", "--model", "other", "--force")
        assert "other is not a model: it has no model.onnx or model.keras" in told
    finally:
        Path("tiny").rmdir()
        Path("other").rmdir()


def test_score_prints_and_saves_a_table(inside, tmp_path, capsys):
    for number in range(3):
        clean = tone_speech(2, 16000, number)
        for folder, gain in (("clean", 0), ("enhanced", 0.05), ("noisy", 0.3)):
            (tmp_path / folder).mkdir(exist_ok=True)
            wave = clean + gain * hiss(2, 16000, number)
            soundfile.write(tmp_path / folder / f"{number}.wav", wave, 16000)
    soundfile.write(tmp_path / "enhanced" / "2.wav", np.zeros(32000), 16000)
    run("score", "--clean", tmp_path / "clean", "--enhanced", tmp_path / "enhanced",
        "--noisy", tmp_path / "noisy", "-o", tmp_path / "t.csv", "--jobs", 1)  # fmt: skip
    table = pd.read_csv(tmp_path / "t.csv").set_index(["method", "file"])
    assert table.loc[("enhanced", 0), "si_sdr"] > table.loc[("noisy", 0), "si_sdr"] + 10
    assert "silent estimate" in table.loc[("enhanced", 2), "status"]
    shown = capsys.readouterr().out
    assert "pesq_wb" in shown and "failed" in shown
    # A file without a value in one row is left out of the mean of both.
    printed = {line.split()[0]: line.split() for line in shown.splitlines()[1:]}
    place = shown.splitlines()[0].split().index("si_sdr") + 1
    for method in ("enhanced", "noisy"):
        mean = table.loc[[(method, 0), (method, 1)], "si_sdr"].mean()
        assert float(printed[method][place]) == pytest.approx(mean, abs=6e-4)


def test_a_file_that_could_not_be_scored_is_an_error(inside, tmp_path, capsys):
    for folder, seconds in (("clean", (1, 1)), ("enhanced", (1, 2))):
        (tmp_path / folder).mkdir()
        for number, length in enumerate(seconds):
            wave = tone_speech(length, 8000, number) + 0.01 * hiss(length, 8000, len(folder))
            soundfile.write(tmp_path / folder / f"{number}.wav", wave, 8000)
    told = fails(capsys, "score", "--clean", tmp_path / "clean", "--enhanced",
                 tmp_path / "enhanced", "-o", tmp_path / "t.csv", "--jobs", 1)  # fmt: skip
    assert told == "error: 1 of 2 rows could not be scored at all"
    assert len(pd.read_csv(tmp_path / "t.csv")) == 2


def test_only_files_that_all_folders_have_are_scored(inside, tmp_path, caplog):
    for folder, count in (("clean", 3), ("enhanced", 2), ("noisy", 3)):
        (tmp_path / folder).mkdir()
        for number in range(count):
            wave = tone_speech(1, 8000, number) + 0.01 * hiss(1, 8000, len(folder))
            soundfile.write(tmp_path / folder / f"{number}.wav", wave, 8000)
    run("score", "--clean", tmp_path / "clean", "--enhanced", tmp_path / "enhanced",
        "--noisy", tmp_path / "noisy", "-o", tmp_path / "t.csv", "--jobs", 1)  # fmt: skip
    table = pd.read_csv(tmp_path / "t.csv")
    assert table.groupby("method")["file"].apply(list).to_dict() == {
        "enhanced": [0, 1], "noisy": [0, 1],
    }  # fmt: skip
    assert "1 of the file names do not occur in all" in caplog.text


def test_score_needs_common_names(inside, tmp_path, capsys):
    for folder, name in (("clean", "a"), ("enhanced", "b")):
        (tmp_path / folder).mkdir()
        soundfile.write(tmp_path / folder / f"{name}.wav", tone_speech(1, 8000, 1), 8000)
    told = fails(
        capsys, "score", "--clean", tmp_path / "clean", "--enhanced", tmp_path / "enhanced"
    )
    assert "must have the same name" in told


def test_models_lists_trained_models(inside, capsys):
    run("models")
    assert "tiny" in capsys.readouterr().out


def ready_card(folder: Path, name: str) -> Path:
    """A model folder; what is in the network is not looked at."""
    write_card(folder / name / "card.json", model_card(name=name, rate=16000, parameters=1234))
    (folder / name / "model.keras").touch()
    return folder / name


def test_best_is_the_bundled_model_unless_a_trained_best_is_recorded(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(api, "bundled", lambda name: tmp_path / "ready")
    ready = ready_card(tmp_path / "ready", "best")
    assert api.find_model("best") == ready
    assert api.find_model(str(ready)) == ready
    own = ready_card(tmp_path / "results/models/unet-1", "seed0").relative_to(tmp_path)
    write_record(tmp_path, "mine", {"best": own})
    assert api.find_model("best") == own
    with pytest.raises(UserError, match=r"no model 'bist' .did you mean 'best'\?.: there are best"):
        api.find_model("bist")


def test_models_lists_bundled_models_before_any_training(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(api, "bundled", lambda name: tmp_path / "ready")
    ready_card(tmp_path / "ready", "stream")
    run("models")
    shown = capsys.readouterr().out
    assert "stream: ready to use, 16000 Hz, 1,234 parameters" in shown
    assert "no model is trained in this folder yet: type `denoise run`" in shown


def test_a_recording_is_never_replaced_by_its_own_output(workspace, capsys):
    path = workspace / "own.wav"
    soundfile.write(path, np.zeros(8000), 8000)
    before = path.read_bytes()
    said = fails(capsys, "enhance", path, "-o", path, "--force")
    assert said == f"error: {path} is the recording itself: give another -o"
    assert path.read_bytes() == before


@pytest.mark.parametrize("verb", cli.VERBS)
def test_the_help_of_every_command_ends_with_valid_examples(verb, capsys):
    try:
        run(verb, "--help")
    except SystemExit as ended:
        assert ended.code == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"usage: denoise {verb}")
    examples = shown[shown.index("examples:") :].splitlines()[1:]
    assert len(examples) >= 2
    known = cli.parser(verb)
    for line in examples:
        command = line[line.index("denoise ") :].split(" | ")[0].split(" > ")[0]
        assert known.parse_args(shlex.split(command)[1:]).verb == verb


def test_the_help_lists_every_verb(capsys):
    with pytest.raises(SystemExit) as ended:
        run("--help")
    shown = capsys.readouterr().out
    assert ended.value.code == 0 and all(f"    {verb} " in shown for verb in cli.VERBS)


def test_where_prints_the_report_of_the_configured_study_first(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for number, name in enumerate(("mine", "newer")):
        report = tmp_path / "reports" / name / "report.html"
        report.parent.mkdir(parents=True)
        report.touch()
        os.utime(report, (number, number))
    run("where")
    assert "reports/newer/report.html" in capsys.readouterr().out
    (tmp_path / "config.yaml").write_text("preset: presets/mine.yaml\n")
    run("where")
    assert "reports/mine/report.html" in capsys.readouterr().out
    (tmp_path / "config.yaml").write_text("just a text")
    assert "config.yaml must hold keys with values" in fails(capsys, "where")


def test_export_never_overwrites_a_folder_it_did_not_make(inside, tmp_path, capsys):
    (tmp_path / "victim" / "thesis").mkdir(parents=True)
    (tmp_path / "victim" / "thesis" / "a.txt").write_text("x")
    export = ("export", "tiny", "--format", "savedmodel", "--force", "-o")
    assert "did not make" in fails(capsys, *export, tmp_path / "victim")
    assert (tmp_path / "victim" / "thesis" / "a.txt").read_text() == "x"
    for _ in range(2):  # the second replaces the first
        run(*export, tmp_path / "made")
    assert (tmp_path / "made" / "saved_model.pb").is_file()


def test_an_output_must_not_overwrite_another_input(inside, tmp_path, capsys):
    for name, seed in (("a.wav", 1), ("a.enhanced.wav", 2)):
        soundfile.write(tmp_path / name, tone_speech(1, 8000, seed), 8000)
    before = (tmp_path / "a.enhanced.wav").read_bytes()
    inputs = [tmp_path / "a.wav", tmp_path / "a.enhanced.wav"]
    assert "is the input" in fails(capsys, "enhance", *inputs, "--force")
    assert (tmp_path / "a.enhanced.wav").read_bytes() == before
    (tmp_path / "link.wav").hardlink_to(tmp_path / "a.enhanced.wav")
    told = fails(capsys, "enhance", inputs[0], tmp_path / "link.wav", "--force")
    assert "a.enhanced.wav is the input" in told


@pytest.mark.parametrize("arguments", [("--model", ""), ("--model=",), ("",)])
def test_empty_values_are_refused(inside, tmp_path, capsys, arguments):
    soundfile.write(tmp_path / "a.wav", tone_speech(1, 8000, 1), 8000)
    assert "is empty" in fails(capsys, "enhance", tmp_path / "a.wav", *arguments)
    assert not (tmp_path / "a.enhanced.wav").exists()


@pytest.mark.parametrize(
    ("weights", "said"),
    [
        (float("nan"), "the network gives values that are not finite"),
        (-20.0, "dB louder, more than 6 dB"),
    ],
)
def test_invalid_network_output_is_not_written(inside, tmp_path, capsys, weights, said):
    settings = UNetSettings(filters=(2, 4), dropout=0)
    network = build_network(settings, (32, 32, 1))
    *kept, bias = network.get_weights()
    network.set_weights([*kept, np.full_like(bias, weights)])
    shutil.copytree(inside / "ready" / "best", tmp_path / "model")
    network.save(tmp_path / "model" / "model.keras")
    write_onnx(ModelFolder(tmp_path / "model"))
    soundfile.write(tmp_path / "a.wav", tone_speech(1, 8000, 1), 8000)
    with pytest.raises(SystemExit):
        run("enhance", tmp_path / "a.wav", "--model", tmp_path / "model")
    assert said in capsys.readouterr().err
    assert not (tmp_path / "a.enhanced.wav").exists()
    if not np.isnan(weights):
        run("enhance", tmp_path / "a.wav", "--model", tmp_path / "model", "--allow-louder")
        assert (tmp_path / "a.enhanced.wav").exists()


def test_an_invalid_card_does_not_hide_other_models(inside, monkeypatch, capsys):
    ready = {"best": inside / "ready" / "best", "stream": inside / "nowhere"}
    (inside / "nowhere").mkdir()
    (inside / "nowhere" / "card.json").write_text("[]")
    monkeypatch.setattr("denoise.cli.models.ready_models", lambda: ready)
    run("models")
    said = capsys.readouterr()
    assert "best: ready to use" in said.out and "tiny" in said.out
    assert "nowhere/card.json is not a model card" in said.err
