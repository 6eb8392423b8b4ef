"""Small recordings and archives in the publishers' layouts, made by the tests themselves."""

from __future__ import annotations

import contextlib
import functools
import gzip
import http.server
import io
import os
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import requests
import soundfile
import studies

from denoise.core.arrays import save_array
from denoise.core.tables import write_table

Survives = Callable[..., AbstractContextManager[None]]
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# The runs of tests belong on no server that somebody works with.
os.environ.pop("MLFLOW_TRACKING_URI", None)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--full", action="store_true", help="try every fault as often as promised")
    parser.addoption("--study", help="keep the study of tests/ui here, to repeat them at once")


@pytest.fixture(autouse=True)
def own_tracking() -> Iterator[None]:
    """No test leaves its MLflow store to those after it: MLflow puts its address into the
    environment."""
    yield
    os.environ.pop("MLFLOW_TRACKING_URI", None)


@pytest.fixture
def repetitions(request) -> Callable[[int, int], int]:
    """``repetitions(20, 2000)``: how often to try something, here or with ``--full``."""
    full = request.config.getoption("--full")
    return lambda here, in_full: in_full if full else here


@pytest.fixture
def fault_class(record_property) -> Survives:
    """``with fault_class("download: reset"):`` counts one try, survived if nothing comes up."""

    @contextlib.contextmanager
    def attempt(fault: str, tries: int = 1) -> Iterator[None]:
        try:
            yield
        except BaseException:
            record_property("fault", (fault, tries, 0))
            raise
        record_property("fault", (fault, tries, tries))

    return attempt


def pytest_terminal_summary(terminalreporter) -> None:
    """The table of faults: how often each was tried, survived and lost."""
    counts: dict[str, list[int]] = {}
    for outcome in ("passed", "failed"):
        for report in terminalreporter.getreports(outcome):
            for name, value in report.user_properties:
                if name == "fault":
                    count = counts.setdefault(value[0], [0, 0])
                    count[0] += value[1]
                    count[1] += value[2]
    if not counts:
        return
    terminalreporter.section("faults")
    width = max(map(len, counts))
    for line in [("fault", "tries", "survived", "lost")] + [
        (fault, *map(str, (tries, survived, tries - survived)))
        for fault, (tries, survived) in sorted(counts.items())
    ]:
        terminalreporter.write_line(f"{line[0]:{width}}  " + "".join(f"{n:>9}" for n in line[1:]))


def _shared(config: pytest.Config) -> Path:
    """The temporary folder of all workers of this session."""
    base = config._tmp_path_factory.getbasetemp()  # type: ignore[attr-defined]
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests with a run of their own come first; tests that read a shared study come last."""

    def place(item: pytest.Item) -> int:
        used = set(getattr(item, "fixturenames", ()))
        if "study" in used:
            return 3
        if "small_study" in used:
            return 1
        own = not {"copy_project", "small"}.isdisjoint(vars(item.module))  # type: ignore[attr-defined]
        return 0 if own and item.get_closest_marker("slow") else 2

    items.sort(key=place)


_begun: list[subprocess.Popen[bytes]] = []


def pytest_collection_finish(session: pytest.Session) -> None:
    """Start to make the studies that the tests to come will read."""
    if session.config.option.collectonly:
        return
    used = {name for item in session.items for name in getattr(item, "fixturenames", ())}
    if session.config.getoption("--study"):
        used.discard("study")
    for name in sorted(studies.STUDIES.keys() & used, reverse=True):
        process = studies.begin(name, _shared(session.config))
        if process is not None:
            _begun.append(process)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Another worker may still wait for a study, unless this one was told to stop."""
    for process in _begun:
        if session.shouldstop or session.shouldfail:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
        process.wait()


def tone_speech(seconds: float, rate: int, seed: int) -> np.ndarray:
    """Speech-like sound: a buzz with syllables and pauses."""
    rng = np.random.default_rng(seed)
    time = np.arange(int(seconds * rate)) / rate
    pitch = rng.uniform(90, 220) * (1 + 0.05 * np.sin(2 * np.pi * 0.7 * time))
    buzz = sum(np.sin(2 * np.pi * np.cumsum(pitch) * k / rate) / k for k in range(1, 8))
    syllables = np.clip(np.sin(2 * np.pi * rng.uniform(2, 4) * time), 0, 1)
    return (0.1 * buzz * syllables + 1e-4 * rng.standard_normal(len(time))).astype(np.float32)


def hiss(seconds: float, rate: int, seed: int) -> np.ndarray:
    """Noise with a colour of its own."""
    rng = np.random.default_rng(seed)
    noise = rng.standard_normal(int(seconds * rate))
    return (0.1 * np.convolve(noise, rng.standard_normal(8), "same") / 3).astype(np.float32)


def encoded(audio: np.ndarray, rate: int, kind: str) -> bytes:
    """An audio file's content."""
    buffer = io.BytesIO()
    soundfile.write(buffer, np.clip(audio, -1, 1), rate, format=kind, subtype="PCM_16")
    return buffer.getvalue()


def librispeech_tar(subset: str, speakers: dict[str, str], seconds: float = 2.5) -> bytes:
    """``<subset>.tar.gz`` with two utterances of each speaker (id → sex)."""
    listing = ";ID  |SEX| SUBSET |MINUTES| NAME\n" + "".join(
        f"{speaker} | {sex} | {subset} | 25.0 | Somebody | with a bar\n"
        for speaker, sex in speakers.items()
    )
    members = {"LibriSpeech/SPEAKERS.TXT": listing.encode()}
    for speaker in speakers:
        for number in range(2):
            name = f"LibriSpeech/{subset}/{speaker}/77/{speaker}-77-{number:04d}.flac"
            audio = tone_speech(seconds, 16000, int(speaker) * 10 + number)
            members[name] = encoded(audio, 16000, "FLAC")
        spoken = "".join(
            f"{speaker}-77-{number:04d} THE BOAT {number} SAILS\n" for number in (0, 1)
        )
        members[f"LibriSpeech/{subset}/{speaker}/77/{speaker}-77.trans.txt"] = spoken.encode()
    return tar_of(members)


def tar_of(members: dict[str, bytes]) -> bytes:
    """A gzipped tar of these members, whenever it is made the same bytes."""
    buffer = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=buffer, mode="wb", mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w") as bundle,
    ):
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            bundle.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def zip_of(members: dict[str, bytes]) -> bytes:
    """A zip of these members, whenever it is made the same bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as package:
        for name, content in members.items():
            package.writestr(zipfile.ZipInfo(name), content)
    return buffer.getvalue()


def esc50_zip(noise_types: tuple[str, ...] = ("rain", "dog")) -> bytes:
    """``ESC-50-master.zip`` with one clip of 2 s for each category and fold."""
    lines = ["filename,fold,target,category,esc10,src_file,take"]
    members = {}
    for target, category in enumerate(noise_types):
        for fold in range(1, 6):
            name = f"{fold}-{1000 + target * 10 + fold}-A-{target}.wav"
            lines.append(f"{name},{fold},{target},{category},True,{fold}{target},A")
            audio = hiss(2.0, 44100, target * 10 + fold)
            members[f"ESC-50-master/audio/{name}"] = encoded(audio, 44100, "WAV")
    members["ESC-50-master/meta/esc50.csv"] = "\n".join(lines).encode()
    return zip_of(members)


def voicebank_zips() -> dict[str, bytes]:
    """The four archives and logfiles.zip, with two training speakers and one for test."""
    sets = {"trainset_28spk": ("p226", "p287"), "testset": ("p232",)}
    archives: dict[str, bytes] = {}
    logs: dict[str, bytes] = {}
    for stem, speakers in sets.items():
        clean, noisy, lines = {}, {}, []
        for speaker in speakers:
            for number in range(1, 4):
                name = f"{speaker}_{number:03d}"
                audio = tone_speech(2.0, 48000, hash_of(name))
                noise = 0.3 * hiss(2.0, 48000, hash_of(name) + 1)
                clean[f"clean_{stem}_wav/{name}.wav"] = encoded(audio, 48000, "WAV")
                noisy[f"noisy_{stem}_wav/{name}.wav"] = encoded(audio + noise, 48000, "WAV")
                lines.append(f"{name} cafe {2.5 * number}")
        archives[f"clean_{stem}_wav.zip"] = zip_of(clean)
        archives[f"noisy_{stem}_wav.zip"] = zip_of(noisy)
        logs[f"log_{stem}.txt"] = "\n".join(lines).encode()
    archives["logfiles.zip"] = zip_of(logs)
    return archives


def hash_of(text: str) -> int:
    """A small number from a text."""
    return sum(ord(letter) * 31**place for place, letter in enumerate(text)) % 10_000


def write_mirror(folder: Path, archives: dict[str, bytes]) -> Path:
    """A mirror with these archives (``corpus/name`` → content) and its SHA256SUMS."""
    import hashlib

    sums = []
    for name, content in archives.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        sums.append(f"{hashlib.sha256(content).hexdigest()}  {name}")
    (folder / "SHA256SUMS").write_text("\n".join(sums) + "\n")
    return folder


def all_archives() -> dict[str, bytes]:
    """Archives of every corpus that is downloaded."""
    train = {"11": "F", "12": "M", "13": "F", "14": "M", "15": "F", "16": "M"}
    return {
        "librispeech/train-clean-5.tar.gz": librispeech_tar("train-clean-5", train),
        "librispeech/dev-clean-2.tar.gz": librispeech_tar("dev-clean-2", {"21": "F", "22": "M"}),
        "esc50/ESC-50-master.zip": esc50_zip(),
        **{f"voicebank_demand/{name}": data for name, data in voicebank_zips().items()},
    }


@pytest.fixture(scope="session")
def mirror(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A mirror of small archives of every corpus."""
    return write_mirror(tmp_path_factory.mktemp("mirror"), all_archives())


@pytest.fixture
def noise_folder(tmp_path: Path) -> Path:
    """A user's folder of five noise recordings of one kind."""
    folder = tmp_path / "my noise"
    folder.mkdir()
    for number in range(5):
        soundfile.write(folder / f"fan_{number}.wav", hiss(3, 22050, 50 + number), 22050)
    return folder


@pytest.fixture(scope="session")
def wave_caches(tmp_path_factory):
    """Caches of 24 and 8 windows of one recording."""
    import made

    from denoise.features.settings import FeatureSettings
    from denoise.features.stft import StftSettings

    rate = 8000
    root = tmp_path_factory.mktemp("caches")
    wave, noise = tone_speech(3, rate, 1), hiss(3, rate, 2)
    wave[-2000:] = 0  # silence, where logarithms and roots have no gradient
    for name, audio in (("speech", wave), ("noise", noise)):
        (root / name).mkdir()
        save_array(root / name / "audio.npy", audio)
    settings = FeatureSettings(stft=StftSettings(n_fft=63, hop=16), floor_db=-60)
    for split, count in (("train", 24), ("validation", 8)):
        rows = [
            {"speech_source": str(root / "speech/audio.npy"),
             "noise_source": str(root / "noise/audio.npy"),
             "speech_offset": 900 * k, "speech_start": 900 * k, "recording_samples": len(wave),
             "samples": 992, "paired": False, "noise_start": 0, "noise_samples": len(noise),
             "noise_offset": 131 * k, "gain": 0.5, "clip_scale": 1.0}
            for k in range(count)
        ]  # fmt: skip
        rows[-1] |= {"speech_offset": 22_900, "speech_start": 22_900}
        write_table(root / f"{split}.csv", pd.DataFrame(rows))
        made.write_cache(root / split, root / f"{split}.csv", rate, settings)
    return {split: root / split for split in ("train", "validation")}


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture(scope="session")
def web_mirror(mirror):
    """The mirror over HTTP on this machine."""
    handler = functools.partial(_Quiet, directory=str(mirror))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


@pytest.fixture
def mlflow_server(tmp_path):
    """A tracking server of its own on this machine, and the folder that it keeps artifacts in."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    store = tmp_path / "server"
    store.mkdir()
    process = subprocess.Popen(
        [Path(sys.executable).with_name("mlflow"), "server", "--host", "127.0.0.1",
         "--port", str(port), "--workers", "1",
         "--backend-store-uri", f"sqlite:///{store}/mlflow.db",
         "--artifacts-destination", str(store / "artifacts")],
        cwd=store, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        env={**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
    )  # fmt: skip
    uri, until = f"http://127.0.0.1:{port}", time.monotonic() + 120
    while time.monotonic() < until:
        with contextlib.suppress(requests.ConnectionError):
            if requests.get(f"{uri}/health", timeout=5).ok:
                break
        time.sleep(0.5)
    yield uri, store / "artifacts"
    os.killpg(process.pid, signal.SIGTERM)
    process.wait()


@pytest.fixture(scope="session")
def study(request) -> Path:
    """A folder in which three variants were trained and compared; tests only read in it."""
    kept = request.config.getoption("--study")
    if kept:
        return studies.kept("study", Path(kept).absolute())
    return studies.finished("study", _shared(request.config))


@pytest.fixture(scope="session")
def small_study(request) -> Path:
    """A folder in which `studies.small` has run to its end on one core; tests only read in it."""
    return studies.finished("small_study", _shared(request.config))


@pytest.fixture(scope="session")
def browser() -> Iterator[object]:
    """Debian's Chromium, or the one that Playwright has installed."""
    playwright = pytest.importorskip("playwright.sync_api")
    installed = shutil.which("chromium") or shutil.which("chromium-browser")
    with playwright.sync_playwright() as tool:
        if installed is None and not Path(tool.chromium.executable_path).exists():
            pytest.skip("no Chromium: apt-get install chromium, or playwright install chromium")
        started = tool.chromium.launch(
            executable_path=installed,
            args=["--no-sandbox", "--autoplay-policy=no-user-gesture-required"],
        )
        yield started
        started.close()


@pytest.fixture
def page(browser) -> Iterator[object]:
    """A page that must not report an error."""
    context = browser.new_context(viewport={"width": 1200, "height": 900})
    opened = context.new_page()
    said: list[str] = []
    opened.on("console", lambda message: message.type == "error" and said.append(message.text))
    opened.on("pageerror", lambda error: said.append(str(error)))
    yield opened
    context.close()
    assert not said
