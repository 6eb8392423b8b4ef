"""The synthesised corpus: eSpeak NG speech and generated noise, made on this machine in seconds.

It exists so that the whole workflow can be run, tested and learned without a download.  Subset
``speech`` has 24 speakers (voice variant, pitch, range, rate and accent differ), ``noise`` has
recordings of 15 kinds.  Both are written as WAV files, like any corpus, and are deterministic.
"""

from __future__ import annotations

import json
import subprocess
import sys
from importlib import resources
from pathlib import Path

import numpy as np
import pandas as pd
import soundfile

from denoise.core.errors import UserError
from denoise.core.pools import progress
from denoise.core.settings import item_seed
from denoise.corpora.base import Corpus, index_table

USES = ("sentences.txt", "espeak_tool.py")

UTTERANCES = 24
"""Utterances of each speaker."""
RECORDINGS = 8
"""Recordings of each noise type."""

# Variants with breath noise (f2, f3, f5, Alicia, …) differ from run to run, so none is used.
# Speaker: (sex, eSpeak NG voice and variant, pitch, pitch range, words a minute).
SPEAKERS = {
    "s01": ("M", "en-us+m1", 45, 50, 160),
    "s02": ("F", "en-us+f1", 55, 60, 165),
    "s03": ("M", "en+m2", 35, 45, 150),
    "s04": ("F", "en+f4", 60, 55, 175),
    "s05": ("M", "en-us+m3", 40, 60, 180),
    "s06": ("F", "en-us+belinda", 50, 50, 155),
    "s07": ("M", "en-gb-scotland+m4", 50, 55, 165),
    "s08": ("F", "en-gb-scotland+f4", 65, 50, 170),
    "s09": ("M", "en-gb-x-rp+m5", 30, 40, 145),
    "s10": ("F", "en-gb-x-rp+linda", 58, 65, 160),
    "s11": ("M", "en-us+m6", 55, 50, 190),
    "s12": ("F", "en-us-nyc+linda", 52, 45, 170),
    "s13": ("M", "en-029+m7", 42, 60, 155),
    "s14": ("F", "en-029+f1", 62, 60, 165),
    "s15": ("M", "en-gb-x-gbclan+m8", 38, 50, 170),
    "s16": ("F", "en-gb-x-gbclan+Annie", 56, 55, 150),
    "s17": ("M", "en-gb-x-gbcwmd+david", 46, 45, 175),
    "s18": ("F", "en-gb-x-gbcwmd+belinda", 54, 50, 180),
    "s19": ("M", "en-us+Michael", 48, 55, 160),
    "s20": ("F", "en-us+Annie", 60, 50, 155),
    "s21": ("M", "en+benjamin", 36, 60, 165),
    "s22": ("F", "en+Andrea", 50, 60, 170),
    "s23": ("M", "en-us-nyc+john", 52, 45, 150),
    "s24": ("F", "en-us+Andrea", 64, 55, 185),
}


def sentences() -> list[str]:
    """The sentences, one per line of ``sentences.txt``."""
    text = resources.files("denoise.corpora").joinpath("sentences.txt").read_text(encoding="utf-8")
    return text.splitlines()


def build(folder: Path, subset: str) -> pd.DataFrame:
    """Make the recordings of `subset` (``speech`` or ``noise``) in `folder` and index them."""
    return _build_speech(folder) if subset == "speech" else _build_noise(folder)


def _build_speech(folder: Path) -> pd.DataFrame:
    texts = sentences()
    jobs = []
    rows: list[dict[str, object]] = []
    for speaker, (sex, voice, pitch, pitch_range, rate) in SPEAKERS.items():
        (folder / speaker).mkdir(parents=True, exist_ok=True)
        order = np.random.default_rng(item_seed("synthetic", speaker)).permutation(len(texts))
        utterances = []
        for number, text in enumerate(order[:UTTERANCES]):
            path = folder / speaker / f"{speaker}_{number:03d}.wav"
            utterances.append((texts[text], str(path)))
            rows.append(
                {
                    "id": path.stem,
                    "path": path.relative_to(folder).as_posix(),
                    "speaker": speaker,
                    "group": speaker,
                    "sex": sex,
                }
            )
        voice_settings = {"voice": voice, "pitch": pitch, "range": pitch_range, "rate": rate}
        jobs.append({**voice_settings, "utterances": utterances})
    run = subprocess.run(
        [sys.executable, "-m", "denoise.corpora.espeak_tool"],
        input=json.dumps(jobs),
        capture_output=True,
        text=True,
    )
    if run.returncode:
        raise UserError(f"synthetic: eSpeak NG failed: {run.stderr.strip()[-300:]}")
    return index_table(rows)


def _build_noise(folder: Path) -> pd.DataFrame:
    # Here, because it needs scipy.signal, which is slow to import, and the workflow imports every
    # corpus to know its archives.
    from denoise.corpora.synthetic_noise import NOISE_RATE, NOISES

    rows: list[dict[str, object]] = []
    for kind, make in progress(NOISES.items(), "noise"):
        (folder / kind).mkdir(parents=True, exist_ok=True)
        for number in range(RECORDINGS):
            name = f"{kind}_{number}"
            path = folder / kind / f"{name}.wav"
            audio = make(np.random.default_rng(item_seed("synthetic", name)))
            audio = audio - audio.mean()
            audio *= 0.5 / max(np.abs(audio).max(), 1e-9)
            soundfile.write(path, audio, NOISE_RATE, subtype="PCM_16")
            rows.append(
                {
                    "id": name,
                    "path": path.relative_to(folder).as_posix(),
                    "noise_type": kind,
                    "group": f"{kind}_{number}",
                }
            )
    return index_table(rows)


CORPUS = Corpus(
    name="synthetic",
    licence="generated on this machine (speech by eSpeak NG, GPL-3.0, run as a separate tool)",
    homepage="https://github.com/espeak-ng/espeak-ng",
    subsets={"speech": (), "noise": ()},
    build=build,
    noise_subsets=("noise",),
    selected_by=("noise_types", "speakers", "sex"),
)
