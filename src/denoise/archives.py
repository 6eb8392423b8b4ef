"""What a corpus publishes as one file, and extracting it safely."""

from __future__ import annotations

import functools
import shutil
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from denoise.errors import UserError

_BLOCK = 1 << 20
_SPARE_DISK = 200 << 20


@dataclass(frozen=True)
class Archive:
    """A file that a corpus publishes."""

    name: str
    """File name, in the mirror too."""
    urls: tuple[str, ...]
    """Where to get it, in order of preference."""
    checksum: str | None = None
    """``md5:…`` or ``sha256:…``; None where the host's file is not byte-stable."""
    optional: bool = False
    """The corpus can be indexed without it, with less metadata."""


def need_disk(folder: Path, size: int, what: str) -> None:
    """Raise `UserError` if `folder` lacks the room for `size` bytes and some to spare."""
    free = shutil.disk_usage(folder).free
    if free < size + _SPARE_DISK:
        raise UserError(
            f"{what} needs {size / 1e9:.2f} GB but {folder} has {free / 1e9:.2f} GB free: "
            "make room or move the folder to a larger disk"
        )


def extract(archive: Path, folder: Path, wanted: Callable[[str], bool]) -> int:
    """Extract the regular files of a zip or tar archive whose name is `wanted` into `folder`.

    Links and devices are skipped, names that would leave `folder` refused.  Returns how many.

    Raises
    ------
    UserError
        If the archive is damaged, unsafe, or needs more disk than there is.
    """
    folder.mkdir(parents=True, exist_ok=True)
    count = 0
    try:
        need_disk(folder, sum(size for _, size, _ in _members(archive, wanted)), archive.name)
        for name, _, open_member in _members(archive, wanted):
            parts = PurePosixPath(name).parts
            if PurePosixPath(name).is_absolute() or ".." in parts or "\\" in name:
                raise UserError(f"{archive}: refuses to extract '{name}', which leaves its folder")
            target = folder.joinpath(*parts)
            target.parent.mkdir(parents=True, exist_ok=True)
            with open_member() as source, target.open("wb") as sink:
                shutil.copyfileobj(source, sink, _BLOCK)
            count += 1
    except UserError:
        raise
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, OSError, ValueError) as error:
        raise UserError(
            f"{archive} cannot be extracted ({error}): delete it so that it is downloaded again"
        ) from None
    return count


def _members(
    archive: Path, wanted: Callable[[str], bool]
) -> Iterator[tuple[str, int, Callable[[], IO[bytes]]]]:
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as package:
            for info in package.infolist():
                kind = info.external_attr >> 28  # 0o12: a symbolic link
                if not info.is_dir() and kind != 0o12 and wanted(info.filename):
                    yield info.filename, info.file_size, functools.partial(package.open, info)
    else:
        with tarfile.open(archive, "r:*") as bundle:
            for member in bundle:
                if member.isfile() and wanted(member.name):
                    yield member.name, member.size, functools.partial(_tar_file, bundle, member)


def _tar_file(bundle: tarfile.TarFile, member: tarfile.TarInfo) -> IO[bytes]:
    stream = bundle.extractfile(member)
    if stream is None:
        raise tarfile.TarError(f"{member.name} has no content")
    return stream
