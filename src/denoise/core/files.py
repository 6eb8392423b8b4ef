"""Atomic writing: files are written under a temporary name in the target's folder and renamed when
complete."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import functools
import hashlib
import json
import os
import re
import shutil
import socket
import stat
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from denoise.core.errors import Damaged, UserError

_LONGEST_JSON = 1 << 28
NOT_UTF8 = "backslashreplace"
"""How bytes of file names that are not UTF-8 are written; JSON restores them."""


@contextlib.contextmanager
def replacing(
    path: str | Path, known_by: str | None = None, *, new: bool = False
) -> Iterator[Path]:
    """Give a temporary path (a file or a folder) that becomes `path` if the block succeeds.

    Parameters
    ----------
    known_by
        A file that every folder of this kind holds, such as ``state.json``.  A folder that stands
        at `path` without it was not made by this program, and is never replaced; nor is a file by a
        folder.
    new
        Whether nothing may stand there, not even what comes while the block runs; if something
        does, it is kept, and `FileExistsError` is raised.

    Raises
    ------
    UserError
        If something stands there that may not be replaced.

    Example
    -------
    >>> with replacing("shards", known_by="shard-0.npy") as folder:
    ...     folder.mkdir()
    """
    target = Path(path)
    _check_replaceable(target, known_by)
    if new:
        _check_free(target)
    _make_folder(target.parent)
    _sweep(target.parent)
    owner = f"{os.getpid()}-{socket.gethostname()}-{uuid.uuid4().hex[:8]}"
    # Shortened, as a name may have 255 bytes and this is longer than the target's.
    stem = os.fsencode(target.stem)[:100].decode(errors="ignore")
    temporary = target.with_name(f".{stem}.{owner}.tmp{target.suffix}")
    try:
        yield temporary
        if temporary.is_dir():
            # It may have come while the block ran.
            _check_replaceable(target, known_by)
            if target.is_dir():
                shutil.rmtree(target)
        if new:
            _put_new(temporary, target)
        else:
            temporary.replace(target)
    except OSError as error:
        if error.filename == str(temporary):  # a name that nobody gave
            error.filename = str(target)
        raise
    finally:
        _remove(temporary)


def _make_folder(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path)) from None


def _put_new(temporary: Path, target: Path) -> None:
    """Rename a temporary file; the name must not exist."""
    try:
        target.hardlink_to(temporary)  # in one step, where renaming would replace
    except FileExistsError:
        raise
    except OSError:  # a file system without links
        _check_free(target)
        temporary.replace(target)


def _check_free(target: Path) -> None:
    if os.path.lexists(target):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target))


def _check_replaceable(target: Path, known_by: str | None) -> None:
    """Raise `UserError` if the target is a folder that this program did not make, or a file."""
    if target.is_dir() and target.is_symlink() and known_by is not None:
        raise UserError(f"{target} is a link: name the folder that it leads to")
    if target.is_dir():
        if any(target.iterdir()) and (known_by is None or not (target / known_by).is_file()):
            raise UserError(
                f"{target} is a folder that this program did not make: name another place, or move "
                "it away"
            )
    elif known_by is not None and target.exists():
        raise UserError(f"{target} is a file, but a folder will be written: name another place")


@functools.cache
def _sweep(folder: Path) -> None:
    """Remove the temporary files of killed processes of this machine, once per folder.

    Other processes may do so at the same time; files of other users are kept.
    """
    owned = re.compile(rf"\..+\.(\d+)-{re.escape(socket.gethostname())}-[0-9a-f]{{8}}\.tmp.*")
    with contextlib.suppress(OSError):
        for path in folder.iterdir():
            match = owned.fullmatch(path.name)
            if match and not runs(int(match[1])):
                with contextlib.suppress(OSError):
                    _remove(path)


def runs(process: int) -> bool:
    """Whether a process of this machine exists."""
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
    """Let one process at a time into the block; others wait.

    The lock is on the file `path`, which is created and kept; it ends with the process, however
    that ends. It works between processes of one machine, but not necessarily over a network file
    system.

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
    """Wait for a file that another study may be making again.

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
        temporary.write_text(text, encoding="utf-8", errors=NOT_UTF8)


def write_bytes(path: str | Path, content: bytes) -> None:
    """Write `content`, atomically."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def write_json(path: str | Path, value: Any) -> None:
    """Write `value` as indented JSON, atomically."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False, default=_plain) + "\n")


def read_json(path: str | Path) -> Any:
    """The value in a JSON file.

    Raises
    ------
    ValueError
        If it is no JSON, longer than any that is made here, or no file at all, such as a pipe.
    """
    about = Path(path).stat()
    if not stat.S_ISREG(about.st_mode):
        raise ValueError(f"{path} is not a file")
    if about.st_size > _LONGEST_JSON:
        raise ValueError(f"{path} has {about.st_size / 1e6:,.0f} MB, which no such file has")
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except RecursionError:
        raise ValueError(f"{path} is nested too deeply") from None


def read_made(path: str | Path) -> Any:
    """The value in a JSON file that a job made.

    Raises
    ------
    Damaged
        If it is none.
    """
    try:
        return read_json(path)
    except ValueError as error:
        raise Damaged(path, error) from None


def file_digest(path: str | Path, algorithm: str = "sha256") -> str:
    """The hex digest of a file's content."""
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, algorithm).hexdigest()


class Digests:
    """Digests of files, remembered by size and time of change, so that each is read once.

    Parameters
    ----------
    memory
        A JSON file that keeps them between runs; without one, or where it cannot be written, every
        file is read again.

    Example
    -------
    >>> digests = Digests(Path("digests.json"))
    >>> content = [digests.of(path) for path in Path().glob("*.wav")]
    >>> digests.keep()
    """

    def __init__(self, memory: Path | None = None) -> None:
        self._memory, self._changed = memory, False
        self._known: dict[str, list[Any]] = {}
        with contextlib.suppress(OSError, ValueError):
            found = read_json(memory) if memory is not None else {}
            self._known = found if isinstance(found, dict) else {}

    def of(self, path: Path) -> str:
        """The SHA-256 of a file, 16 hex digits."""
        about, name = path.stat(), str(path.absolute())
        when = [about.st_size, about.st_mtime_ns, about.st_ino]
        known = self._known.get(name)
        if isinstance(known, list) and known[:-1] == when:
            return str(known[-1])
        found = file_digest(path)[:16]
        self._known[name], self._changed = [*when, found], True
        return found

    def keep(self) -> None:
        """Store the digests for the next run."""
        if self._memory is not None and self._changed:
            with contextlib.suppress(OSError):
                write_json(self._memory, self._known)


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")
