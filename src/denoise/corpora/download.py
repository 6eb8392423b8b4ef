"""Downloading archives.

A download resumes where it stopped (HTTP Range), is verified before it gets its final name, is
retried with growing pauses, and falls back to the next source.  A *mirror*, a folder or URL laid
out ``<corpus>/<archive>`` beside a ``SHA256SUMS`` file, is tried before the publisher's hosts.
"""

from __future__ import annotations

import logging
import re
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import requests
import urllib3
from pydantic import Field
from tqdm import tqdm

from denoise.core import files
from denoise.core.errors import UserError
from denoise.core.settings import Settings
from denoise.corpora.archives import Archive, check, need_disk

log = logging.getLogger(__name__)

_BLOCK = 1 << 20
_MAGIC = {".zip": b"PK", ".gz": b"\x1f\x8b", ".tgz": b"\x1f\x8b"}


class DownloadSettings(Settings):
    """How archives are obtained. Changing these re-runs nothing that is already there."""

    mirror: str | None = None
    """A folder or URL laid out `<corpus>/<archive>` with `SHA256SUMS`, tried first."""
    retries: int = Field(4, ge=0, le=20)
    """How often a failed source is retried, after 1, 2, 4, … s. If a connection breaks after it
    delivered 1 MiB or more, the count starts again at one failure."""
    timeout_s: float = Field(30.0, gt=0, le=3600)
    """A connection is considered stalled after this many seconds without data."""
    min_speed: int = Field(1000, ge=0)
    """A connection is also considered stalled if it delivers fewer bytes per second than this over
    `timeout_s`."""


@dataclass(frozen=True)
class _Source:
    location: str
    checksum: str | None


class _Retryable(Exception):
    """A temporary failure: the same source can be tried again."""

    def __init__(self, text: str, digest: str | None = None) -> None:
        super().__init__(text)
        self.digest = digest


class _Refused(Exception):
    """A permanent failure: another try of the same source would fail too."""


def fetch(archive: Archive, corpus: str, target: Path, settings: DownloadSettings) -> None:
    """Put a verified copy of `archive` at `target`, if it is not there yet.

    Other processes that want it too, as those of another study that shares the folder, wait.

    Raises
    ------
    UserError
        If no source gives the file; the text names every source and what came from it.
    """
    with files.locked(target.with_name(f".{target.name}.lock")):
        if not target.exists():
            _fetch(archive, corpus, target, settings)


def _fetch(archive: Archive, corpus: str, target: Path, settings: DownloadSettings) -> None:
    failures: list[str] = []
    for source in _sources(archive, corpus, settings, failures):
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


def obtain(archive: Archive, corpus: str, target: Path, settings: DownloadSettings) -> None:
    """`fetch`, but an optional archive that no source gives is left as an empty file.

    Raises
    ------
    UserError
        If no source gives an archive that is not optional.
    """
    if not archive.optional:
        fetch(archive, corpus, target, settings)
        return
    try:
        fetch(archive, corpus, target, settings.model_copy(update={"retries": 0}))
    except UserError as error:
        log.warning("%s; continuing without it, with an empty file in its place", error)
        files.write_text(target, "")


def _sources(
    archive: Archive, corpus: str, settings: DownloadSettings, failures: list[str]
) -> Iterator[_Source]:
    if settings.mirror:
        root = settings.mirror.rstrip("/")
        name = f"{corpus}/{archive.name}"
        sums = _mirror_checksums(root, settings)
        if name in sums:
            yield _Source(f"{root}/{name}", f"sha256:{sums[name]}")
        else:
            failures.append(f"{name} is not listed in {root}/SHA256SUMS")
            log.warning("%s", failures[-1])
    for url in archive.urls:
        yield _Source(url, archive.checksum)


def _is_url(location: str) -> bool:
    return location.partition("://")[0].lower() in {"http", "https"}


def _mirror_checksums(root: str, settings: DownloadSettings) -> dict[str, str]:
    location = f"{root}/SHA256SUMS"
    try:
        if _is_url(root):
            reply = requests.get(location, timeout=settings.timeout_s)
            reply.raise_for_status()
            text = reply.text
        else:
            text = Path(location).read_text(encoding="utf-8")
    except (OSError, ValueError, requests.RequestException) as error:
        raise UserError(
            f"download.mirror: cannot read {location} ({error}); a mirror is a folder or URL with "
            "<corpus>/<archive> and a SHA256SUMS file"
        ) from None
    sums = {}
    for number, line in enumerate(text.splitlines(), 1):
        match = re.fullmatch(r"([0-9a-fA-F]{64}) [ *](?:\./)?(.+)", line.rstrip())
        if match:
            sums[match[2]] = match[1].lower()
        elif line.strip():
            raise UserError(
                f"download.mirror: line {number} of {location} is not a checksum and a name, as "
                "sha256sum writes them"
            )
    return sums


def _fetch_from(
    source: _Source, archive: Archive, target: Path, settings: DownloadSettings
) -> None:
    part = target.with_name(target.name + ".part")
    failures, wrong = 0, set()
    while True:
        before = part.stat().st_size if part.exists() else 0
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
            came = (part.stat().st_size if part.exists() else 0) - before
            failures = 1 if came >= _BLOCK else failures + 1
            if failures > settings.retries or failure.digest in wrong:
                raise _Refused(f"{failure} ({failures} tries)") from None
            wrong |= {failure.digest} - {None}
            pause = min(2 ** (failures - 1), 60)
            log.warning("%s: %s; trying again in %d s", source.location, failure, pause)
            _pause(pause)


def _pause(seconds: float) -> None:
    time.sleep(seconds)


def _copy(path: Path, part: Path) -> None:
    if not path.is_file():
        raise _Refused("no such file")
    need_disk(part.parent, path.stat().st_size, path.name)
    shutil.copyfile(path, part)


def _tag(part: Path) -> Path:
    """The file with the version of the remote file that a partial download belongs to."""
    return part.with_name(part.name + ".tag")


def _discard(part: Path) -> None:
    for path in (part, _tag(part)):
        path.unlink(missing_ok=True)


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
            # Killed before it was verified, a whole file has nothing left to ask for.
            whole = reply.headers.get("Content-Range", "") == f"bytes */{have}"
            if reply.status_code == 416 and whole:
                return
            have = _resumed_at(reply, part, have)
            length = reply.headers.get("Content-Length")
            expected = have + int(length) if length and length.isdigit() else None
            if expected:
                need_disk(part.parent, expected - have, url)
            tag.write_text(owner)
            try:
                _receive(reply, part, have, expected, settings)
            except urllib3.exceptions.ProtocolError:
                came = part.stat().st_size
                raise _Retryable(
                    f"the connection broke after {came} of {expected or 'unknown'} bytes"
                ) from None
    except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
        raise _Retryable(f"{type(error).__name__}: {error}") from None
    except UserError:  # no room on the disk, which no other source mends
        raise
    except ValueError as error:  # of the URL, or one that it redirects to
        raise _Refused(str(error)) from None


def _resumed_at(reply: requests.Response, part: Path, have: int) -> int:
    """Byte of the file at which an answer begins to a request for all after the first `have`."""
    if reply.status_code == 416:
        part.unlink(missing_ok=True)
        raise _Retryable("the partial file does not fit the remote one; starting again")
    if reply.status_code in {408, 425, 429} or reply.status_code >= 500:
        raise _Retryable(f"HTTP {reply.status_code} {reply.reason}")
    if reply.status_code not in {200, 206}:
        raise _Refused(f"HTTP {reply.status_code} {reply.reason}")
    if not have or reply.status_code == 200:
        return 0
    start = reply.headers.get("Content-Range", "").removeprefix("bytes ").split("-")[0]
    if start != str(have):
        part.unlink()
        raise _Retryable("the server resumed at another place; starting again")
    return have


def _receive(
    reply: requests.Response,
    part: Path,
    have: int,
    expected: int | None,
    settings: DownloadSettings,
) -> None:
    since, came = time.monotonic(), 0
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
            came += len(block)
            passed = time.monotonic() - since
            if passed >= settings.timeout_s:
                if came < settings.min_speed * passed:
                    raise _Retryable(f"only {came} bytes came in {passed:.0f} s")
                since, came = time.monotonic(), 0


def _verify(part: Path, archive: Archive, source: _Source) -> None:
    with part.open("rb") as stream:
        start = stream.read(512)
    if start.lstrip()[:15].lower().startswith((b"<!doctype", b"<html", b"<?xml")):
        _discard(part)
        raise _Refused("a web page came instead of the archive")
    magic = _MAGIC.get(PurePosixPath(archive.name).suffix, b"")
    if not start.startswith(magic):
        size = part.stat().st_size
        _discard(part)
        raise _Refused(f"{size} bytes came that are not a {PurePosixPath(archive.name).suffix}")
    if source.checksum:
        algorithm, _, wanted = source.checksum.partition(":")
        got = files.file_digest(part, algorithm)
        if got != wanted:
            size = part.stat().st_size
            _discard(part)
            raise _Retryable(f"{algorithm} of the {size} bytes is {got}, expected {wanted}", got)
    elif damage := check(part):
        size = part.stat().st_size
        _discard(part)
        raise _Retryable(f"the {size} bytes that came are a damaged archive ({damage})")
