"""Make the recordings of docs/listen.md, and the picture of the first of them.

    python benchmarks/examples.py benchmarks/examples.yaml --root FOLDER

The file names speech and noise below the root, or a noisy recording with its clean version.  Speech
and noise are mixed at 16 kHz at an SNR over the active speech.  The ready models enhance each with
their defaults; the results are written as MP3 into docs/audio.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import yaml

import denoise
from denoise import audio
from denoise.report import figures

_RATE = 16_000
_MODELS = ("best", "stream")
_PEAK = 0.7


def mixed(example: dict[str, Any], root: Path) -> dict[str, np.ndarray]:
    """The noisy recording and its clean version [shape=(samples,)]."""
    if "noisy" in example:
        return {side: _read(root / example[side]) for side in ("noisy", "clean")}
    clean, noise = _read(root / example["speech"]), _read(root / example["noise"])
    start = round(example.get("noise_start_s", 0) * _RATE)
    noise = noise[start : start + len(clean)]
    level, _ = audio.active_level(clean, _RATE)
    gain = level / audio.rms(noise) * 10 ** (-example["snr_db"] / 20)
    return {"noisy": clean + gain * noise, "clean": clean}


def _read(path: Path) -> np.ndarray:
    wave, rate = denoise.read(path)
    return audio.resample(wave.astype(np.float32), rate, _RATE)


def main() -> None:
    """Make all examples."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("examples", type=Path)
    parser.add_argument("--root", type=Path, default=Path())
    parser.add_argument("--write", type=Path, default=Path("docs"))
    options = parser.parse_args()
    models = {name: denoise.load(name) for name in _MODELS}
    for number, example in enumerate(yaml.safe_load(options.examples.read_text())):
        versions = mixed(example, options.root)
        gain = _PEAK / np.abs(versions["noisy"]).max()
        versions = {name: gain * wave for name, wave in versions.items()}
        for name, model in models.items():
            versions[name] = model.enhance(versions["noisy"], _RATE)
        for name, wave in versions.items():
            path = options.write / "audio" / f"{example['name']}-{name}.mp3"
            path.parent.mkdir(exist_ok=True)
            denoise.write(path, wave, _RATE)
        if number == 0:
            shown = {"noisy": versions["noisy"], "enhanced": versions["best"]}
            figure = figures.signals(shown, _RATE)
            figure.savefig(options.write / "images" / "before-after.png", dpi=100)


if __name__ == "__main__":
    main()
