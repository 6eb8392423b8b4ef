"""Audio, mixtures and scores are the same bytes whichever processor they are made on.

BLAS and NumPy choose other code for each kind of processor; both can be told to take that of
another kind, which stands for another machine here.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import hiss, tone_speech
from made import files_of_test_set
from numpy._core._multiarray_umath import __cpu_dispatch__, __cpu_features__

from denoise import audio
from denoise.core.arrays import PackWriter, load_array
from denoise.core.tables import read_table, write_table
from denoise.corpora.synthetic_noise import NOISES
from denoise.evaluation.statistics import estimate
from denoise.metrics.registry import score_utterance
from denoise.mixing.files import SplitTables
from denoise.mixing.settings import TestSetSettings
from denoise.mixing.test_sets import mix_test_set

RATE = 8000


def prepared(folder: Path, waves: dict[str, np.ndarray], *, speech: bool) -> Path:
    """A split table over packed audio, all for test."""
    folder.mkdir()
    pack = PackWriter(folder / "audio.npy")
    rows = [
        {
            "id": name, "source": str(folder / "audio.npy"), "corpus": "own", "split": "test",
            "speaker": name if speech else "", "sex": "", "group": name,
            "noise_type": "" if speech else name, "offset": pack.append(wave), "samples": len(wave),
            "noisy_offset": -1, "snr": np.nan, "level": audio.active_level(wave, RATE)[0],
            "validation_windows": 0.0,
        }
        for name, wave in waves.items()
    ]  # fmt: skip
    pack.close()
    write_table(folder / "splits.csv", pd.DataFrame(rows))
    return folder / "splits.csv"


def made(folder: Path) -> dict[str, str]:
    """The digest of everything that is promised to be the same."""
    speech = {name: tone_speech(3.3, RATE, seed) for seed, name in enumerate("abcd")}
    # Shorter than the speech, so that it is repeated with cross-fades.
    noise = {f"n{seed}": hiss(1.7, RATE, 40 + seed) for seed in range(3)}
    pair = SplitTables(
        prepared(folder / "speech", speech, speech=True),
        prepared(folder / "noise", noise, speech=False),
    )
    settings = TestSetSettings(snr_db=(0, 5), copies=4)
    mix_test_set(pair, settings, RATE, 1, files_of_test_set(folder / "set"))
    clean, noisy = (load_array(folder / f"set/{name}.npy") for name in ("clean", "noisy"))
    part = slice(0, len(speech["a"]))
    scores = pd.DataFrame([score_utterance(np.array(clean[part]), np.array(noisy[part]), RATE)])
    generated = [make(np.random.default_rng(3)) for make in NOISES.values()]
    seeds = np.sqrt(np.arange(180.0)).reshape(3, 60)
    bounds = estimate([seeds, seeds[:1] + 1], [1, -1], (np.arange(60) // 5).astype(str))
    contents = {
        "generated noise": b"".join(
            (wave * 2**14 / np.abs(wave).max()).astype(np.int16).tobytes() for wave in generated
        ),
        "resampled": audio.resample(speech["a"], RATE, 11025).tobytes(),
        "levels": read_table(pair.speech)["level"].to_numpy().tobytes(),
        "mixtures": (folder / "set/mixtures.csv").read_bytes().replace(str(folder).encode(), b""),
        "noisy": noisy.tobytes(),
        "scores": scores.to_csv(float_format="%.9g").encode(),
        "intervals": f"{bounds.low:.9g} {bounds.high:.9g}".encode(),
    }
    return {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}


def features() -> str:
    """What NumPy has faster code for, where a processor has it."""
    return " ".join(name for name in __cpu_dispatch__ if __cpu_features__[name])


needs_avx512 = pytest.mark.skipif(
    not __cpu_features__["AVX512F"], reason="this processor lacks the instructions"
)


@pytest.fixture(scope="module")
def here(tmp_path_factory) -> dict[str, str]:
    return made(tmp_path_factory.mktemp("here"))


@pytest.mark.parametrize(
    "processor",
    [
        {"OPENBLAS_CORETYPE": "Haswell"},
        pytest.param({"OPENBLAS_CORETYPE": "SkylakeX"}, marks=needs_avx512),
        {
            "OPENBLAS_CORETYPE": "Nehalem",
            "NPY_DISABLE_CPU_FEATURES": features(),
            "GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX512F,-AVX2,-FMA,-FMA4",
        },
        {},
    ],
    ids=["haswell", "skylake", "old", "any"],
)
def test_mixtures_and_scores_do_not_depend_on_the_cpu_type(processor, here, tmp_path):
    kept = {name: value for name, value in os.environ.items() if "OPENBLAS" not in name}
    run = subprocess.run(
        [sys.executable, __file__, str(tmp_path)], capture_output=True, text=True, check=True,
        env={**kept, **processor, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert json.loads(run.stdout) == here


if __name__ == "__main__":
    print(json.dumps(made(Path(sys.argv[1]))))
