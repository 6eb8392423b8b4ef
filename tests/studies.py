"""The two whole runs that many tests read, each made once in a session, beside other tests.

``python tests/studies.py NAME FOLDER`` makes one; the fixtures of their names wait for it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import soundfile
from workflow_runs import ESC50, TINY, configure, copy_project, snakemake

from denoise.core import files

LOSSES = ("huber", "mse", "mae")
SHORT = {
    **TINY,
    "data.speech.0.hours": 0.06,
    "data.noise": [ESC50],
    "test_sets.test.utterances": 8,
    "training.epochs": 6,
}
"""The settings of `small_study`, which tests of faults and of clusters repeat."""


def small(folder: Path, mirror: str | Path) -> Path:
    """A project that runs the small study."""
    copy_project(folder)
    configure(
        folder, experiment="small", set=SHORT, sweep={}, baselines=["noisy", "rnnoise"],
        download={"mirror": str(mirror), "retries": 0},
    )  # fmt: skip
    return folder


def small_study(folder: Path, mirror: Path) -> subprocess.CompletedProcess[str]:
    """One variant and two baselines, on one core: what other numbers of cores must give too."""
    return snakemake(small(folder, mirror), "all", cores=1, **watched(folder))


def study(folder: Path, mirror: Path) -> subprocess.CompletedProcess[str]:
    """Three losses and all baselines, on recordings of every corpus that is mixed."""
    from conftest import hiss

    copy_project(folder)
    noise = folder.parent / "my noise"
    noise.mkdir()
    for number in range(5):
        soundfile.write(noise / f"fan_{number}.wav", hiss(3, 22050, 50 + number), 22050)
    settings = {
        **TINY,
        "data.speech": [
            {"corpus": "librispeech", "subsets": ["train-clean-5"], "split": "train"},
            {"corpus": "librispeech", "subsets": ["dev-clean-2"], "split": "test"},
            {"corpus": "synthetic", "subsets": ["speech"], "split": "train", "hours": 0.005},
        ],
        "data.noise": [
            ESC50,
            {"corpus": "folder", "path": str(noise)},
            {"corpus": "synthetic", "subsets": ["noise"], "hours": 0.01},
        ],
        "test_sets": {"test": {"snr_db": [0, 10], "copies": 10}},
    }
    configure(
        folder, experiment="tried", set=settings, sweep={"training.loss": list(LOSSES)},
        download={"mirror": str(mirror), "retries": 0},
    )  # fmt: skip
    return snakemake(folder, "all", "--logger-denoise-every", "2", **watched(folder))


def watched(folder: Path) -> dict[str, str]:
    """The environment of a run in `folder` whose jobs note what they open, beside it."""
    notes = folder.parent / "opened"
    notes.mkdir()
    path = os.pathsep.join([str(folder / "src"), str(Path(__file__).parent / "audit")])
    return {"PYTHONPATH": path, "OPENED": str(notes)}


STUDIES = {"study": study, "small_study": small_study}


def begin(name: str, shared: Path) -> subprocess.Popen[bytes] | None:
    """Start to make a study below `shared`; None if another process of the session has."""
    place = shared / f"study-{name}"
    try:
        place.mkdir()
    except FileExistsError:
        return None
    with (place / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, __file__, name, str(place / "project")], stdout=log, stderr=log,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            start_new_session=True,
        )  # fmt: skip
    (place / "process").write_text(str(process.pid))
    return process


def finished(name: str, shared: Path) -> Path:
    """The folder of a study that `begin` has started, when it is complete."""
    place = shared / f"study-{name}"
    until = time.monotonic() + 1200
    while not (place / "code").exists():
        maker = place / "process"
        alive = not maker.exists() or files.runs(int(maker.read_text() or os.getpid()))
        assert alive and time.monotonic() < until, (place / "log").read_text()[-6000:]
        time.sleep(0.2)
    assert (place / "code").read_text() == "0", (place / "log").read_text()[-6000:]
    return place / "project"


def kept(name: str, place: Path) -> Path:
    """The folder of a study that is made below `place`, unless it is there already."""
    place.mkdir(parents=True, exist_ok=True)
    with files.locked(place.with_suffix(".lock")):
        if not (place / "code").exists() or (place / "code").read_text() != "0":
            assert not any(place.iterdir()), f"{place} is neither empty nor a study: delete it"
            main(name, place / "project")
    assert (place / "code").read_text() == "0"
    return place / "project"


def main(name: str, folder: Path) -> None:
    """Make a study and note how it ended, in ``code``."""
    from conftest import all_archives, write_mirror

    code = "not ended"
    try:
        mirror = write_mirror(folder.parent / "mirror", all_archives())
        began = time.monotonic()
        run = STUDIES[name](folder, mirror)
        print(run.stdout, run.stderr, sep="\n", flush=True)
        (folder.parent / "seconds").write_text(str(time.monotonic() - began))
        (folder.parent / "said").write_text(run.stderr)
        code = str(run.returncode)
    finally:
        (folder.parent / "code.part").write_text(code)
        (folder.parent / "code.part").rename(folder.parent / "code")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
