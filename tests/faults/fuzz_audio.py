"""Changed recordings through decoding, preparation, `denoise enhance` and `denoise score`.

``python fuzz_audio.py SEED COUNT FOLDER`` changes the file SEED at random in COUNT ways and prints
``whole`` if each was read or refused with a reason.  A program of its own, since a decoder that
crashes takes its process with it; FOLDER has the models of `denoise enhance`.
"""

from __future__ import annotations

import contextlib
import io
import json
import random
import sys
from pathlib import Path

import numpy as np
import soundfile
from made import prepare_into

from denoise import api, audio, cli
from denoise.core.arrays import load_array
from denoise.core.tables import read_table
from denoise.corpora.indexing import index_folder
from denoise.corpora.selection import AudioSettings
from denoise.evaluation.folders import score_folders
from denoise.evaluation.recordings import score_recordings
from denoise.metrics.registry import METRICS, OPINIONS
from denoise.networks.card import ModelFolder
from denoise.networks.runtimes import default_of

RATE = 16_000
_JUDGED = 20
WORST = (bytes(4), b"\xff" * 4, b"\x7f\xff\xff\xff")


def changed(seed: bytes, number: int) -> bytes:
    """The seed with bytes changed, put in or taken out, half of them near its start."""
    draw = random.Random(number)
    content = bytearray(seed)
    for _ in range(draw.choice((1, 2, 4, 16, 64))):
        kind, place = draw.randrange(5), draw.randrange(len(content) if draw.random() < 0.5 else 64)
        place = min(place, len(content) - 1)
        if kind == 0:
            content[place] = draw.randrange(256)
        elif kind == 1:
            content[place] ^= 1 << draw.randrange(8)
        elif kind == 2:
            content[place : place + 4] = draw.choice(WORST)
        elif kind == 3:
            del content[place : place + draw.randrange(1, 40)]
        else:
            content[place:place] = draw.randbytes(draw.randrange(1, 40))
        if not content:
            content = bytearray(1)
    return bytes(content)


def readable(path: Path) -> bool:
    """Whether a file is read; if not, it must be refused with a reason of one line."""
    try:
        samples, rate = audio.read(path)
    except audio.UnusableAudio as error:
        assert str(error) and "\n" not in str(error), path
        return False
    assert samples.ndim == 2 and len(samples) and rate > 0 and np.isfinite(samples).all(), path
    return True


def prepare(folder: Path, out: Path, usable: set[str]) -> None:
    """Each recording is packed, or dropped with a reason."""
    index_folder(folder, None, out / "index.csv")
    settings = AudioSettings(sample_rate=RATE, min_duration_s=0, max_dropped=1)
    prepare_into(out / "prepared", out / "index.csv", audio=settings)
    index = read_table(out / "prepared" / "index.csv")
    manifest = json.loads((out / "prepared" / "manifest.json").read_text())
    pack = load_array(out / "prepared" / "audio.npy")
    assert np.isfinite(pack).all() and len(pack) == index["samples"].sum()
    assert (index["level"] > 0).all() and (index["samples"] > 0).all()
    packed = {Path(name).stem for name in index["id"]}
    dropped = {Path(drop["path"]).stem: drop["reason"] for drop in manifest["dropped"]}
    assert all(dropped.values())
    # What is read and yet not packed says nothing, or has come to say a rate of millions of hertz.
    reasons = {"is silent", "is constant", f"is shorter than a sample at {RATE} Hz"}
    assert packed <= usable and {dropped[name] for name in usable - packed} <= reasons


def enhance(folder: Path, out: Path, usable: set[str]) -> None:
    """Each recording that can be read is enhanced; the others are named."""
    told = io.StringIO()
    with contextlib.redirect_stderr(told):
        try:
            cli.main(["enhance", str(folder), "-o", str(out)])
            ended = 0
        except SystemExit as end:
            ended = int(end.code or 0)
    errors = [line for line in told.getvalue().splitlines() if line.startswith("error: ")]
    made = {path.stem for path in out.iterdir()}
    names = {path.stem for path in folder.iterdir()}
    assert ended == (1 if names - made else 0) and "Traceback" not in told.getvalue()
    for name in names - made:
        assert any(f"/{name}." in line for line in errors), name
    # Rates of millions of hertz, and formats that cannot be written with the rate or channels that
    # a header has come to say.
    refused = ("cannot be written", "Hz: recordings of up to")
    unwritten = [line for line in errors if any(reason in line for reason in refused)]
    assert made <= usable and len(usable - made) <= len(unwritten)
    for path in out.iterdir():
        source = next(folder.glob(f"{path.stem}.*"))
        found = soundfile.info(str(path))
        # Codecs may fill up their last block.
        if found.subtype.startswith(("PCM", "FLOAT", "DOUBLE")):
            assert found.frames == len(audio.read(source)[0]), path


def score(folder: Path, out: Path, usable: set[str]) -> None:
    """Each recording has numbers, or a status that says why not."""
    table = score_folders(folder, folder)
    assert table["file"].nunique() == len(list(folder.iterdir()))
    for row in table.to_dict("records"):
        values = np.array([row[name] for name in METRICS], float)
        assert row["status"] and "\n" not in row["status"]
        if row["file"] not in usable:
            assert row["status"] != "ok" and np.isnan(values).all(), row
        assert not np.isnan(values).all() or row["status"] != "ok"


def judge(folder: Path, out: Path, usable: set[str]) -> None:
    """Opinions without a reference, or why not; of some recordings, as each takes half a second."""
    paths = sorted(folder.iterdir())[:_JUDGED]
    table = score_recordings(paths)
    assert set(table["file"]) == set(map(str, paths))
    for row in table.to_dict("records"):
        values = np.array([row[name] for name in OPINIONS], float)
        assert np.isfinite(values).all() == (row["status"] == "ok") and "\n" not in row["status"]
        assert row["status"] != "ok" or Path(row["file"]).stem in usable


def main(seed: Path, count: int, place: Path) -> None:
    """Make the files and put them through everything."""
    api.bundled = lambda name: place / "ready"  # type: ignore[assignment]
    folder = place / "fuzzed"
    folder.mkdir()
    content = seed.read_bytes()
    for number in range(count):
        (folder / f"f{number}{seed.suffix}").write_bytes(changed(content, number))
    usable = {path.stem for path in sorted(folder.iterdir()) if readable(path)}
    # What people use: ONNX Runtime, at the rate that a header has come to say.
    assert default_of(ModelFolder(place / "ready" / "best")) == "onnx"
    for put_through in (prepare, enhance, score, judge):
        out = place / put_through.__name__
        out.mkdir()
        put_through(folder, out, usable)
    print("whole")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
