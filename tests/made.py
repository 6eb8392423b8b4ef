"""Small files and settings in the forms that the library works with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from denoise.corpora.preparation import PreparationSettings, PreparedFiles, prepare
from denoise.corpora.selection import AudioSettings, SelectionSettings
from denoise.corpora.splits import PreparedSource
from denoise.evaluation.experiment import ExperimentRecord, MethodRecord, RunFiles, VariantRecord
from denoise.features import cache
from denoise.features.codec import Features
from denoise.features.settings import FeatureSettings
from denoise.mixing.files import TestSetFiles
from denoise.networks.base import NetworkSettings
from denoise.networks.card import ModelCard, ModelFolder
from denoise.networks.unet import UNetSettings
from denoise.training.fit import TrainingData, train
from denoise.training.settings import TrainingSettings


def prepare_into(
    folder: Path,
    index: Path,
    role: str = "speech",
    audio: AudioSettings | None = None,
    selection: SelectionSettings | None = None,
    **options: Any,
) -> None:
    """Prepare the recordings of an index, of a folder of the user's own, in `folder`."""
    source = PreparationSettings(
        corpus="folder", role=role, audio=audio or AudioSettings(),
        selection=selection or SelectionSettings(),
    )  # fmt: skip
    out = PreparedFiles(folder / "audio.npy", folder / "index.csv", folder / "manifest.json")
    prepare([index], source, out, **options)


def prepared_source(folder: Path, use: str = "all") -> PreparedSource:
    """What `prepare_into` wrote, to be split."""
    return PreparedSource(folder / "index.csv", folder / "audio.npy", use)


def files_of_test_set(folder: Path) -> TestSetFiles:
    """The files of a test set in one folder."""
    return TestSetFiles(
        manifest=folder / "manifest.json", mixtures=folder / "mixtures.csv",
        noisy=folder / "noisy.npy", clean=folder / "clean.npy",
    )  # fmt: skip


def write_cache(
    folder: Path,
    mixtures: Path,
    rate: int,
    settings: FeatureSettings,
    scales: dict[str, list[float]] | None = None,
    **options: Any,
) -> None:
    """Cache the windows of a mixture table in `folder`."""
    out = cache.CacheFiles(folder / "manifest.json", folder / "shards")
    cache.write(mixtures, rate, Features(settings, scales), out, **options)


def model_card(**changes: Any) -> ModelCard:
    """The card of a small U-Net, with some fields as given."""
    usual: dict[str, Any] = {
        "name": "v", "rate": 8000, "segment": 992, "features": FeatureSettings(),
        "network": UNetSettings(filters=(2, 4)),
    }  # fmt: skip
    return ModelCard.model_validate({**usual, **changes})


def train_into(
    folder: Path,
    caches: dict[str, Path],
    network: NetworkSettings,
    settings: TrainingSettings,
    seed: int = 0,
    *,
    start: Path | None = None,
    teacher: Path | None = None,
    **options: Any,
) -> None:
    """Train on the caches in the folders ``train`` and ``validation``."""
    manifests = {part: caches[part] / "manifest.json" for part in ("train", "validation")}
    card = model_card(
        name=folder.name, network=network, seed=seed, training=settings.model_dump(mode="json")
    )
    data = TrainingData(**manifests, start=start, teacher=teacher)
    train(card, settings, data, ModelFolder(folder), **options)


def record_of(study: Path, experiment: str = "tried") -> ExperimentRecord:
    """The record of an experiment of a study that was run."""
    return ExperimentRecord.read(study / "reports" / experiment / "study.json")


def model_of(study: Path, label: str, seed: int = 0, experiment: str = "tried") -> Path:
    """The folder of a model that was trained."""
    return study / record_of(study, experiment).methods[label].models[seed]


def scores_of(study: Path, label: str, experiment: str = "tried", test_set: str = "test") -> Path:
    """The scores of a method with its first seed."""
    run = next(iter(record_of(study, experiment).methods[label].runs[test_set].values()))
    return study / run.scores[0]


def write_record(
    study: Path,
    experiment: str,
    models: dict[str, Path],
    test_sets: tuple[str, ...] = ("test",),
    baselines: tuple[str, ...] = (),
) -> ExperimentRecord:
    """The record of an experiment of variants with one seed each, and of baselines, whose outputs
    are named by their labels; paths are relative to `study`."""

    def run(label: str, test_set: str) -> RunFiles:
        place = f"{label}/seed0/{test_set}"
        return RunFiles(
            enhanced=f"results/enhanced/{place}.npy", scores=f"results/scores/{place}.csv"
        )

    record = ExperimentRecord(
        experiment=experiment,
        preset="quickstart",
        seeds=(0,),
        test_sets={name: files_of_test_set(Path("results/test_sets") / name) for name in test_sets},
        methods={
            label: MethodRecord(
                kind="variant" if label in models else "baseline",
                models={0: models[label]} if label in models else {},
                runs={name: {0: run(label, name)} for name in test_sets},
            )
            for label in (*models, *baselines)
        },
        variants={
            label: VariantRecord(differs={}, recipe={}, mixtures="results/mixtures/m/train.csv")
            for label in models
        },
    )  # fmt: skip
    record.write(study / "reports" / experiment / "study.json")
    return record
