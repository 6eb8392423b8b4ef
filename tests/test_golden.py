"""What a seed gives must never change by accident: people publish mixtures by their seed.

The tables in ``golden/`` were written by ``python tests/test_golden.py`` and read by a person. A
change that is meant belongs in the commit message, with the tables written anew.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from denoise.core.tables import read_table, write_table
from denoise.corpora.splits import SplitSettings, assign
from denoise.mixing.draw import draw_utterances, draw_windows
from denoise.mixing.files import Recordings
from denoise.mixing.settings import MixingSettings, TestSetSettings

GOLDEN = Path(__file__).parent / "golden"
PRETRAINED = Path(__file__).parents[1] / "pretrained"


def recordings(names: list[str], samples: int, **columns: object) -> pd.DataFrame:
    table = pd.DataFrame({"id": names, **columns})
    table["source"], table["corpus"], table["samples"] = "pack", "c", samples
    table["offset"] = range(0, samples * len(table), samples)
    table["level"] = [0.05 + 0.01 * number for number in range(len(table))]
    table["noisy_offset"], table["snr"] = -1, float("nan")
    table["group"] = table["speaker"].where(table["speaker"] != "", table["id"])
    table["validation_windows"] = 0.0
    table["split"] = assign(table, "all", SplitSettings(), seed=5)
    return table


def speech() -> pd.DataFrame:
    names = [f"s{speaker}-{number}" for speaker in range(10) for number in range(2)]
    who = [name.split("-")[0] for name in names]
    sex = ["FM"[int(name[1:]) % 2] for name in who]
    return recordings(names, 4000, speaker=who, sex=sex, noise_type="")


def noise() -> pd.DataFrame:
    names = [f"{kind}_{number}" for kind in ("fan", "rain") for number in range(5)]
    kinds = [name.split("_")[0] for name in names]
    return recordings(names, 9000, speaker="", sex="", noise_type=kinds)


def tables() -> dict[str, pd.DataFrame]:
    """Everything that is kept, by name."""
    by_snr = MixingSettings(
        segment=1000, speech_stride=500, noise_stride=250, snr_range_db=(-5, 15), hours=0.005
    )
    by_gain = MixingSettings(
        segment=1000, speech_stride=1000, noise_stride=250, gain=(0.2, 0.8), hours=0.005
    )
    test_set = TestSetSettings(snr_db=(0, 10), copies=2)
    pair = speech(), noise()
    return {
        "splits": pd.concat(pair)[["id", "group", "split"]],
        "windows-snr": draw_windows(Recordings(*pair), by_snr, "train", 8000, 5),
        "windows-gain": draw_windows(Recordings(*pair), by_gain, "validation", 8000, 5),
        "test-set": draw_utterances(Recordings(*pair), test_set, 5),
    }


@pytest.mark.parametrize("name", sorted(tables()))
def test_tables_drawn_with_a_seed_match_the_golden_files(name, tmp_path):
    write_table(tmp_path / "new.csv", tables()[name].reset_index(drop=True))
    kept = read_table(GOLDEN / f"{name}.csv")
    pd.testing.assert_frame_equal(read_table(tmp_path / "new.csv"), kept, rtol=1e-12)


@pytest.mark.parametrize("model", ["best", "stream", "small"])
def test_bundled_models_reproduce_their_published_output(model):
    """`golden/pretrained.csv` was written by the code that trained the models, before its names and
    folders changed: every eighth sample of what they made of this signal."""
    from denoise.enhancement.enhancer import Enhancer

    time = np.arange(8000) / 16_000
    voice = sum(np.sin(2 * np.pi * 150 * k * time) / k for k in range(1, 12))
    voice *= np.sin(2 * np.pi * 2 * time) ** 2
    noisy = 0.05 * voice + 0.01 * np.random.default_rng(0).standard_normal(len(time))
    enhanced = Enhancer.load(PRETRAINED / model).enhance(noisy.astype(np.float32))
    expected = pd.read_csv(GOLDEN / "pretrained.csv")[model]
    np.testing.assert_allclose(enhanced[::8], expected, rtol=0, atol=1e-6)


if __name__ == "__main__":
    for name, table in tables().items():
        write_table(GOLDEN / f"{name}.csv", table)
