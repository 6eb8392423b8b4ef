"""A trained network's output for a whole test set."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from denoise.core import files
from denoise.core.arrays import PackWriter, load_array
from denoise.core.pools import progress
from denoise.core.tables import read_table, write_table
from denoise.core.timing import Stopwatch
from denoise.enhancement.enhancer import Enhancer
from denoise.enhancement.settings import EnhancementSettings
from denoise.mixing.files import TestSetFiles
from denoise.networks import backend


@dataclass(frozen=True)
class OutputFiles:
    """The output of a model for a test set."""

    enhanced: Path
    """Packed like the noisy audio of the test set."""
    spectral: Path
    """The utterances with ``mse_spec``, the mean squared error of the recipe's own scaled
    spectrogram; NaN without references."""
    speed: Path
    """Computing time and hardware, as of `Stopwatch.write`."""


def enhance_test_set(
    model_folder: Path,
    test_set: TestSetFiles,
    settings: EnhancementSettings,
    out: OutputFiles,
    threads: int | None = None,
) -> None:
    """Write a model's output for a test set, with `threads` threads of ONNX Runtime."""
    enhancer = Enhancer.load(model_folder, settings, threads=threads)
    about = files.read_made(test_set.manifest)
    rate, compared = about["rate"], about["clean"]
    table = read_table(test_set.mixtures)
    noisy, clean = load_array(test_set.noisy), load_array(test_set.clean)
    errors: list[float] = []
    watch = Stopwatch()
    with files.replacing(out.enhanced) as temporary:
        pack = PackWriter(temporary)
        for start, length in progress(
            list(zip(table["offset"], table["samples"], strict=True)), "enhance"
        ):
            part = slice(start, start + length)
            with watch.utterance(length / rate):
                reference = clean[part] if compared else None
                enhanced, error = enhancer.enhance_utterance(noisy[part], reference, rate)
            pack.append(enhanced)
            errors.append(error)
        pack.close()
    hardware = backend.hardware(enhancer.network.devices)
    watch.write(out.speed, hardware=hardware, macs_a_second=enhancer.macs_a_second())
    write_table(out.spectral, pd.DataFrame({"id": table["id"], "mse_spec": errors}))
