"""Measure a trained model's loss on windows of its test split, without regularisation:

python benchmarks/window_loss.py --configfile benchmarks/published.yaml \\
    --variant autoencoder-rain-by-window

The workflow scores whole recordings; the published recipes give the loss of test windows. These are
drawn and mixed as those of the training, one for each speech window, from the speakers and noise
recordings of the test split. Run it in the folder where the variant was trained.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import study_stages

from denoise.core.tables import write_table
from denoise.features.codec import Features
from denoise.mixing.draw import draw_windows
from denoise.mixing.files import SplitTables
from denoise.mixing.levels import set_levels
from denoise.networks import backend
from denoise.networks.card import ModelFolder, read_card
from denoise.study import paths
from denoise.study.config import read_yaml
from denoise.study.plan import make_plan
from denoise.training import losses
from denoise.training.batches import open_batches

ROOT = Path(__file__).parents[1]


def main() -> None:
    """Draw and cache the windows, and print their number and the means over them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--configfile", type=Path, required=True)
    parser.add_argument("--variant", required=True)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    plan = make_plan(read_yaml(options.configfile), ROOT / "presets")
    variant = plan.variants[options.variant]
    recipe = variant.recipe
    if losses.is_waveform_loss(recipe.training.loss):
        parser.error(f"{variant.label} is trained with a waveform loss: denoise score its output")
    rate, seed = recipe.audio.sample_rate, recipe.data.seed
    (mixtures,) = plan.spectrograms[variant.spectrograms].upstream
    sides = (Path(paths.split(name)) for name in plan.mixtures[mixtures].upstream)
    given = SplitTables(*sides).read()
    trained = ModelFolder(paths.model(variant.model, options.seed))
    with tempfile.TemporaryDirectory(dir="results") as name:
        folder = Path(name)
        table = draw_windows(given, recipe.mixing, "test", rate, seed)
        write_table(folder / "test.csv", set_levels(table, rate, seed))
        features = Features(recipe.features, read_card(trained.card).scales)
        study_stages.cached(folder / "test", folder / "test.csv", rate, features)
        backend.start(recipe.training.backend, threads=recipe.training.threads)
        import keras

        model = keras.saving.load_model(trained.model, compile=False, safe_mode=True)
        measures = {**losses.LOSSES, **losses.METRICS}
        shown = [*losses.weights(recipe.training.loss), *recipe.training.metrics]
        sums = dict.fromkeys((name for name in shown if name in measures), 0.0)
        windows = open_batches(folder / "test/manifest.json", recipe.training)
        for step in range(len(windows)):
            noisy, target = windows.batch(step)
            output = model(noisy, training=False)
            for measure in sums:
                value = keras.ops.mean(measures[measure](target, output))
                sums[measure] += float(value) * len(noisy)
    print(f"{variant.label}: {len(table)} test windows of {table['speaker'].nunique()} speakers")
    for measure, total in sums.items():
        print(f"{measure:>10} {total / len(table):.6f}")


if __name__ == "__main__":
    main()
