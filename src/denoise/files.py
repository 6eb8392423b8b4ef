"""Writing files so that none is ever seen half-written, and packing arrays.

Everything goes to a temporary name in the target's folder and is renamed when complete.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import functools
import hashlib
import io
import json
import os
import re
import shutil
import socket
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd


@contextlib.contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Give a temporary path (a file or a folder) that becomes `path` if the block succeeds."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    _sweep(target.parent)
    owner = f"{os.getpid()}-{socket.gethostname()}-{uuid.uuid4().hex[:8]}"
    # Shortened, as a name may have 255 bytes and this is longer than the target's.
    stem = target.stem.encode()[:100].decode(errors="ignore")
    temporary = target.with_name(f".{stem}.{owner}.tmp{target.suffix}")
    try:
        yield temporary
        if temporary.is_dir() and target.is_dir():
            shutil.rmtree(target)
        temporary.replace(target)
    finally:
        _remove(temporary)


@functools.cache
def _sweep(folder: Path) -> None:
    """Remove the temporary files of processes of this machine that were killed, once.

    Others may do so at the same time, and those of another user stay.
    """
    owned = re.compile(rf"\..+\.(\d+)-{re.escape(socket.gethostname())}-[0-9a-f]{{8}}\.tmp.*")
    with contextlib.suppress(OSError):
        for path in folder.iterdir():
            match = owned.fullmatch(path.name)
            if match and not runs(int(match[1])):
                with contextlib.suppress(OSError):
                    _remove(path)


def runs(process: int) -> bool:
    """Whether a process of this machine is alive."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    try:  # one that was killed stays until its parent asks how it ended
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return True


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def locked(path: str | Path) -> Iterator[None]:
    """Let one process at a time into the block, waiting for it as long as it takes.

    The lock is held on the file `path`, which is made and stays, and goes with the process, however
    that ends.  It holds between processes of one machine; over a network file system it may not.

    Raises
    ------
    OSError
        If the file cannot be made.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def wait_for(path: str | Path, seconds: float = 60) -> None:
    """Wait until a file is there that another study may be about to make again.

    Raises
    ------
    FileNotFoundError
        If it is not there in time.
    """
    until = time.monotonic() + seconds
    while not Path(path).exists():
        if time.monotonic() > until:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
        time.sleep(0.1)


def write_text(path: str | Path, text: str) -> None:
    """Write `text` as UTF-8, atomically."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | Path, value: Any) -> None:
    """Write `value` as indented JSON, atomically."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False, default=_plain) + "\n")


def read_json(path: str | Path) -> Any:
    """The value in a JSON file."""
    return json.loads(Path(path).read_text(encoding="utf-8"))


def write_table(path: str | Path, table: pd.DataFrame, float_format: str | None = None) -> None:
    """Write a table as CSV without its index, atomically."""
    with replacing(path) as temporary:
        table.to_csv(temporary, index=False, float_format=float_format)


_TEXT_COLUMNS = frozenset(
    [
        "id",
        "path",
        "noisy_path",
        "speaker",
        "sex",
        "kind",
        "group",
        "recording",
        "noise_id",
        "status",
        "split",
        "corpus",
        "source",
        "speech_source",
        "noise_source",
        "variant",
        "test_set",
        "method",
    ]
)


def read_table(path: str | Path) -> pd.DataFrame:
    """Read a CSV table; columns of names stay text even where they look like numbers."""
    header = pd.read_csv(path, nrows=0).columns
    text = [name for name in header if name in _TEXT_COLUMNS]
    # A recording may be called "nan" or "NA": only numbers can be missing.
    missing = {name: ["", "nan", "NaN"] for name in header if name not in text}
    return pd.read_csv(
        path, dtype=dict.fromkeys(text, str), keep_default_na=False, na_values=missing
    )


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """A dictionary for each row: ``table.to_dict("records")`` in a fraction of the time."""
    columns = [table[name].tolist() for name in table]
    return [dict(zip(table.columns, row, strict=True)) for row in zip(*columns, strict=True)]


class Rows:
    """The rows of a table as dictionaries, each made when it is asked for by its number.

    A list of them would take ten times the memory.  ``rows[number]`` maps the names of the columns
    to str, float, int or bool, as ``table.to_dict("records")[number]`` does.

    Parameters
    ----------
    table : pd.DataFrame [shape=(rows, columns)]

    Raises
    ------
    IndexError
        For a number that no row has.
    """

    def __init__(self, table: pd.DataFrame) -> None:
        self._count = len(table)
        self._columns: dict[str, tuple[np.ndarray, list[Any] | None]] = {}
        for name in table:
            values, distinct = table[name].to_numpy(), None
            if values.dtype.kind not in "biuf":
                codes, found = pd.factorize(table[name], use_na_sentinel=False)
                values, distinct = codes.astype(np.int32), found.tolist()
            self._columns[name] = values, distinct

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, number: int | np.integer) -> dict[str, Any]:
        return {
            name: values[number].item() if distinct is None else distinct[values[number]]
            for name, (values, distinct) in self._columns.items()
        }


def save_array(path: str | Path, array: np.ndarray) -> None:
    """Write one array as ``.npy``, atomically."""
    with replacing(path) as temporary, temporary.open("wb") as stream:
        np.save(stream, array, allow_pickle=False)


def load_array(path: str | Path) -> np.ndarray:
    """Memory-map a ``.npy`` file for reading; pickled content is refused."""
    return np.load(path, mmap_mode="r", allow_pickle=False)


def file_digest(path: str | Path, algorithm: str = "sha256") -> str:
    """The hex digest of a file's content."""
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, algorithm).hexdigest()


class PackWriter:
    """Appends 1-D float32 arrays to one ``.npy`` file without holding them in memory."""

    _FLUSH = 1 << 26  # bytes

    def __init__(self, path: Path) -> None:
        self._stream = path.open("wb")
        self._write_header(0)
        self.samples = 0
        self._hash = hashlib.sha256()
        self._unflushed = 0
        self._flushing = ThreadPoolExecutor(1)
        self._flushed: Future[None] | None = None

    def _write_header(self, samples: int) -> None:
        # NumPy pads the header so that the first axis can grow without moving the data.
        header = {"descr": "<f4", "fortran_order": False, "shape": (samples,)}
        np.lib.format.write_array_header_1_0(self._stream, header)

    def append(self, audio: np.ndarray) -> int:
        """Append `audio` [shape=(samples,)] and return the offset of its first sample."""
        offset = self.samples
        content = np.ascontiguousarray(audio, dtype="<f4").data
        self._stream.write(content)
        self._hash.update(content)
        self.samples += len(audio)
        self._unflushed += content.nbytes
        if self._unflushed > self._FLUSH:
            # The disk works meanwhile; all at once at the end, it would be waited for.
            self._stream.flush()
            self._wait()
            self._flushed = self._flushing.submit(os.fsync, self._stream.fileno())
            self._unflushed = 0
        return offset

    def close(self) -> str:
        """Write the final length into the header and make the file durable.

        Returns
        -------
        str
            The SHA-256 of the samples, as hex digits.
        """
        self._wait()
        self._flushing.shutdown()
        self._stream.seek(0)
        self._write_header(self.samples)
        self._stream.flush()
        os.fsync(self._stream.fileno())
        self._stream.close()
        return self._hash.hexdigest()

    def _wait(self) -> None:
        """Wait for the disk; what went wrong there it tells only once."""
        if self._flushed is not None:
            self._flushed.result()


class ArrayReader:
    """Reads single rows of a ``.npy`` array.

    Unlike those of a memory map, pages of the file that were read do not count as memory of this
    process.

    Attributes
    ----------
    shape : tuple of int
    dtype : np.dtype

    Raises
    ------
    ValueError
        If the file is no array, or holds pickled objects.
    """

    def __init__(self, path: Path) -> None:
        array = load_array(path)
        assert isinstance(array, np.memmap)
        self.path, self.shape, self.dtype, self._offset = (
            path,
            array.shape,
            array.dtype,
            array.offset,
        )

    def __len__(self) -> int:
        return int(self.shape[0])

    def read(self, row: int, out: np.ndarray) -> None:
        """Read one row into `out` [shape=shape[1:]], which is contiguous and of this type."""
        with self.path.open("rb", buffering=0) as stream:
            stream.seek(self._offset + row * out.nbytes)
            if stream.readinto(out.reshape(-1).view(np.uint8).data) != out.nbytes:
                raise OSError(errno.EIO, "the file has become shorter", str(self.path))


class ArrayWriter:
    """Writes the rows of one ``.npy`` array as they come, and knows the file's digest at the end.

    Parameters
    ----------
    path : Path
    shape : tuple of int
        Of the whole array, along whose first axis rows come.
    dtype
        What rows are written as.
    """

    def __init__(self, path: Path, shape: tuple[int, ...], dtype: str) -> None:
        self._dtype = np.dtype(dtype).newbyteorder("<")
        self._stream, self._hash = path.open("wb"), hashlib.sha256()
        header = io.BytesIO()
        np.lib.format.write_array_header_1_0(
            header,
            {
                "descr": np.lib.format.dtype_to_descr(self._dtype),
                "fortran_order": False,
                "shape": shape,
            },
        )
        self._write(header.getvalue())

    def append(self, rows: np.ndarray) -> None:
        """Write the next rows [shape=(n, ...)]."""
        self._write(np.ascontiguousarray(rows, self._dtype).reshape(-1).data)

    def close(self) -> str:
        """Close the file; the SHA-256 of its content, as hex digits."""
        self._stream.close()
        return self._hash.hexdigest()

    def _write(self, content: bytes | memoryview) -> None:
        self._stream.write(content)
        self._hash.update(content)


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")
