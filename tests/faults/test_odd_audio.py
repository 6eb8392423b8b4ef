"""Odd recordings through preparation, `denoise enhance` and `denoise score`, and fuzzed ones."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import encoded, tone_speech
from made import prepare_into
from test_cli import inside, run, workspace

from denoise import audio
from denoise.core.arrays import load_array
from denoise.core.tables import read_table
from denoise.corpora.indexing import index_folder
from denoise.corpora.selection import AudioSettings
from denoise.evaluation.folders import score_folders
from denoise.metrics.registry import METRICS

__all__ = ["inside", "workspace"]

RATE = 16_000
SPEECH = tone_speech(1.2, RATE, 3)


def wav(samples: np.ndarray, rate: int = RATE, subtype: str = "PCM_16", kind: str = "WAV") -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format=kind, subtype=subtype)
    return buffer.getvalue()


def claims(content: bytes, samples: int) -> bytes:
    """A FLAC whose header claims so many samples."""
    start = 8 + 10  # magic and block header; then come 20 bits of rate, 3 and 5 of format
    value = int.from_bytes(content[start : start + 8], "big")
    value = (value >> 36 << 36) | samples
    return content[:start] + value.to_bytes(8, "big") + content[start + 8 :]


FINE: dict[str, bytes] = {
    "offset.wav": wav(SPEECH * 0.5 + 0.4),
    "clipped.wav": wav(np.clip(20 * SPEECH, -1, 1)),
    "8 bit.wav": wav(SPEECH, subtype="PCM_U8"),
    "24 bit.wav": wav(SPEECH, subtype="PCM_24"),
    "float.wav": wav(SPEECH, subtype="FLOAT"),
    "double.wav": wav(SPEECH, subtype="DOUBLE"),
    "mu law.wav": wav(SPEECH, subtype="ULAW"),
    "beyond full scale.wav": wav(4 * SPEECH, subtype="FLOAT"),
    "96 kHz.wav": wav(tone_speech(1, 96_000, 1), 96_000),
    "odd rate.wav": wav(SPEECH, 11_127),
    "six channels.wav": wav(np.stack([SPEECH] * 6, axis=1)),
    "opposite channels.wav": wav(np.stack([SPEECH, -0.5 * SPEECH], axis=1)),
    "a flac.wav": wav(SPEECH, kind="FLAC"),
    "a wav.flac": wav(SPEECH),
    "an mp3.wav": wav(SPEECH, kind="MP3", subtype="MPEG_LAYER_III"),
    "ünï côdé 🎤 日本.wav": wav(SPEECH),
    "-rf $(touch hacked) `touch hacked`;'\"&|<>*?.wav": wav(SPEECH),
    "two\nlines.wav": wav(SPEECH),
    "no padding byte.wav": wav(SPEECH[:1001], subtype="PCM_U8")[:-1],
}
"""Recordings that are audio, whatever else they are."""

SHORT: dict[str, bytes] = {
    "20 ms.wav": wav(SPEECH[:320]),
}
SILENT: dict[str, bytes] = {
    "constant.wav": wav(np.full(RATE, 0.3)),
    "one sample.wav": wav(SPEECH[:1]),
    "silent.wav": wav(np.zeros(RATE)),
    "almost silent.wav": wav(np.full(RATE, 1e-6), subtype="FLOAT"),
    "cancels.wav": wav(np.stack([SPEECH, -SPEECH], axis=1), subtype="FLOAT"),
}
BROKEN: dict[str, bytes] = {
    "corrupt header.wav": b"RIFF\x99\x99\x00\x00WAVEfmt " + bytes(range(200)),
    "truncated.wav": wav(SPEECH)[:9000],
    "truncated.flac": wav(SPEECH, kind="FLAC")[:9000],
    "claims 10 hours.flac": claims(wav(SPEECH, kind="FLAC"), 10 * 3600 * RATE),
    "claims a month.flac": claims(wav(SPEECH, kind="FLAC"), (1 << 36) - 1),
    "no samples.wav": wav(np.zeros((0, 1))),
    "no bytes.wav": b"",
    "text.wav": b"these are words\n" * 100,
    "page.mp3": b"<!DOCTYPE html><html>not found</html>" * 50,
    "nan.wav": wav(np.where(np.arange(RATE) == 7000, np.nan, 0.1), subtype="FLOAT"),
    "infinite.wav": wav(np.where(np.arange(RATE) == 7000, np.inf, 0.1), subtype="DOUBLE"),
    "huge.wav": wav(np.full(RATE, 1e38), subtype="FLOAT"),
}
USABLE = {**FINE, **SHORT, **SILENT}


def written(folder: Path, name: str, content: bytes) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(content)
    return folder / name


def prepared(tmp_path: Path, name: str, content: bytes) -> tuple[list[str], list[str]]:
    """Names packed, and reasons for those that were dropped, of this and a good recording."""
    folder = tmp_path / "recordings"
    written(folder, "good.wav", wav(SPEECH))
    written(folder, name, content)
    index_folder(folder, None, tmp_path / "index.csv")
    settings = AudioSettings(sample_rate=RATE, min_duration_s=0, max_dropped=0.9)
    prepare_into(tmp_path / "out", tmp_path / "index.csv", audio=settings)
    index = read_table(tmp_path / "out" / "index.csv")
    pack = load_array(tmp_path / "out" / "audio.npy")
    assert len(pack) == index["samples"].sum() and np.isfinite(pack).all()
    for row in index.itertuples():
        assert row.level > 0 and row.samples > 0
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    return [Path(name).name for name in index["id"]], [
        drop["reason"] for drop in manifest["dropped"]
    ]


@pytest.mark.parametrize("name", [*FINE, *SHORT])
def test_preparation_accepts_usable_audio(tmp_path, fault_class, name):
    with fault_class("audio: prepare"):
        packed, dropped = prepared(tmp_path, name, USABLE[name])
        assert len(packed) == 2 and not dropped
        assert name in packed


@pytest.mark.parametrize("name", [*BROKEN, *SILENT])
def test_preparation_drops_broken_or_silent_files_with_a_reason(tmp_path, fault_class, name):
    with fault_class("audio: prepare"):
        packed, dropped = prepared(tmp_path, name, {**BROKEN, **SILENT}[name])
        assert packed == ["good.wav"]
        assert len(dropped) == 1 and dropped[0] and "\n" not in dropped[0]


@pytest.mark.parametrize("name", list(USABLE))
def test_enhance_keeps_the_format_of_usable_audio(inside, tmp_path, fault_class, name):
    with fault_class("audio: denoise enhance"):
        source = written(tmp_path / "in", name, USABLE[name])
        run("enhance", "--", source) if name[0] == "-" else run("enhance", source)
        made = source.with_name(f"{source.stem}.enhanced{source.suffix}")
        before, after = soundfile.info(str(source)), soundfile.info(str(made))
        assert (after.frames, after.samplerate, after.channels) == (
            before.frames, before.samplerate, before.channels,
        )  # fmt: skip
        result, _ = audio.read(made)
        # Formats of real numbers hold what is beyond full scale, others clip it.
        assert np.isfinite(result).all() and np.abs(result).max() <= 4
        if name == "silent.wav":
            assert not result.any()
        assert {path.name for path in (tmp_path / "in").iterdir()} == {source.name, made.name}


@pytest.mark.parametrize("name", list(BROKEN))
def test_enhance_names_broken_files(inside, tmp_path, fault_class, capsys, name):
    with fault_class("audio: denoise enhance"):
        source = written(tmp_path / "in", name, BROKEN[name])
        with pytest.raises(SystemExit) as ended:
            run("enhance", source)
        told = capsys.readouterr().err
        assert ended.value.code == 1 and name in told and "Traceback" not in told
        assert [path.name for path in (tmp_path / "in").iterdir()] == [name]


@pytest.mark.parametrize("name", [*USABLE, *BROKEN])
def test_every_row_has_scores_or_a_reason(tmp_path, fault_class, name):
    with fault_class("audio: denoise score"):
        for role in ("clean", "enhanced"):
            written(tmp_path / role, "good.wav", wav(SPEECH))
            written(tmp_path / role, name, {**USABLE, **BROKEN}[name])
        written(tmp_path / "enhanced", name, wav(SPEECH)) if name in FINE else None
        table = score_folders(tmp_path / "clean", tmp_path / "enhanced")
        assert table["file"].nunique() == 2
        odd = table[table["file"] != "good"].iloc[0]
        good = table[table["file"] == "good"].iloc[0]
        assert good["status"] == "ok" or "identical" in good["status"]
        values = odd[list(METRICS)].astype(float)
        if name in FINE:
            assert np.isfinite(values.dropna()).all() or odd["status"] != "ok"
        else:
            assert odd["status"] != "ok" and "\n" not in odd["status"]
        if name in BROKEN:
            assert values.isna().all()


SEEDS: dict[str, Callable[[], bytes]] = {
    "wav": lambda: wav(SPEECH[:4000]),
    "float wav": lambda: wav(SPEECH[:4000], subtype="FLOAT"),
    "adpcm wav": lambda: wav(SPEECH[:4000], subtype="IMA_ADPCM"),
    "flac": lambda: encoded(SPEECH[:4000], RATE, "FLAC"),
    "ogg": lambda: wav(SPEECH[:4000], kind="OGG", subtype="VORBIS"),
    "mp3": lambda: wav(SPEECH[:4000], kind="MP3", subtype="MPEG_LAYER_III"),
}


@pytest.mark.parametrize(
    "kind",
    [
        kind if kind in ("wav", "flac", "mp3") else pytest.param(kind, marks=pytest.mark.slow)
        for kind in SEEDS
    ],
)
def test_corrupted_files_are_read_or_refused_without_a_crash(
    workspace, tmp_path, fault_class, repetitions, kind
):
    """Through decoding, preparation, enhancement and scoring; see `fuzz_audio`."""
    seed = tmp_path / f"seed.{kind.split()[-1]}"
    seed.write_bytes(SEEDS[kind]())
    shutil.copytree(workspace / "ready", tmp_path / "ready")
    count = repetitions(150, 2000)
    with fault_class(f"audio: fuzzed {kind}", count):
        ended = subprocess.run(
            [sys.executable, Path(__file__).with_name("fuzz_audio.py"), seed, str(count), tmp_path],
            capture_output=True, text=True, timeout=3000,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )  # fmt: skip
        assert ended.returncode == 0 and ended.stdout.strip().endswith("whole"), (
            ended.stdout[-3000:] + ended.stderr[-3000:]
        )
