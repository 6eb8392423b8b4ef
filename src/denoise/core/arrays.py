"""``.npy`` arrays that are written or read in parts."""

from __future__ import annotations

import errno
import hashlib
import io
import os
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np

from denoise.core.errors import Damaged
from denoise.core.files import replacing


def save_array(path: str | Path, array: np.ndarray) -> None:
    """Write one array as ``.npy``, atomically."""
    with replacing(path) as temporary, temporary.open("wb") as stream:
        np.save(stream, array, allow_pickle=False)


def load_array(path: str | Path) -> np.ndarray:
    """Memory-map a ``.npy`` file for reading.

    Raises
    ------
    Damaged
        If it is none, has become shorter, or holds pickled objects.
    """
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise Damaged(path, error) from None


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
        """Wait for the disk; it reports an error only once."""
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
    Damaged
        As of `load_array`.
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
