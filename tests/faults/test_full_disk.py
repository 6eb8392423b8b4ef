"""A disk that fills up at any write: one line, nothing half-written, and on with more room."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import encoded, hiss, tone_speech, zip_of
from made import prepare_into
from studies import small
from workflow_runs import snakemake

from denoise import audio
from denoise.core import files
from denoise.core.arrays import PackWriter, save_array
from denoise.core.errors import explained
from denoise.core.tables import write_table
from denoise.corpora.archives import extract
from denoise.corpora.selection import AudioSettings
from denoise.training.checkpoints import Checkpoints, Progress


@pytest.fixture
def disk(tmp_path) -> Iterator[Callable[[int], Path]]:
    """A small disk of so many MB; called again, it has another size."""
    place = tmp_path / "disk"
    place.mkdir()

    def mount(megabytes: int) -> Path:
        size = f"size={megabytes}m"
        options = f"remount,{size}" if place.is_mount() else size
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)], capture_output=True
        )
        if done.returncode:
            pytest.skip("a small disk can only be mounted by root")
        return place

    yield mount
    if place.is_mount():
        subprocess.run(["umount", "--lazy", str(place)], check=True)


WAVE = hiss(30, 16_000, 1)


def pack(folder: Path) -> None:
    with files.replacing(folder / "audio.npy") as temporary:
        writer = PackWriter(temporary)
        writer.append(np.tile(WAVE, 3))
        writer.close()


def extraction(folder: Path) -> None:
    (folder.parent / "a.zip").write_bytes(zip_of({f"{k}.wav": bytes(900_000) for k in range(4)}))
    with files.replacing(folder / "corpus") as temporary:
        extract(folder.parent / "a.zip", temporary, lambda name: True)


def prepared(folder: Path) -> None:
    recording = folder.parent / "long.wav"
    recording.write_bytes(encoded(tone_speech(60, 16_000, 1), 16_000, "WAV"))
    row = {"id": "long", "path": str(recording), "noisy_path": "", "speaker": "s", "sex": "",
           "noise_type": "", "group": "s", "duration": 60.0}  # fmt: skip
    write_table(folder.parent / "index.csv", pd.DataFrame([row]))
    settings = AudioSettings(sample_rate=16_000, min_duration_s=0)
    prepare_into(folder / "audio", folder.parent / "index.csv", audio=settings)


class _Model:
    """As much of a Keras model as a checkpoint needs."""

    class _Array:
        def numpy(self) -> np.ndarray:
            return np.zeros(400_000, np.float32)

    weights = trainable_variables = (_Array(), _Array())

    class optimizer:  # noqa: N801
        variables = ()


def checkpoint(folder: Path) -> None:
    Checkpoints(folder / "checkpoints", "f").save_part(_Model(), 0, Progress(1, {}, 1, 0.0))  # type: ignore[arg-type]


def enhanced(folder: Path) -> None:
    with files.replacing(folder / "out.wav") as temporary:
        audio.write(temporary, np.tile(WAVE, 3), 16_000, "FLOAT")


WRITERS: list[Callable[[Path], None]] = [
    lambda folder: save_array(folder / "a.npy", np.tile(WAVE, 2)),
    lambda folder: write_table(folder / "t.csv", pd.DataFrame({"x": WAVE})),
    lambda folder: files.write_text(folder / "t.html", "x" * 3_000_000),
    lambda folder: files.write_json(folder / "t.json", WAVE[:200_000].tolist()),
    pack, extraction, prepared, checkpoint, enhanced,
]  # fmt: skip


@pytest.mark.parametrize("write", WRITERS)
def test_a_failed_write_reports_a_full_disk_and_leaves_no_partial_file(
    disk, fault_class, monkeypatch, write
):
    monkeypatch.setattr("denoise.corpora.archives._SPARE_DISK", -(1 << 40))
    with fault_class("full disk: one write"):
        place = disk(1)
        (place / "kept").write_text("as it was")
        with pytest.raises(Exception) as error:  # each library has its own
            write(place)
        assert str(explained(error.value)).startswith("the disk is full")
        left = [path for path in place.rglob("*") if path.is_file()]
        assert [path.name for path in left] == ["kept"], left
        assert left[0].read_text() == "as it was"
        disk(20)
        write(place)
        assert len(list(place.iterdir())) == 2


@pytest.mark.slow
def test_a_study_resumes_after_the_full_disk_has_space_again(
    small_study, disk, web_mirror, fault_class, repetitions
):
    """The sizes let it fail in preparation, in mixing, in training or in the report."""
    place = disk(400)
    board = (small_study / "reports" / "small" / "leaderboard.csv").read_bytes()
    needed = sum(path.stat().st_size for path in small_study.rglob("*") if path.is_file()) / 1e6
    for share in (0.5, 0.2, 0.7, 0.85, 0.95)[: repetitions(1, 5)]:
        folder = place / f"study{share}"
        small(folder, web_mirror)
        used = sum(path.stat().st_size for path in place.rglob("*") if path.is_file()) / 1e6
        disk(int(used + share * needed) + 1)
        with fault_class("full disk: a whole study"):
            run = snakemake(folder, "all")
            assert run.returncode != 0
            assert "full" in run.stdout + run.stderr, run.stderr[-3000:]
            disk(int(used + 3 * needed) + 300)
            run = snakemake(folder, "all")
            assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-3000:]
            assert (folder / "reports" / "small" / "leaderboard.csv").read_bytes() == board
