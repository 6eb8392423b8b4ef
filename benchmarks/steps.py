"""The time of a training step: what the training loop costs compared with a bare `fit`, and how
fast a device trains a network.

    python benchmarks/steps.py --backend jax --network tiny
    python benchmarks/steps.py --network best --batch-size 4 32 --precision float32 mixed_bfloat16

`tiny` has as many variables as the network of the preset `best` and next to nothing to compute, so
that a step is what the loops themselves cost.  Both ways train the same compiled model on windows
in memory, and take turns; medians over rounds.  `PYTHONPATH` of another checkout measures its loop.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from denoise.features.codec import Features
from denoise.features.settings import FeatureSettings
from denoise.networks import backend
from denoise.networks.temporal_unet import TemporalUNetSettings
from denoise.training.batches import WaveformBatches
from denoise.training.checkpoints import Checkpoints
from denoise.training.epochs import train_epoch
from denoise.training.model import compiled
from denoise.training.saver import EpochSaver
from denoise.training.settings import TrainingSettings

_DILATIONS = (1, 2, 4, 8, 1, 2, 4, 8)
NETWORKS = {
    "tiny": (TemporalUNetSettings(filters=(2, 2, 2, 2), dilations=_DILATIONS), 1024),
    "narrow": (TemporalUNetSettings(filters=(32, 48, 64, 96), dilations=_DILATIONS), 32000),
    "best": (TemporalUNetSettings(filters=(48, 64, 96, 128), dilations=_DILATIONS), 32000),
    "stream": (
        TemporalUNetSettings(filters=(48, 64, 80), dilations=_DILATIONS, causal=True), 32000
    ),
    "small": (
        TemporalUNetSettings(filters=(16, 24, 32), dilations=_DILATIONS[:4], causal=True), 32000
    ),
}  # fmt: skip
"""Settings, and samples of a window."""
LOSS = {"compressed_spectral": 1.0, "suppressed_speech": 1.0, "si_sdr": 0.003}


class Drawn:
    """Windows of noise that are there at once, in the place of a mixer."""

    def __init__(self, count: int, samples: int) -> None:
        self.rows = [{"samples": samples}] * count
        rng = np.random.default_rng(0)
        self.waves = 0.1 * rng.standard_normal((count, samples, 2)).astype(np.float32)

    def batch(self, chosen: np.ndarray, seed: int | None = None) -> np.ndarray:
        """Noisy and clean [shape=(batch, samples, 2)]."""
        return self.waves[chosen]


def ways(
    network: str, settings: TrainingSettings, options: argparse.Namespace, folder: Path
) -> dict[str, Callable[[], Any]]:
    """Each makes ``options.steps`` steps of the same model."""
    import keras

    chosen, samples = NETWORKS[network]
    keras.utils.set_random_seed(0)
    stft = {"n_fft": 512, "hop": 256}
    if network == "tiny":
        stft = {"n_fft": 128, "hop": 64}
    features = FeatureSettings.model_validate(
        {
            "stft": stft, "bins": stft["n_fft"] // 2, "reference": "window",
            "input": "compressed_complex", "target": "mask_and_phase_correction", "cache": False,
        }
    )  # fmt: skip
    drawn = Drawn(options.steps * settings.batch_size, samples)
    windows = WaveformBatches(Features(features, {}), settings.batch_size, lambda: drawn)  # type: ignore[arg-type, return-value]
    model = compiled(chosen, settings, windows)
    checkpoints = Checkpoints(folder, "steps")
    noisy = np.ascontiguousarray(drawn.waves[..., 0])

    model.steps_per_execution = options.steps_per_execution

    def fit() -> None:
        model.fit(noisy, drawn.waves, batch_size=settings.batch_size, verbose=0)

    def workflow() -> None:
        # A new one each time: it would save what takes over a minute, and go on from there.
        saver = EpochSaver(checkpoints, model, 0, None)
        train_epoch(windows, 0, settings, lambda share: 1e-4, saver)

    # The workflow looks after each step whether it should end.
    return {"fit": fit} if options.steps_per_execution > 1 else {"fit": fit, "workflow": workflow}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backend", default="tensorflow", choices=["tensorflow", "jax", "torch"])
    parser.add_argument("--network", nargs="+", default=["tiny"], choices=NETWORKS)
    parser.add_argument("--precision", nargs="+", default=["float32"])
    parser.add_argument("--batch-size", nargs="+", type=int, default=[4])
    parser.add_argument("--xla", nargs="+", default=["auto"], choices=["auto", "true", "false"])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--deterministic", default="true", choices=["true", "false"])
    parser.add_argument("--steps", type=int, default=300, help="of a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--steps-per-execution", type=int, default=1, help="of Keras; other than 1 for `fit` alone"
    )
    options = parser.parse_args()
    deterministic = options.deterministic == "true"
    backend.start(options.backend, threads=options.threads, deterministic=deterministic)
    print(f"{options.backend}, devices {backend.devices()}, medians of {options.rounds} rounds")
    print("| network | batch | precision | XLA | `fit`, ms | workflow, ms | ratio | windows/s |")
    print("|---|---|---|---|---|---|---|---|", flush=True)
    asked = itertools.product(options.network, options.batch_size, options.precision, options.xla)
    for network, batch, precision, xla in asked:
        settings = TrainingSettings.model_validate(
            {
                "backend": options.backend, "loss": LOSS, "metrics": ["mae"], "batch_size": batch,
                "precision": precision, "xla": {"true": True, "false": False}.get(xla, "auto"),
                "threads": options.threads, "deterministic": deterministic,
                "optimiser": {"name": "adamw", "weight_decay": 0.01, "clip_norm": 1},
            }
        )  # fmt: skip
        times: dict[str, list[float]] = {}
        with tempfile.TemporaryDirectory() as folder:
            each = ways(network, settings, options, Path(folder))
            for round_ in range(options.rounds + 1):
                for name, run in each.items():
                    started = time.perf_counter()
                    run()
                    if round_:  # the first compiles
                        spent = time.perf_counter() - started
                        times.setdefault(name, []).append(1000 * spent / options.steps)
        owns = times.get("workflow", times["fit"])
        fit, own = statistics.median(times["fit"]), statistics.median(owns)
        ratio = statistics.median(b / a for a, b in zip(times["fit"], owns, strict=True))
        print(
            f"| {network} | {batch} | {precision} | {xla} | {fit:.2f} | {own:.2f} | {ratio:.2f} | "
            f"{1000 * batch / own:.0f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
