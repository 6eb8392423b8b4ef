"""What a corpus publishes as one file, and extracting it safely."""

from __future__ import annotations

import functools
import lzma
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from denoise.core.errors import UserError, is_full_disk

_BLOCK = 1 << 20
_SPARE_DISK = 200 << 20
_MOST_GROWTH = 200
_DAMAGE = (tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError)


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
    megabytes: int | None = None
    """About how large it is, as its publisher says."""


def openslr(resource: int, name: str) -> tuple[str, ...]:
    """Where OpenSLR has a file of one of its resources."""
    hosts = ("https://www.openslr.org", "https://us.openslr.org")
    return tuple(f"{host}/resources/{resource}/{name}" for host in hosts)


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
        If the archive is damaged, unsafe, holds two files of one name, or needs more disk than
        there is.
    """
    folder.mkdir(parents=True, exist_ok=True)
    names: set[str] = set()
    try:
        need_disk(folder, _size(archive, wanted), archive.name)
        for name, _, open_member in _members(archive, wanted):
            parts = PurePosixPath(name).parts
            if PurePosixPath(name).is_absolute() or ".." in parts or "\\" in name:
                raise UserError(f"{archive}: refuses to extract '{name}', which leaves its folder")
            target = folder.joinpath(*parts)
            target.parent.mkdir(parents=True, exist_ok=True)
            if str(target) in names:
                raise UserError(f"{archive}: holds '{name}' twice")
            names.add(str(target))
            with open_member() as source, target.open("wb") as sink:
                shutil.copyfileobj(source, sink, _BLOCK)
    except UserError:
        raise
    except (*_DAMAGE, ValueError, NotImplementedError, RuntimeError) as error:
        if is_full_disk(error):
            raise
        raise UserError(
            f"{archive} cannot be extracted ({_said(error)}): delete it so that it is downloaded "
            "again"
        ) from None
    return len(names)


def check(archive: Path) -> str:
    """What is wrong with a zip or gzip file, found by reading all of it; empty if nothing."""
    try:
        with archive.open("rb") as stream:
            zipped = stream.read(2) == b"PK"
        if zipped:
            with zipfile.ZipFile(archive) as package:
                broken = package.testzip()
            return f"'{broken}' has another checksum" if broken else ""
        with tarfile.open(archive, "r:*") as bundle:
            for _ in _all_of(bundle):
                pass
    except (*_DAMAGE, NotImplementedError, RuntimeError) as error:
        return _said(error)
    return ""


def _said(error: Exception) -> str:
    """The text of an error, which has several lines in tarfile, in one."""
    return " ".join(str(error).split()) or type(error).__name__


def _size(archive: Path, wanted: Callable[[str], bool]) -> int:
    """Bytes of all members together; an error if they are far more than audio can be packed."""
    most = max(_MOST_GROWTH * archive.stat().st_size, 1 << 30)
    total = 0
    for name, size, _ in _members(archive, wanted):
        total += size
        if total > most:
            raise UserError(
                f"{archive}: refuses to extract {total / 1e9:.1f} GB and more ('{name}') from "
                f"{archive.stat().st_size / 1e6:.1f} MB, so it is not an archive of audio"
            )
    return total


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
            for member in _all_of(bundle):
                if member.isfile() and wanted(member.name):
                    yield member.name, member.size, functools.partial(_tar_file, bundle, member)


def _all_of(bundle: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    """The members, and an error at the end if the checksum of the compressed file is wrong: left
    to itself, tarfile stops before it."""
    yield from bundle
    assert bundle.fileobj is not None
    while bundle.fileobj.read(_BLOCK):
        pass


def _tar_file(bundle: tarfile.TarFile, member: tarfile.TarInfo) -> IO[bytes]:
    stream = bundle.extractfile(member)
    if stream is None:
        raise tarfile.TarError(f"{member.name} has no content")
    return stream
