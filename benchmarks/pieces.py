"""Cut recordings into pieces at their pauses, a folder for each speaker.

    python benchmarks/pieces.py resources/corpora/librispeech/train-clean-100.csv --sex F \\
        --write women

The published autoencoder was trained on whole utterances of 3 to 5 s; the available part of
LibriSpeech has too few of them.  A piece ends at the quietest place between `--min` and `--max`
seconds; what is left and shorter is left out.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import soundfile

from denoise import audio
from denoise.core.tables import read_table

_FRAME_S = 0.05


def pieces(wave: np.ndarray, rate: int, shortest: float, longest: float) -> list[np.ndarray]:
    """Parts of `wave` [shape=(samples,)] of `shortest` to `longest` seconds, one after another."""
    frame = int(_FRAME_S * rate)
    whole = range(0, len(wave) - frame + 1, frame)
    levels = np.array([audio.energy(wave[k : k + frame]) for k in whole])
    least, most = int(shortest / _FRAME_S), int(longest / _FRAME_S)
    found, start = [], 0
    while len(levels) - start >= least:
        if len(levels) - start <= most:
            found.append(wave[start * frame :])
            break
        end = start + least + int(np.argmin(levels[start + least : start + most]))
        found.append(wave[start * frame : end * frame])
        start = end
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("index", nargs="+", type=Path, help="as the workflow writes it")
    parser.add_argument("--sex", choices=["F", "M"])
    parser.add_argument("--min", type=float, default=3.0)
    parser.add_argument("--max", type=float, default=5.0)
    parser.add_argument("--rate", type=int, default=16000)
    parser.add_argument("--write", type=Path, required=True, metavar="FOLDER")
    options = parser.parse_args()
    count = 0
    for index in options.index:
        table = read_table(index)
        if options.sex:
            table = table[table["sex"] == options.sex]
        for row in table.itertuples():
            wave = audio.read_mono(row.path, options.rate)
            parts = pieces(wave, options.rate, options.min, options.max)
            folder = options.write / row.speaker
            folder.mkdir(parents=True, exist_ok=True)
            for number, part in enumerate(parts):
                soundfile.write(folder / f"{row.id}_{number}.flac", part, options.rate)
            count += len(parts)
    print(f"{count} pieces of {options.min:g} to {options.max:g} s in {options.write}")


if __name__ == "__main__":
    main()
