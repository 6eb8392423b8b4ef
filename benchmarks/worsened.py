"""What rooms and degradations cost the training of `best`: windows a second with and without.

    python benchmarks/worsened.py results/mixtures/NAME/train.csv

The table is one that was mixed with both (`mixing.rooms`, `mixing.degradations`); the same windows
are trained on with both, with rooms only, with degradations only and with neither, alternating;
medians over rounds.  `--mixing` leaves the network out.
"""

from __future__ import annotations

import argparse
import functools
import statistics
import time
from pathlib import Path

import numpy as np
import yaml
from steps import LOSS, NETWORKS

from denoise.core.tables import read_table
from denoise.features.codec import Features
from denoise.features.settings import FeatureSettings
from denoise.mixing.augmentation import AugmentationSettings, Mixer
from denoise.networks import backend
from denoise.training.batches import WaveformBatches
from denoise.training.model import compiled
from denoise.training.settings import TrainingSettings

PRESET = Path(__file__).parents[1] / "presets/best.yaml"
WITHOUT = {
    "neither": ["room", "degradations"],
    "rooms": ["degradations"],
    "degradations": ["room"],
    "both": [],
}
"""What is heard → the columns of the table that are emptied for it."""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("table", type=Path)
    parser.add_argument("--rate", type=int, default=16000)
    parser.add_argument("--windows", type=int, default=120, help="of a round")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--loaders", type=int, default=0, help="processes that mix beside it")
    parser.add_argument("--mixing", action="store_true", help="mix only, train nothing")
    options = parser.parse_args()
    backend.start("tensorflow", threads=2)
    import keras

    preset = yaml.safe_load(PRESET.read_text())
    settings = TrainingSettings.model_validate(
        {**preset["training"], "loss": LOSS, "threads": 2, "loaders": options.loaders}
    )
    features = Features(FeatureSettings.model_validate(preset["features"]), {})
    table = read_table(options.table)[: options.windows]
    ways = {}
    for name, emptied in WITHOUT.items():
        varied = AugmentationSettings.model_validate(
            {
                **preset["augmentation"],
                "rooms": "room" not in emptied,
                "degradations": "degradations" not in emptied,
            }
        )
        mixed = table.assign(**dict.fromkeys(emptied, ""))
        windows = WaveformBatches(
            features, settings.batch_size,
            functools.partial(Mixer, mixed, options.rate, varied),
            options.loaders,
        )  # fmt: skip
        keras.utils.set_random_seed(0)
        model = None if options.mixing else compiled(NETWORKS["best"][0], settings, windows)
        ways[name] = windows, model
    times: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(options.rounds + 1):
        for name, (windows, model) in ways.items():
            windows.shuffle(number)
            started = time.perf_counter()
            for noisy, both in windows:
                if model is not None:
                    model.train_on_batch(noisy, both)
            if number:  # the first compiles
                times[name].append(time.perf_counter() - started)
    share = {
        "rooms": (table["room"] != "").mean(),
        "degradations": (table["degradations"] != "").mean(),
    }
    print(", ".join(f"{100 * part:.0f} % with {what}" for what, part in share.items()))
    print("| heard with | windows/s | of neither |\n|---|---|---|")
    usual = np.array(times["neither"])
    for name, spent in times.items():
        ratio = statistics.median(usual / np.array(spent))
        print(f"| {name} | {len(table) / statistics.median(spent):.1f} | {ratio:.2f} |")
    for windows, _ in ways.values():
        windows.close()


if __name__ == "__main__":
    main()
