"""The page to try a model on one's own recording."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
import requests
import soundfile
from workflow_runs import BIN

from denoise.cli import demo, main


@pytest.fixture
def address(study, tmp_path):
    """`denoise demo` with a model of the study, on a port of its own."""
    pytest.importorskip("gradio")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    process = subprocess.Popen(
        [str(BIN / "denoise"), "demo", "--no-browser", "--port", str(port)],
        cwd=study, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(study / "src"), "TMPDIR": str(temporary)},
    )  # fmt: skip
    line = process.stdout.readline()
    found = re.match(r"http://127\.0\.0\.1:\d+", line)
    assert found, line + process.stderr.read()
    yield found.group()
    assert len(list(temporary.glob("denoise-demo-*"))) == 1
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 0
    # Uploads lay in it, too.
    assert not list(temporary.rglob("*.wav")) and not list(temporary.glob("denoise-demo-*"))


@pytest.mark.slow
@pytest.mark.browser
def test_a_file_is_denoised_and_can_be_saved(page, address, tmp_path):
    rng = np.random.default_rng(0)
    soundfile.write(tmp_path / "mine.wav", rng.normal(0, 0.05, 24_000), 8000)
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    page.set_default_timeout(90_000)
    page.goto(address)
    page.locator("input[type=file]").first.set_input_files(str(tmp_path / "mine.wav"))
    page.get_by_label("Model").click()
    page.get_by_role("option", name="quickstart_loss-mae").click()
    page.get_by_label("Attenuation limit (dB)").first.fill("12")
    page.get_by_role("button", name="Denoise", exact=True).click()
    page.wait_for_function(
        "[...document.querySelectorAll('textarea, input')].some("
        "e => e.value.includes('8000 Hz, strength 1, at most 12 dB of attenuation'))"
    )
    page.locator("img[src*='quickstart_loss-mae.png']").wait_for()
    link = page.locator("a[download][href*='quickstart_loss-mae.wav']").first
    link.wait_for(state="attached")
    audio = page.request.get(link.get_attribute("href")).body()
    (tmp_path / "got.wav").write_bytes(audio)
    found, rate = soundfile.read(tmp_path / "got.wav")
    assert rate == 8000 and len(found) == 24_000 and np.isfinite(found).all()
    assert requests.get(address, headers={"Host": "evil.example"}, timeout=30).status_code == 421
    # Nothing of it goes anywhere else; without a network Gradio does without its fonts.
    own = [url for url in asked if url.startswith((address, "data:", "blob:"))]
    others = {url for url in asked if url not in own}
    assert all("font" in url or "cdn" in url for url in others), others


BUSY = """
import pathlib, sys, tempfile, threading, time
from denoise.cli import main
def denoise():  # as a recording that takes ten minutes
    for number in range(6_000_000):
        for folder in pathlib.Path(tempfile.gettempdir()).glob("denoise-demo-*"):
            try:
                (folder / f"{number}.wav").touch()
            except OSError:
                pass
        time.sleep(0.0001)
threading.Thread(target=denoise).start()
main(["demo", "--no-browser", "--model", "stream", "--port", sys.argv[1]])
"""


@pytest.mark.slow
def test_the_demo_stops_at_once_while_denoising(tmp_path):
    pytest.importorskip("gradio")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-c", BUSY, str(port)], stdout=subprocess.PIPE, text=True,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )  # fmt: skip
    assert process.stdout.readline().startswith(f"http://127.0.0.1:{port}")
    assert list(tmp_path.glob("denoise-demo-*"))
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 0


@pytest.mark.parametrize(
    ("host", "known", "unknown"),
    [
        ("127.0.0.1", ["127.0.0.1:7860", "localhost", "[::1]:7860", "127.8.9.1"],
         ["evil.example", "192.168.0.7", "127.0.0.1.evil.example", "", "a b", "[::1", "10.0.0.1"]),
        ("0.0.0.0", ["192.168.0.7:7860", "localhost:7860", socket.gethostname()],
         ["evil.example:7860", "", "127.0.0.1.evil.example"]),
        ("lab.example", ["lab.example:7860", "192.168.0.7"], ["evil.example"]),
    ],
)  # fmt: skip
def test_the_demo_answers_only_requests_with_a_known_host(host, known, unknown):
    check = demo.HostCheck(None, host)
    assert all(check.knows(name.encode()) for name in known)
    assert not any(check.knows(name.encode()) for name in unknown)


def test_uploads_are_deleted_after_an_hour_or_after_their_server_died(tmp_path, monkeypatch):
    mine = tmp_path / f"denoise-demo-{os.getpid()}-a" / "uploads"
    mine.mkdir(parents=True)
    for name, age in (("old.wav", 3700), ("new.wav", 3500)):
        (mine / name).touch()
        os.utime(mine / name, (time.time() - age,) * 2)
    demo.forget_old(mine.parent)
    assert [path.name for path in mine.iterdir()] == ["new.wav"]
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    killed = tmp_path / f"denoise-demo-{gone.pid}-b"
    killed.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    demo._forget_others()
    assert not killed.exists() and mine.exists()


def test_the_demo_treats_only_loopback_addresses_as_local(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert all(map(demo._is_local, ("127.0.0.1", "localhost", "::1")))
    assert not any(map(demo._is_local, ("0.0.0.0", "192.168.0.7", "example.org")))
    with pytest.raises(SystemExit):
        main(["demo", "--port", "0"])
    assert "--port 0 must be between 1 and 65535" in capsys.readouterr().err
