"""Files that appear whole or not at all."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from denoise.core import files
from denoise.core.arrays import ArrayReader, ArrayWriter, PackWriter, load_array, save_array
from denoise.core.errors import UserError
from denoise.core.tables import Rows, read_table

WRITER = """
import sys, time
from denoise.core import files
with files.replacing(sys.argv[1]) as temporary:
    temporary.write_text("half")
    print("writing", flush=True)
    time.sleep(60)
"""


def test_a_failed_write_leaves_only_the_old_file(tmp_path):
    (tmp_path / "a.txt").write_text("old")
    with pytest.raises(RuntimeError), files.replacing(tmp_path / "a.txt") as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]
    assert (tmp_path / "a.txt").read_text() == "old"


@pytest.mark.parametrize("links", [True, False])
def test_writing_a_new_file_never_overwrites_an_existing_one(tmp_path, monkeypatch, links):
    if not links:  # as on FAT

        def refuse(self, other):
            raise PermissionError(1, "Operation not permitted", str(self))

        monkeypatch.setattr(Path, "hardlink_to", refuse)
    with files.replacing(tmp_path / "a", new=True) as temporary:
        temporary.write_text("mine")
    with pytest.raises(FileExistsError), files.replacing(tmp_path / "a", new=True):
        raise AssertionError("the block is not begun")
    with pytest.raises(FileExistsError), files.replacing(tmp_path / "b", new=True) as temporary:
        temporary.write_text("mine")
        (tmp_path / "b").write_text("another's")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        "a": "mine", "b": "another's",
    }  # fmt: skip


def test_write_errors_name_the_target_file(tmp_path):
    def write() -> None:
        with files.replacing(tmp_path / "a") as temporary:
            temporary.mkdir()
            temporary.write_text("x")

    with pytest.raises(IsADirectoryError) as error:
        write()
    assert error.value.filename == str(tmp_path / "a")
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError) as other, files.replacing(tmp_path / "file" / "a"):
        pass
    assert other.value.filename == str(tmp_path / "file")


def test_file_names_that_are_not_utf8_can_be_written(tmp_path):
    name = os.fsdecode(b"caf\xe9.txt")
    files.write_text(tmp_path / name, name)
    files.write_json(tmp_path / "a.json", {"file": name})
    assert files.read_json(tmp_path / "a.json") == {"file": name}


def test_only_temporary_files_of_dead_processes_are_removed(tmp_path):
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path / name)], stdout=subprocess.PIPE
        )
        for name in ("killed.txt", "living.txt")
    ]
    try:
        for writer in writers:
            assert writer.stdout is not None and writer.stdout.readline()
        writers[0].send_signal(signal.SIGKILL)
        writers[0].wait()
        (tmp_path / ".mine.tmp.txt").write_text("kept")
        files._sweep.cache_clear()
        files.write_text(tmp_path / "new.txt", "new")
        left = sorted(path.name.split(".")[1] for path in tmp_path.glob(".*"))
        assert left == ["living", "mine"]
    finally:
        for writer in writers:
            writer.kill()
            writer.wait()
            assert writer.stdout is not None
            writer.stdout.close()


def test_a_process_of_another_user_is_alive(monkeypatch):
    def refuse(process: int, number: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "kill", refuse)
    assert files.runs(1)


def test_a_zombie_process_does_not_count_as_running():
    process = subprocess.Popen([sys.executable, "-c", "pass"], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.read()  # until it ends
    until = time.monotonic() + 10
    while files.runs(process.pid) and time.monotonic() < until:
        time.sleep(0.01)
    assert not files.runs(process.pid)
    os.kill(process.pid, 0)  # the system still knows it
    process.wait()
    process.stdout.close()


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_an_array_written_in_parts_equals_the_whole_array(tmp_path, dtype):
    rows = np.random.default_rng(0).standard_normal((7, 3, 2)).astype(dtype)
    writer = ArrayWriter(tmp_path / "a.npy", rows.shape, dtype)
    for part in (rows[:4], rows[4:4], rows[4:].astype(np.float64)):
        writer.append(part)
    assert writer.close() == files.file_digest(tmp_path / "a.npy")
    np.testing.assert_array_equal(load_array(tmp_path / "a.npy"), rows)
    np.save(tmp_path / "b.npy", rows)
    assert (tmp_path / "a.npy").read_bytes() == (tmp_path / "b.npy").read_bytes()


def test_concurrent_cleanup_of_a_folder_raises_no_error(tmp_path, monkeypatch):
    """One finds that the other has removed what it lists; what cannot be removed stays."""
    left = tmp_path / f".a.999999-{files.socket.gethostname()}-deadbeef.tmp"
    left.mkdir()

    def removed_meanwhile(path):
        raise FileNotFoundError(2, "No such file", str(path))

    monkeypatch.setattr(files, "_remove", removed_meanwhile)
    files._sweep.cache_clear()
    files._sweep(tmp_path)
    assert left.exists()


def test_a_long_name_can_be_written(tmp_path):
    name = "x" * 225 + ".wav"
    files.write_text(tmp_path / name, "whole")
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_disk_errors_while_packing_are_raised(tmp_path, monkeypatch):
    """It says so once: the flush at the end would find nothing wrong."""
    answers = iter([OSError(5, "Input/output error")])
    monkeypatch.setattr(PackWriter, "_FLUSH", 1000)

    def fsync(number):
        for answer in answers:
            raise answer

    monkeypatch.setattr(files.os, "fsync", fsync)
    writer = PackWriter(tmp_path / "a.npy")
    with pytest.raises(OSError, match="Input/output"):
        writer.append(np.zeros(1000, np.float32))
        writer.close()


def test_rows_equal_table_records_with_less_memory():
    count = 20_000
    table = pd.DataFrame(
        {
            "id": [f"train-{number:07d}" for number in range(count)],
            "noise_type": ["rain", "dog"] * (count // 2),
            "gain": np.random.default_rng(0).random(count),
            "snr_target": np.nan,
            "offset": np.arange(count),
            "paired": [False, True] * (count // 2),
        }
    )
    expected = table.to_dict("records")
    tracemalloc.start()
    rows = Rows(table)
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(rows) == count and held < 150 * count
    for number in (0, 7, count - 1):
        np.testing.assert_equal(rows[number], expected[number])
        assert list(map(type, rows[number].values())) == [str, str, float, float, int, bool]


@pytest.mark.parametrize(
    ("name", "content", "read"),
    [
        ("a.csv", b"", read_table),
        ("a.csv", b"id,offset\na,1\nb,", read_table),
        ("a.csv", b"\xff\xfe\n", read_table),
        ("a.json", b"{", files.read_made),
        ("a.json", b"", files.read_made),
        ("a.npy", b"", load_array),
        ("a.npy", b"no array\n", load_array),
        ("a.npy", None, load_array),
        ("a.npy", None, ArrayReader),
    ],
)
def test_the_error_for_a_damaged_file_says_what_to_do(tmp_path, name, content, read):
    path = tmp_path / name
    if content is None:  # cut off
        save_array(path, np.zeros(1000, np.float32))
        content = path.read_bytes()[:2000]
    path.write_bytes(content)
    with pytest.raises(UserError) as error:
        read(path)
    said = str(error.value)
    assert said.startswith(f"{path} is damaged (") and "\n" not in said
    assert said.endswith("): delete it, and `snakemake` makes it again")
