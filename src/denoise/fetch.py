"""Downloading archives and extracting them safely.

A download resumes where it stopped (HTTP Range), is verified before it gets its final name, is
retried with growing pauses, and falls back to the next source.  A *mirror*, a folder or URL laid
out ``<corpus>/<archive>`` beside a ``SHA256SUMS`` file, is tried before the publisher's hosts.
"""

from __future__ import annotations

import functools
import logging
import shutil
import tarfile
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO
from urllib.parse import urlsplit

import requests
import urllib3
from pydantic import Field
from tqdm import tqdm

from denoise import files
from denoise.errors import UserError
from denoise.settings import Settings

log = logging.getLogger(__name__)

_BLOCK = 1 << 20
_SPARE_DISK = 200 << 20
_MAGIC = {".zip": b"PK", ".gz": b"\x1f\x8b", ".tgz": b"\x1f\x8b"}


class DownloadSettings(Settings):
    """How archives are obtained. Changing these re-runs nothing that is already there."""

    mirror: str | None = None
    """A folder or URL laid out `<corpus>/<archive>` with `SHA256SUMS`, tried first."""
    retries: int = Field(4, ge=0, le=20)
    """How often a failed source is tried again, with pauses of 1, 2, 4, … s."""
    timeout_s: float = Field(30.0, gt=0, le=3600)
    """Seconds without any data after which a connection counts as stalled."""


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


@dataclass(frozen=True)
class _Source:
    location: str
    checksum: str | None


class _Retryable(Exception):
    """A failure that may pass: the same source is worth another try."""


class _Refused(Exception):
    """A failure that another try of this source will not mend."""


def fetch(archive: Archive, corpus: str, target: Path, settings: DownloadSettings) -> None:
    """Put a verified copy of `archive` at `target`.

    Raises
    ------
    UserError
        If no source gives the file; the text names every source and what came from it.
    """
    failures = []
    for source in _sources(archive, corpus, settings):
        try:
            _fetch_from(source, archive, target, settings)
            return
        except _Refused as failure:
            failures.append(f"{source.location}: {failure}")
            log.warning("%s", failures[-1])
    raise UserError(
        f"cannot get {archive.name} of {corpus}: {'; '.join(failures) or 'no source is known'}. "
        "Check the network, or set download.mirror to a folder or URL that holds "
        f"{corpus}/{archive.name}"
    )


def _sources(archive: Archive, corpus: str, settings: DownloadSettings) -> Iterator[_Source]:
    if settings.mirror:
        root = settings.mirror.rstrip("/")
        name = f"{corpus}/{archive.name}"
        sums = _mirror_checksums(root, settings)
        if name in sums:
            yield _Source(f"{root}/{name}", f"sha256:{sums[name]}")
        else:
            log.warning("%s is not listed in %s/SHA256SUMS", name, root)
    for url in archive.urls:
        yield _Source(url, archive.checksum)


def _is_url(location: str) -> bool:
    return urlsplit(location).scheme in {"http", "https"}


def _mirror_checksums(root: str, settings: DownloadSettings) -> dict[str, str]:
    location = f"{root}/SHA256SUMS"
    try:
        if _is_url(root):
            reply = requests.get(location, timeout=settings.timeout_s)
            reply.raise_for_status()
            text = reply.text
        else:
            text = Path(location).read_text(encoding="utf-8")
    except (OSError, requests.RequestException) as error:
        raise UserError(
            f"download.mirror: cannot read {location} ({error}); a mirror is a folder or URL with "
            "<corpus>/<archive> and a SHA256SUMS file"
        ) from None
    pairs = (line.split(maxsplit=1) for line in text.splitlines() if line.strip())
    return {name.strip().lstrip("*").removeprefix("./"): value for value, name in pairs}


def _fetch_from(
    source: _Source, archive: Archive, target: Path, settings: DownloadSettings
) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(target.name + ".part")
    for attempt in range(settings.retries + 1):
        try:
            if _is_url(source.location):
                _download(source, part, settings)
            else:
                _copy(Path(source.location), part)
            _verify(part, archive, source)
            part.replace(target)
            _tag(part).unlink(missing_ok=True)
            return
        except _Retryable as failure:
            if attempt == settings.retries:
                raise _Refused(f"{failure} ({attempt + 1} tries)") from None
            pause = min(2**attempt, 60)
            log.warning("%s: %s; trying again in %d s", source.location, failure, pause)
            time.sleep(pause)


def _copy(path: Path, part: Path) -> None:
    if not path.is_file():
        raise _Refused("no such file")
    _need_disk(part.parent, path.stat().st_size, path.name)
    shutil.copyfile(path, part)


def _tag(part: Path) -> Path:
    """The file that remembers which version of the remote file a part belongs to."""
    return part.with_name(part.name + ".tag")


def _download(source: _Source, part: Path, settings: DownloadSettings) -> None:
    url = source.location
    # Bytes of one host are continued from another only where a checksum would catch a mix-up.
    owner = source.checksum or url
    tag = _tag(part)
    if part.exists() and not (tag.exists() and tag.read_text() == owner):
        part.unlink()
    have = part.stat().st_size if part.exists() else 0
    headers = {"Range": f"bytes={have}-"} if have else {}
    # Compressed transfer would make offsets and lengths those of another file.
    headers["Accept-Encoding"] = "identity"
    try:
        with requests.get(url, headers=headers, stream=True, timeout=settings.timeout_s) as reply:
            if reply.status_code == 416:
                part.unlink(missing_ok=True)
                raise _Retryable("the partial file does not fit the remote one; starting afresh")
            if reply.status_code in {408, 425, 429} or reply.status_code >= 500:
                raise _Retryable(f"HTTP {reply.status_code} {reply.reason}")
            if reply.status_code not in {200, 206}:
                raise _Refused(f"HTTP {reply.status_code} {reply.reason}")
            if have and reply.status_code == 206:
                start = reply.headers.get("Content-Range", "").removeprefix("bytes ").split("-")[0]
                if start != str(have):
                    part.unlink()
                    raise _Retryable("the server resumed at another place; starting afresh")
            else:
                have = 0
            length = reply.headers.get("Content-Length")
            expected = have + int(length) if length else None
            if expected:
                _need_disk(part.parent, expected - have, url)
            tag.write_text(owner)
            _receive(reply, part, have, expected)
    except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
        raise _Retryable(f"{type(error).__name__}: {error}") from None


def _receive(reply: requests.Response, part: Path, have: int, expected: int | None) -> None:
    with (
        part.open("ab" if have else "wb") as stream,
        tqdm(
            total=expected, initial=have, unit="B", unit_scale=True, desc=part.stem, mininterval=2
        ) as bar,
    ):
        # Unlike `iter_content`, this gives the bytes that came before a connection broke.
        while block := reply.raw.read1(_BLOCK):
            stream.write(block)
            bar.update(len(block))
    came = part.stat().st_size
    if expected is not None and came < expected:
        raise _Retryable(f"the connection ended after {came} of {expected} bytes")


def _need_disk(folder: Path, size: int, what: str) -> None:
    free = shutil.disk_usage(folder).free
    if free < size + _SPARE_DISK:
        raise UserError(
            f"{what} needs {size / 1e9:.2f} GB but {folder} has {free / 1e9:.2f} GB free: "
            "make room or move the folder to a larger disk"
        )


def _verify(part: Path, archive: Archive, source: _Source) -> None:
    with part.open("rb") as stream:
        start = stream.read(512)
    if start.lstrip()[:15].lower().startswith((b"<!doctype", b"<html", b"<?xml")):
        part.unlink()
        raise _Refused("a web page came instead of the archive")
    magic = _MAGIC.get(PurePosixPath(archive.name).suffix, b"")
    if not start.startswith(magic):
        size = part.stat().st_size
        part.unlink()
        raise _Refused(f"{size} bytes came that are not a {PurePosixPath(archive.name).suffix}")
    if source.checksum:
        algorithm, _, wanted = source.checksum.partition(":")
        got = files.file_digest(part, algorithm)
        if got != wanted:
            size = part.stat().st_size
            part.unlink()
            raise _Retryable(f"{algorithm} of the {size} bytes is {got}, expected {wanted}")


def extract(archive: Path, folder: Path, wanted: Callable[[str], bool]) -> int:
    """Extract the regular files of a zip or tar archive whose name is `wanted` into `folder`.

    Links, devices and names that would leave `folder` are refused.  Returns the number of files.

    Raises
    ------
    UserError
        If the archive is damaged, unsafe, or needs more disk than there is.
    """
    folder.mkdir(parents=True, exist_ok=True)
    count = 0
    try:
        _need_disk(folder, sum(size for _, size, _ in _members(archive, wanted)), archive.name)
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
