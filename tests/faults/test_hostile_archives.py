"""Archives made to do harm, or damaged: refused or handled, with nothing outside touched."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import struct
import tarfile
import zipfile
from pathlib import Path

import pytest
from conftest import tar_of, zip_of

from denoise.core.errors import UserError
from denoise.corpora.archives import check, extract
from denoise.corpora.indexing import index_subset

OUTSIDE = ("../outside", "/outside", "a/../../outside", "a\\..\\..\\outside", "./../outside")


def members(*infos: tarfile.TarInfo | tuple[tarfile.TarInfo, bytes]) -> bytes:
    """A tar of raw members."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as bundle:
        for item in infos:
            info, content = item if isinstance(item, tuple) else (item, b"")
            info.size = len(content)
            bundle.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def special(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def extracted(tmp_path: Path, content: bytes, name: str = "evil.tar.gz") -> list[str]:
    """Extract an archive into a folder of its own; the regular files that are there then."""
    (tmp_path / name).write_bytes(content)
    inner = tmp_path / "inner"
    extract(tmp_path / name, inner, lambda member: True)
    assert not any(path.is_symlink() for path in inner.rglob("*"))
    return sorted(str(path.relative_to(inner)) for path in inner.rglob("*") if path.is_file())


@pytest.mark.parametrize("make", [zip_of, tar_of])
@pytest.mark.parametrize("name", OUTSIDE)
def test_members_that_leave_the_folder_are_refused(tmp_path, fault_class, name, make):
    with fault_class("archive: path traversal"):
        with pytest.raises(UserError, match="leaves its folder"):
            extracted(tmp_path, make({"good": b"x", name: b"x"}))
        assert not (tmp_path / "outside").exists() and not Path("/outside").exists()


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE]
)
def test_links_and_devices_are_left_out(tmp_path, fault_class, kind):
    with fault_class("archive: links and devices"):
        victim = tmp_path / "victim"
        victim.write_text("safe")
        content = members(
            special("link", kind, str(victim)), (tarfile.TarInfo("good"), b"x"),
            special("folder", kind, str(tmp_path)),
        )  # fmt: skip
        assert extracted(tmp_path, content) == ["good"]
        assert victim.read_text() == "safe"


def test_nothing_is_written_through_a_link(tmp_path, fault_class):
    with fault_class("archive: written through a link"):
        content = members(
            special("folder", tarfile.SYMTYPE, str(tmp_path)),
            (tarfile.TarInfo("folder/outside"), b"x"),
        )
        assert extracted(tmp_path, content) == ["folder/outside"]
        assert not (tmp_path / "outside").exists()
    with fault_class("archive: written through a link"):
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as package:
            link = zipfile.ZipInfo("link")
            link.external_attr = 0o120777 << 16
            package.writestr(link, str(tmp_path))
            package.writestr("link/outside", b"x")
        assert extracted(tmp_path, buffer.getvalue(), "evil.zip") == [
            "folder/outside",
            "link/outside",
        ]
        assert not (tmp_path / "outside").exists()


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path, fault_class):
    """2 GB of zeros in 2 MB."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as package:
        info = zipfile.ZipInfo("zeros.wav")
        info.compress_type = zipfile.ZIP_DEFLATED
        with package.open(info, "w", force_zip64=True) as member:
            for _ in range(2048):
                member.write(bytes(1 << 20))
    with fault_class("archive: bomb"):
        with pytest.raises(UserError, match=r"refuses to extract 2\.1 GB"):
            extracted(tmp_path, buffer.getvalue(), "evil.zip")
        assert list((tmp_path / "inner").iterdir()) == []


def test_a_zip_bomb_with_a_false_size_is_not_extracted(tmp_path, fault_class):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as package:
        package.writestr("zeros.wav", bytes(10 << 20))
    content = buffer.getvalue().replace(struct.pack("<I", 10 << 20), struct.pack("<I", 100))
    with fault_class("archive: bomb"):
        with pytest.raises(UserError, match=r"evil\.zip cannot be extracted"):
            extracted(tmp_path, content, "evil.zip")
        sizes = [path.stat().st_size for path in (tmp_path / "inner").rglob("*")]
        assert sum(sizes) <= 100


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_files_of_one_name_are_refused(tmp_path, fault_class):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as package:
        package.writestr("a", b"1")
        package.writestr("./a", b"2")
    again = members((tarfile.TarInfo("a"), b"1"), (tarfile.TarInfo("a"), b"2"))
    for name, content in {"evil.zip": buffer.getvalue(), "evil.tar.gz": again}.items():
        with fault_class("archive: duplicate names"), pytest.raises(UserError, match="twice"):
            extracted(tmp_path, content, name)


WHOLE = {"a": bytes(100_000), "b": bytes(range(256)) * 500, "c": b"end" * 5000}


@pytest.mark.parametrize("make", [zip_of, tar_of])
def test_a_truncated_archive_is_named(tmp_path, fault_class, make, repetitions):
    whole = make(WHOLE)
    tries = repetitions(8, 200)
    for number in range(tries):
        size = 1 + (len(whole) - 1) * number // tries
        path = tmp_path / f"short{number}"
        path.write_bytes(whole[:size])
        with fault_class("archive: truncated"):
            assert check(path)
            with pytest.raises(UserError, match=f"short{number} cannot be extracted"):
                extract(path, tmp_path / "out", lambda member: True)


@pytest.mark.parametrize("make", [zip_of, tar_of])
def test_corrupted_archives_are_detected_or_extract_unchanged_data(
    tmp_path, fault_class, make, repetitions
):
    import random

    draw = random.Random(0)
    whole = make(WHOLE)
    for number in range(repetitions(20, 500)):
        content = bytearray(whole)
        for _ in range(draw.randint(1, 4)):
            content[draw.randrange(len(content))] ^= draw.randint(1, 255)
        path, out = tmp_path / f"changed{number}", tmp_path / f"out{number}"
        path.write_bytes(content)
        with fault_class("archive: changed bytes"):
            try:
                extract(path, out, lambda member: True)
            except UserError as error:
                assert "\n" not in str(error)
                continue
            found = {p.name: p.read_bytes() for p in out.rglob("*") if p.is_file()}
            for name, data in found.items():
                assert WHOLE.get(name, data) == data


@pytest.mark.parametrize("pack", [bz2.compress, lzma.compress, bytes, gzip.compress])
def test_an_archive_with_the_wrong_suffix_is_still_extracted(tmp_path, fault_class, pack):
    plain = gzip.decompress(tar_of({"good": b"x"}))
    with fault_class("archive: wrong compression"):
        assert extracted(tmp_path, pack(plain)) == ["good"]
    with (
        fault_class("archive: wrong compression"),
        pytest.raises(UserError, match="cannot be extracted"),
    ):
        extracted(tmp_path, pack(b"no tar at all" * 100), "other.tar.gz")


@pytest.mark.parametrize(
    ("corpus", "subset", "content"),
    [
        ("librispeech", "dev-clean", tar_of({"LibriSpeech/other/1/2/1-2-3.flac": b"x"})),
        ("librispeech", "dev-clean", tar_of({"LibriSpeech/dev-clean/README.TXT": b"x"})),
        ("esc50", "all", zip_of({"ESC-50-master/audio/1.wav": b"x"})),
        ("esc50", "all", zip_of({"E/meta/esc50.csv": b"filename,fold,category\n1.wav,1,dog\n"})),
        ("voicebank_demand", "test", zip_of({"elsewhere/p1_001.wav": b"x"})),
    ],
)
def test_missing_archive_members_are_named_and_no_subset_table_is_written(
    tmp_path, fault_class, corpus, subset, content
):
    archive, target = tmp_path / "archive", tmp_path / "subset.csv"
    archive.write_bytes(content)
    with fault_class("archive: missing members"):
        with pytest.raises(UserError, match=corpus):
            index_subset(corpus, subset, [archive], target)
        assert {path.name for path in tmp_path.iterdir()} <= {"archive", f".{target.name}.lock"}
