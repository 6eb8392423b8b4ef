"""A server that misbehaves: downloads resume, fall back, or end with the URL and the reason."""

from __future__ import annotations

import hashlib
import socket
import struct
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from conftest import zip_of

from denoise.core.errors import UserError
from denoise.corpora.archives import Archive
from denoise.corpora.download import DownloadSettings, fetch

CONTENT = zip_of({"a.txt": bytes(range(256)) * 16_000})  # 4 MB
MD5 = "md5:" + hashlib.md5(CONTENT).hexdigest()
# A busy machine may answer late: only what waits for the timeout has a short one.
TIMEOUTS_S = {"stalls": 2.0, "stalls-at-once": 1.0, "trickles": 1.0, "slow": 2.0}


class _Handler(BaseHTTPRequestHandler):
    """Answers each request as the first part of its path asks for, and remembers what came."""

    def do_GET(self) -> None:
        behaviour = self.path.split("/")[1]
        seen = self.server.seen.setdefault(behaviour, [])
        seen.append(self.headers.get("Range"))
        getattr(self, behaviour.replace("-", "_"))(len(seen))

    def whole(self, count: int) -> None:
        self._send(CONTENT)

    def missing(self, count: int) -> None:
        self.send_error(404)

    def broken(self, count: int) -> None:
        self.send_error(500)

    def busy_once(self, count: int) -> None:
        self.send_error(503) if count == 1 else self._send(CONTENT)

    def page(self, count: int) -> None:
        self._send(b"<!DOCTYPE html><html>Please log in</html>")

    def other(self, count: int) -> None:
        self._send(b"PK" + bytes(5000))

    def drops(self, count: int) -> None:
        """Ends the connection after every 100 kB, three times."""
        self._begin(self._start())
        self.wfile.write(CONTENT[self._start() :][: 100_000 if count < 3 else None])

    def drops_often(self, count: int) -> None:
        """Ends it after every 1.2 MB, more often than there are tries."""
        self._begin(self._start())
        self.wfile.write(CONTENT[self._start() :][:1_200_000])

    def resets(self, count: int) -> None:
        if count == 1:
            self._begin(0)
            self.wfile.write(CONTENT[:100_000])
            self.wfile.flush()
            hard = struct.pack("ii", 1, 0)  # no farewell, but RST
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, hard)
            self.connection.shutdown(socket.SHUT_RDWR)
        else:
            self._rest()

    def stalls(self, count: int) -> None:
        if count == 1:
            self._begin(0)
            self.wfile.write(CONTENT[:100_000])
            self.wfile.flush()
            self.server.closing.wait(20)
        else:
            self._rest()

    def stalls_at_once(self, count: int) -> None:
        self.server.closing.wait(20)

    def trickles(self, count: int) -> None:
        """A few bytes now and then, never long enough apart to be a stall."""
        self._begin(0)
        for place in range(200):
            self.wfile.write(CONTENT[place : place + 1])
            self.wfile.flush()
            if self.server.closing.wait(0.05):
                return

    def slow(self, count: int) -> None:
        """Slow, but always on its way."""
        self._begin(0)
        for place in range(0, len(CONTENT), 100_000):
            self.wfile.write(CONTENT[place : place + 100_000])
            self.wfile.flush()
            time.sleep(0.1)

    def no_range(self, count: int) -> None:
        if count == 1:
            self._begin(0)
            self.wfile.write(CONTENT[:100_000])
        else:
            self._send(CONTENT)

    def elsewhere(self, count: int) -> None:
        """Resumes at another place than it was asked to."""
        start = self._start()
        if count == 1:
            self._begin(0)
            self.wfile.write(CONTENT[:100_000])
        elif start:
            self._begin(start, says=start + 7)
            self.wfile.write(CONTENT[start + 7 :] + bytes(7))
        else:
            self._send(CONTENT)

    def range_refused(self, count: int) -> None:
        if self._start():
            self.send_error(416)
        elif count == 1:
            self._begin(0)
            self.wfile.write(CONTENT[:100_000])
        else:
            self._send(CONTENT)

    def says_less(self, count: int) -> None:
        """A length that is half of what it has."""
        self._send(CONTENT, length=len(CONTENT) // 2)

    def says_more(self, count: int) -> None:
        self._send(CONTENT, length=len(CONTENT) + 1000)

    def says_nothing(self, count: int) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(CONTENT)

    def cut_and_says_nothing(self, count: int) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(CONTENT[: len(CONTENT) // 2])

    def moved(self, count: int) -> None:
        self._redirect("/whole/a.zip")

    def odd_length(self, count: int) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "12abc")
        self.end_headers()
        self.wfile.write(CONTENT)

    def leads_nowhere(self, count: int) -> None:
        self._redirect("http://[::bad/a.zip")

    def complete(self, count: int) -> None:
        """Has no more than what came before."""
        assert self._start() == len(CONTENT)
        self.send_response(416)
        self.send_header("Content-Range", f"bytes */{len(CONTENT)}")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def circles(self, count: int) -> None:
        self._redirect("/circles/a.zip")

    def _redirect(self, to: str) -> None:
        self.send_response(302)
        self.send_header("Location", to)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _start(self) -> int:
        asked = self.headers.get("Range")
        return int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0

    def _begin(self, start: int, says: int | None = None) -> None:
        says = start if says is None else says
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {says}-{len(CONTENT) - 1}/{len(CONTENT)}")
        self.send_header("Content-Length", str(len(CONTENT) - start))
        self.end_headers()

    def _rest(self) -> None:
        self._begin(self._start())
        self.wfile.write(CONTENT[self._start() :])

    def _send(self, body: bytes, length: int | None = None) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


class _Server(ThreadingHTTPServer):
    def handle_error(self, *args: object) -> None:
        """The client went away, as it was meant to."""


@pytest.fixture
def server() -> Iterator[_Server]:
    server = _Server(("127.0.0.1", 0), _Handler)
    server.seen, server.closing = {}, threading.Event()
    server.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield server
    server.closing.set()
    server.shutdown()
    server.server_close()


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    monkeypatch.setattr("denoise.corpora.download._pause", lambda seconds: None)


def get(server, *behaviours: str, checksum: str | None = MD5, target: Path) -> None:
    urls = tuple(f"{server.url}/{behaviour}/a.zip" for behaviour in behaviours)
    timeout_s = min(TIMEOUTS_S.get(behaviour, 30.0) for behaviour in behaviours)
    settings = DownloadSettings(retries=2, timeout_s=timeout_s)
    fetch(Archive("a.zip", urls, checksum), "corpus", target, settings)


@pytest.mark.parametrize("checksum", [MD5, None], ids=["checksum", "none"])
@pytest.mark.parametrize(
    ("behaviour", "requests"),
    [
        ("whole", [None]),
        ("busy-once", [None, None]),
        ("drops", [None, "bytes=100000-", "bytes=200000-"]),
        ("drops-often", [None, *(f"bytes={k * 1_200_000}-" for k in (1, 2, 3))]),
        ("resets", [None, "bytes=100000-"]),
        ("stalls", [None, "bytes=100000-"]),
        ("slow", [None]),
        ("no-range", [None, "bytes=100000-"]),
        ("elsewhere", [None, "bytes=100000-", None]),
        ("range-refused", [None, "bytes=100000-", None]),
        ("says-nothing", [None]),
        ("moved", [None]),
        ("odd-length", [None]),
    ],
)
def test_downloads_recover_from_temporary_server_faults(
    server, tmp_path, fault_class, behaviour, requests, checksum
):
    with fault_class(f"download: {behaviour}"):
        get(server, behaviour, checksum=checksum, target=tmp_path / "a.zip")
        assert (tmp_path / "a.zip").read_bytes() == CONTENT
        assert {path.name for path in tmp_path.iterdir()} == {"a.zip", ".a.zip.lock"}
        if behaviour != "resets":  # what came before it may be lost with it
            assert server.seen[behaviour] == requests


@pytest.mark.parametrize("checksum", [MD5, None], ids=["checksum", "none"])
@pytest.mark.parametrize(
    ("behaviour", "said"),
    [
        ("missing", "HTTP 404"),
        ("broken", "HTTP 500"),
        ("page", "a web page came instead"),
        ("other", "came|expected"),
        ("stalls-at-once", "timed out"),
        ("trickles", r"only \d+ bytes came in"),
        ("says-less", "came|expected"),
        ("says-more", f"broke after {len(CONTENT)} of {len(CONTENT) + 1000} bytes"),
        ("cut-and-says-nothing", "came|expected"),
        ("circles", "TooManyRedirects"),
        ("leads-nowhere", "Invalid|bad"),
    ],
)
def test_permanent_server_faults_are_a_one_line_error(
    server, tmp_path, fault_class, behaviour, said, checksum
):
    with fault_class(f"download: {behaviour}"):
        with pytest.raises(UserError, match=said) as caught:
            get(server, behaviour, checksum=checksum, target=tmp_path / "a.zip")
        assert f"{server.url}/{behaviour}/a.zip" in str(caught.value)
        assert "\n" not in str(caught.value)
        assert not (tmp_path / "a.zip").exists()
        # Another host has it.
        get(server, behaviour, "whole", checksum=checksum, target=tmp_path / "a.zip")
        assert (tmp_path / "a.zip").read_bytes() == CONTENT


def test_a_wrong_checksum_is_not_downloaded_again_and_again(server, tmp_path, fault_class):
    with fault_class("download: wrong checksum"):
        with pytest.raises(UserError, match="expected 00000"):
            get(server, "whole", checksum="md5:" + "0" * 32, target=tmp_path / "a.zip")
        assert len(server.seen["whole"]) == 2
        assert list(tmp_path.glob("a.zip*")) == []


def test_a_complete_partial_file_is_not_downloaded_again(server, tmp_path, fault_class):
    """Left by a kill between its last byte and the end of its verification."""
    with fault_class("download: whole part"):
        (tmp_path / "a.zip.part").write_bytes(CONTENT)
        (tmp_path / "a.zip.part.tag").write_text(MD5)
        get(server, "complete", target=tmp_path / "a.zip")
        assert (tmp_path / "a.zip").read_bytes() == CONTENT
        assert server.seen["complete"] == [f"bytes={len(CONTENT)}-"]


def test_a_part_of_another_file_is_not_continued(server, tmp_path, fault_class):
    with fault_class("download: part of another file"):
        (tmp_path / "a.zip.part").write_bytes(b"PK something else")
        (tmp_path / "a.zip.part.tag").write_text("md5:0")
        get(server, "whole", target=tmp_path / "a.zip")
        assert server.seen["whole"] == [None]


def test_an_unreachable_host_is_a_one_line_error(tmp_path, fault_class):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/a.zip"
    with (
        fault_class("download: no host"),
        pytest.raises(UserError, match="ConnectionError") as caught,
    ):
        fetch(
            Archive("a.zip", (url,), MD5), "corpus", tmp_path / "a.zip", DownloadSettings(retries=2)
        )
    assert url in str(caught.value)


def test_concurrent_downloads_of_one_file_fetch_it_once(server, tmp_path, fault_class):
    with fault_class("download: two at once"):
        target = tmp_path / "a.zip"
        errors: list[Exception] = []

        def one() -> None:
            try:
                get(server, "slow", target=target)
            except Exception as error:
                errors.append(error)

        threads = [threading.Thread(target=one) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not errors
        assert target.read_bytes() == CONTENT
        assert len(server.seen["slow"]) == 1
