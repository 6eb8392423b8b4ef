"""Downloads: resumed, verified, retried, and refused with one clear line."""

from __future__ import annotations

import hashlib
import io
import tarfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from conftest import tar_of, write_mirror, zip_of

from denoise.archives import Archive, extract
from denoise.errors import UserError
from denoise.fetch import DownloadSettings, fetch, obtain

CONTENT = zip_of({"a.txt": bytes(range(256)) * 4000})
MD5 = "md5:" + hashlib.md5(CONTENT).hexdigest()
QUICK = DownloadSettings(retries=1, timeout_s=3)


class _Handler(BaseHTTPRequestHandler):
    """Serves CONTENT in the way that the path asks for, and remembers the requests."""

    def do_GET(self) -> None:
        server = self.server
        seen = server.seen.setdefault(self.path, [])
        seen.append(self.headers.get("Range"))
        if self.path == "/missing.zip":
            self.send_error(404)
        elif self.path == "/busy-once.zip" and len(seen) == 1:
            self.send_error(503)
        elif self.path == "/page.zip":
            self._send(200, b"<!DOCTYPE html><html>Please log in</html>")
        elif self.path == "/drops.zip" and len(seen) == 1:
            self.send_response(200)
            self.send_header("Content-Length", str(len(CONTENT)))
            self.end_headers()
            self.wfile.write(CONTENT[:1000])
        elif self.headers.get("Range") and self.path != "/no-range.zip":
            start = int(self.headers["Range"].removeprefix("bytes=").rstrip("-"))
            rest = CONTENT[start:]
            extra = {"Content-Range": f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}"}
            self._send(206, rest, extra)
        else:
            self._send(200, CONTENT)

    def _send(self, status: int, body: bytes, extra: dict[str, str] | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        for name, value in (extra or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def server():
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.seen = {}
    server.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    monkeypatch.setattr("denoise.fetch.time.sleep", lambda seconds: None)


def get(server, *paths: str, checksum: str | None = MD5, target=None) -> None:
    urls = tuple(f"{server.url}/{path}" for path in paths)
    fetch(Archive("a.zip", urls, checksum), "corpus", target, QUICK)


def test_a_good_download_is_verified_and_leaves_no_part(server, tmp_path):
    get(server, "good.zip", target=tmp_path / "a.zip")
    assert [path.name for path in tmp_path.iterdir()] == ["a.zip"]
    assert (tmp_path / "a.zip").read_bytes() == CONTENT


def test_a_dropped_download_resumes_where_it_stopped(server, tmp_path):
    get(server, "drops.zip", target=tmp_path / "a.zip")
    assert (tmp_path / "a.zip").read_bytes() == CONTENT
    assert server.seen["/drops.zip"] == [None, "bytes=1000-"]


def test_a_server_without_ranges_is_read_from_the_start(server, tmp_path):
    (tmp_path / "a.zip.part").write_bytes(CONTENT[:500])
    (tmp_path / "a.zip.part.tag").write_text(MD5)
    get(server, "no-range.zip", target=tmp_path / "a.zip")
    assert (tmp_path / "a.zip").read_bytes() == CONTENT


def test_a_part_of_another_file_is_not_continued(server, tmp_path):
    (tmp_path / "a.zip.part").write_bytes(b"PK something else")
    (tmp_path / "a.zip.part.tag").write_text("md5:0")
    get(server, "good.zip", target=tmp_path / "a.zip")
    assert server.seen["/good.zip"] == [None]


def test_a_busy_server_is_tried_again(server, tmp_path):
    get(server, "busy-once.zip", target=tmp_path / "a.zip")
    assert len(server.seen["/busy-once.zip"]) == 2


def test_the_second_url_is_the_fallback(server, tmp_path):
    get(server, "missing.zip", "good.zip", target=tmp_path / "a.zip")
    assert (tmp_path / "a.zip").exists()


@pytest.mark.parametrize(
    ("path", "checksum", "said"),
    [
        ("page.zip", None, "web page came instead"),
        ("missing.zip", MD5, "HTTP 404"),
        ("good.zip", "md5:" + "0" * 32, "expected 00000"),
    ],
)
def test_what_is_not_the_archive_is_refused_by_name(server, tmp_path, path, checksum, said):
    with pytest.raises(UserError, match=said) as caught:
        get(server, path, checksum=checksum, target=tmp_path / "a.zip")
    assert f"{server.url}/{path}" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.glob("a.zip")) == list(tmp_path.glob("*.part")) == []


def test_a_mirror_comes_first_and_its_checksum_counts(server, tmp_path):
    mirror = write_mirror(tmp_path / "mirror", {"corpus/a.zip": CONTENT})
    settings = DownloadSettings(mirror=str(mirror), retries=0)
    archive = Archive("a.zip", (f"{server.url}/good.zip",), "md5:of the publisher")
    fetch(archive, "corpus", tmp_path / "a.zip", settings)
    assert server.seen == {}
    (mirror / "corpus" / "a.zip").write_bytes(zip_of({"b": b"changed"}))
    (tmp_path / "a.zip").unlink()
    with pytest.raises(UserError, match="sha256"):
        fetch(Archive("a.zip", ()), "corpus", tmp_path / "a.zip", settings)


def test_an_optional_archive_that_cannot_be_had_is_an_empty_file(tmp_path):
    logs = Archive("logs.zip", (), optional=True)
    obtain(logs, "c", tmp_path / "logs.zip", QUICK)
    assert (tmp_path / "logs.zip").read_bytes() == b""
    with pytest.raises(UserError, match=r"cannot get needed\.zip of c: no source is known"):
        obtain(Archive("needed.zip", ()), "c", tmp_path / "needed.zip", QUICK)
    assert not (tmp_path / "needed.zip").exists()


def test_a_mirror_says_what_it_does_not_list_and_what_is_no_list(tmp_path):
    folder = write_mirror(tmp_path / "mirror", {"c/other.zip": CONTENT})
    mirrored = DownloadSettings(mirror=str(folder), retries=0)
    with pytest.raises(UserError, match=r"c/a\.zip is not listed in .*mirror/SHA256SUMS"):
        fetch(Archive("a.zip", ()), "c", tmp_path / "a.zip", mirrored)
    (folder / "SHA256SUMS").write_text("<html>\nlogin\n</html>\n")
    with pytest.raises(UserError, match="line 1 .*is not a checksum and a name"):
        fetch(Archive("a.zip", ()), "c", tmp_path / "a.zip", mirrored)


def test_a_folder_without_checksums_is_no_mirror(tmp_path):
    settings = DownloadSettings(mirror=str(tmp_path))
    with pytest.raises(UserError, match=r"download\.mirror.*SHA256SUMS"):
        fetch(Archive("a.zip", ()), "corpus", tmp_path / "a.zip", settings)


@pytest.mark.parametrize("name", ["../outside", "/outside", "a/../../outside"])
def test_members_that_leave_the_folder_are_refused(tmp_path, name):
    for number, content in enumerate((zip_of({name: b"x"}), tar_of({name: b"x"}))):
        archive = tmp_path / f"evil{number}"
        archive.write_bytes(content)
        with pytest.raises(UserError, match="leaves its folder"):
            extract(archive, tmp_path / "inner", lambda member: True)
    assert not (tmp_path / "outside").exists()


def test_links_are_not_extracted(tmp_path):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as bundle:
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        bundle.addfile(link)
    (tmp_path / "a.tar.gz").write_bytes(buffer.getvalue())
    assert extract(tmp_path / "a.tar.gz", tmp_path / "out", lambda member: True) == 0
    assert list((tmp_path / "out").iterdir()) == []


def test_a_truncated_archive_is_named(tmp_path):
    whole = tar_of({"a": bytes(100_000), "b": bytes(range(256)) * 500})
    (tmp_path / "short.tar.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=r"short\.tar\.gz cannot be extracted"):
        extract(tmp_path / "short.tar.gz", tmp_path / "out", lambda member: True)
