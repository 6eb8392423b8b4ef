"""VoiceBank-DEMAND: noisy and clean pairs, 48 kHz, mixed by its publishers.

C. Valentini-Botinhao, "Noisy speech database for training speech enhancement algorithms and TTS
models", Edinburgh DataShare 10283/2791, doi:10.7488/ds/2117.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from denoise.core.errors import UserError
from denoise.corpora.archives import Archive
from denoise.corpora.base import Corpus, index_table

_HOST = "https://datashare.ed.ac.uk"
# File name: (uuid on the present site, MD5). Without a uuid only the older address is known.
_FILES = {
    "clean_testset_wav.zip": (
        "dec213d3-bf57-4777-9663-c24bdce92d5e",
        "34eb1c0ba7ef667e9b966866c542fc16",
    ),
    "noisy_testset_wav.zip": (
        "13c1bfbf-14a6-41db-9b41-8f7310f01ad5",
        "fb1b86caa31e8ba5b506c0c64da9aab5",
    ),
    "clean_trainset_28spk_wav.zip": (
        "245452b6-6235-44b6-a6f9-e7eb19797769",
        "d2d5a45ec32f8fcbf201bde0447e20ba",
    ),
    "noisy_trainset_28spk_wav.zip": (
        "ecb5a102-bb00-46d3-8af5-40c79823b837",
        "1fca9e8bafb8cd069f6653c6d92f9e9c",
    ),
    "clean_trainset_56spk_wav.zip": (None, "c351cbc9db30e41686c988c19f0e1475"),
    "noisy_trainset_56spk_wav.zip": (None, "b26382542716642b8f2845880af69cf0"),
    "logfiles.zip": (None, "0d16f5b6afe12d64238d1e4a0e6ff6e8"),
}
_STEMS = {"train-28spk": "trainset_28spk", "train-56spk": "trainset_56spk", "test": "testset"}


_MEGABYTES = {
    "clean_testset_wav.zip": 147, "noisy_testset_wav.zip": 163, "logfiles.zip": 1,
    "clean_trainset_28spk_wav.zip": 2315, "noisy_trainset_28spk_wav.zip": 2635,
    "clean_trainset_56spk_wav.zip": 4442, "noisy_trainset_56spk_wav.zip": 5240,
}  # fmt: skip


def _archive(name: str, *, optional: bool = False) -> Archive:
    uuid, md5 = _FILES[name]
    urls = [f"{_HOST}/bitstreams/{uuid}/download"] if uuid else []
    urls.append(f"{_HOST}/bitstream/handle/10283/2791/{name}")
    size = _MEGABYTES.get(name)
    return Archive(name, tuple(urls), f"md5:{md5}", optional=optional, megabytes=size)


def build(folder: Path, subset: str) -> pd.DataFrame:
    """Pair ``clean_<set>_wav/*.wav`` with ``noisy_<set>_wav/*.wav``.

    Noise type and SNR come from ``log_<set>.txt`` of logfiles.zip where it is there.  Recordings
    of one speaker form a group.
    """
    stem = _STEMS[subset]
    clean_folder = _find_folder(folder, f"clean_{stem}_wav")
    noisy_folder = _find_folder(folder, f"noisy_{stem}_wav")
    mixtures = read_log(folder, f"log_{stem}.txt")
    rows: list[dict[str, object]] = []
    for clean in sorted(clean_folder.glob("*.wav")):
        noisy = noisy_folder / clean.name
        if not noisy.exists():
            raise UserError(
                f"voicebank_demand: {clean.name} has no noisy version in {noisy_folder}"
            )
        noise_type, snr = mixtures.get(clean.stem, ("", float("nan")))
        speaker = clean.stem.split("_")[0]
        rows.append(
            {
                "id": clean.stem,
                "path": clean.relative_to(folder).as_posix(),
                "noisy_path": noisy.relative_to(folder).as_posix(),
                "speaker": speaker,
                "group": speaker,
                "noise_type": noise_type,
                "snr": snr,
            }
        )
    return index_table(rows)


def _find_folder(folder: Path, name: str) -> Path:
    found = [path for path in folder.rglob(name) if path.is_dir()]
    if not found:
        raise UserError(f"voicebank_demand: {folder} has no folder {name} after extraction")
    return found[0]


def read_log(folder: Path, name: str) -> dict[str, tuple[str, float]]:
    """Read a log of lines ``<file> <noise> <SNR in dB>`` into file → (noise, SNR)."""
    found = sorted(folder.rglob(name))
    if not found:
        return {}
    fields = [line.split() for line in found[0].read_text(encoding="utf-8").splitlines()]
    return {row[0].removesuffix(".wav"): (row[1], float(row[2])) for row in fields if len(row) >= 3}


CORPUS = Corpus(
    name="voicebank_demand",
    licence="CC BY 4.0",
    homepage="https://doi.org/10.7488/ds/2117",
    subsets={
        subset: (
            _archive(f"clean_{stem}_wav.zip"),
            _archive(f"noisy_{stem}_wav.zip"),
            _archive("logfiles.zip", optional=True),
        )
        for subset, stem in _STEMS.items()
    },
    build=build,
    selected_by=("noise_types", "speakers"),
    wanted=lambda name: name.endswith((".wav", ".txt")) and "__MACOSX" not in name,
)
