"""A trained network's output for a whole test set."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from denoise.core import files
from denoise.core.arrays import PackWriter, load_array
from denoise.core.pools import progress
from denoise.core.tables import read_table, write_table
from denoise.core.timing import Stopwatch
from denoise.enhancement.enhancer import Enhancer
from denoise.enhancement.settings import EnhancementSettings
from denoise.networks import backend


def enhance_test_set(
    model_folder: Path, test_set: Path, settings: EnhancementSettings, out_path: Path
) -> None:
    """Write a model's output for a test set, packed like its ``noisy.npy``.

    Beside it, ``<name>.csv`` has the utterances with ``mse_spec``, the mean squared error of the
    recipe's own scaled spectrogram, and ``<name>.json`` the time that they took, as of
    `Stopwatch.write`, and on what.
    """
    enhancer = Enhancer.load(model_folder, settings.overlap)
    rate = files.read_json(test_set / "manifest.json")["rate"]
    table = read_table(test_set / "mixtures.csv")
    noisy, clean = (load_array(test_set / f"{side}.npy") for side in ("noisy", "clean"))
    errors: list[float] = []
    watch = Stopwatch()
    with files.replacing(out_path) as temporary:
        pack = PackWriter(temporary)
        for start, length in progress(
            list(zip(table["offset"], table["samples"], strict=True)), "enhance"
        ):
            part = slice(start, start + length)
            with watch.utterance(length / rate):
                enhanced, error = enhancer.enhance_known(noisy[part], clean[part], rate)
            pack.append(enhanced)
            errors.append(error)
        pack.close()
    watch.write(out_path.with_suffix(".json"), hardware=backend.hardware())
    write_table(out_path.with_suffix(".csv"), pd.DataFrame({"id": table["id"], "mse_spec": errors}))
