"""Measure the memory of a training over the number of examples: python benchmarks/memory.py

For each number, a process of its own trains the preset's network on a cache of that many windows
(random numbers of the preset's shape, on disk), for some steps, reads all other windows as an
epoch does, and saves a checkpoint. It prints the largest resident memory, the cache's size, and
what a process would need that holds all windows in memory as float32.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import study_stages

from denoise.core import files
from denoise.core.arrays import save_array
from denoise.networks import backend
from denoise.study.plan import make_plan
from denoise.training.batches import open_batches
from denoise.training.checkpoints import Checkpoints
from denoise.training.model import compiled

ROOT = Path(__file__).parents[1]
_SHARD = 1024


def write_cache(folder: Path, examples: int, shape: tuple[int, ...]) -> None:
    """A cache of `examples` windows as `features.cache.write` leaves it, of numbers from 0 to 1."""
    rng = np.random.default_rng(0)
    shards = []
    for number, start in enumerate(range(0, examples, _SHARD)):
        count = min(_SHARD, examples - start)
        names = {side: f"{side}-{number:05d}.npy" for side in ("input", "target")}
        for name in names.values():
            save_array(folder / name, rng.random((count, *shape), np.float32).astype("f2"))
        shards.append(names)
    files.write_json(folder / "manifest.json", {"shards": shards})


def measure(preset: str, examples: int, steps: int, changes: dict[str, object]) -> None:
    """Train in this process and print its largest resident memory in bytes."""
    plan = make_plan({"preset": preset, "sweep": {}, "set": changes}, ROOT / "presets")
    recipe = next(iter(plan.variants.values())).recipe
    settings = recipe.training
    backend.start(settings.backend, threads=os.cpu_count() or 1, low_memory=settings.low_memory)
    with tempfile.TemporaryDirectory(dir=ROOT / "results") as name:
        folder = Path(name)
        shape = (*recipe.features.shape(recipe.mixing.segment), 1)
        write_cache(folder, examples, shape)
        size = sum(path.stat().st_size for path in folder.iterdir())
        windows = open_batches(folder / "manifest.json", settings)
        model = compiled(recipe.network, settings, windows)
        checkpoints = Checkpoints(folder / "checkpoints", "")
        checkpoints.restore(model)
        windows.shuffle(0)
        study_stages.train_on(model, windows, steps)
        for step in range(steps, len(windows)):
            windows.batch(step)
        checkpoints.keep_best(model)
        checkpoints.save(model, [{"val_loss": 0.0}], better=True)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"examples": examples, "peak": peak, "cache": size,
                      "in_memory": 2 * examples * int(np.prod(shape)) * 4}))  # fmt: skip


def main() -> None:
    """Measure each number of examples in a process of its own and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--preset", default="unet-bce-logspec")
    parser.add_argument("--set", default="{}", help="overrides of the preset, as JSON")
    parser.add_argument("--examples", type=int, nargs="+", default=[1700, 5000, 20000])
    parser.add_argument("--steps", type=int, default=10, help="trained; the rest is only read")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        measure(options.preset, options.examples[0], options.steps, json.loads(options.set))
        return
    print(f"{'examples':>9} {'resident':>10} {'cache':>10} {'all in memory':>14}")
    for examples in options.examples:
        command = [sys.executable, __file__, "--one", "--preset", options.preset,
                   "--set", options.set, "--examples", str(examples),
                   "--steps", str(options.steps)]  # fmt: skip
        ended = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        row = json.loads(ended.stdout.splitlines()[-1])
        sizes = [f"{row[name] / 1e9:.2f} GB" for name in ("peak", "cache", "in_memory")]
        print(f"{examples:>9} {sizes[0]:>10} {sizes[1]:>10} {sizes[2]:>14}")


if __name__ == "__main__":
    main()
