"""Mirrors and optional archives; what servers and archives do wrong is in tests/faults."""

from __future__ import annotations

import pytest
from conftest import write_mirror, zip_of

from denoise.core.errors import UserError
from denoise.corpora.archives import Archive
from denoise.corpora.download import DownloadSettings, fetch, obtain

CONTENT = zip_of({"a.txt": bytes(range(256)) * 4000})
QUICK = DownloadSettings(retries=0, timeout_s=3)


def test_the_mirror_is_tried_first_and_its_checksum_verified(tmp_path):
    mirror = write_mirror(tmp_path / "mirror", {"corpus/a.zip": CONTENT})
    settings = DownloadSettings(mirror=str(mirror), retries=0)
    archive = Archive("a.zip", ("http://localhost:1/a.zip",), "md5:of the publisher")
    fetch(archive, "corpus", tmp_path / "a.zip", settings)
    assert (tmp_path / "a.zip").read_bytes() == CONTENT
    (mirror / "corpus" / "a.zip").write_bytes(zip_of({"b": b"changed"}))
    (tmp_path / "a.zip").unlink()
    with pytest.raises(UserError, match="sha256"):
        fetch(Archive("a.zip", ()), "corpus", tmp_path / "a.zip", settings)


def test_an_unavailable_optional_archive_becomes_an_empty_file(tmp_path):
    logs = Archive("logs.zip", (), optional=True)
    obtain(logs, "c", tmp_path / "logs.zip", QUICK)
    assert (tmp_path / "logs.zip").read_bytes() == b""
    with pytest.raises(UserError, match=r"cannot get needed\.zip of c: no source is known"):
        obtain(Archive("needed.zip", ()), "c", tmp_path / "needed.zip", QUICK)
    assert not (tmp_path / "needed.zip").exists()


def test_mirror_errors_name_unlisted_files_and_invalid_checksum_lists(tmp_path):
    folder = write_mirror(tmp_path / "mirror", {"c/other.zip": CONTENT})
    mirrored = DownloadSettings(mirror=str(folder), retries=0)
    with pytest.raises(UserError, match=r"c/a\.zip is not listed in .*mirror/SHA256SUMS"):
        fetch(Archive("a.zip", ()), "c", tmp_path / "a.zip", mirrored)
    (folder / "SHA256SUMS").write_text("<html>\nlogin\n</html>\n")
    with pytest.raises(UserError, match="line 1 .*is not a checksum and a name"):
        fetch(Archive("a.zip", ()), "c", tmp_path / "a.zip", mirrored)


def test_a_mirror_requires_a_checksum_file(tmp_path):
    settings = DownloadSettings(mirror=str(tmp_path))
    with pytest.raises(UserError, match=r"download\.mirror.*SHA256SUMS"):
        fetch(Archive("a.zip", ()), "corpus", tmp_path / "a.zip", settings)
