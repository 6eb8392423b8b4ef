"""The stages of a study in a folder of a benchmark's own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from denoise.corpora.preparation import PreparationSettings, PreparedFiles, prepare
from denoise.corpora.selection import AudioSettings
from denoise.corpora.splits import PreparedSource, SplitSettings, split
from denoise.features import cache
from denoise.features.codec import Features
from denoise.features.settings import FeatureSettings
from denoise.mixing.files import SplitTables
from denoise.mixing.mixtures import mix_windows
from denoise.mixing.settings import MixingSettings
from denoise.networks.card import ModelCard
from denoise.study.stages import Plan
from denoise.training.batches import Batches
from denoise.training.epochs import loop_input

if TYPE_CHECKING:
    import keras


def prepared(
    folder: Path, index: Path, role: Literal["speech", "noise"], rate: int, processes: int = 1
) -> None:
    """Decode, resample and pack the recordings of an index into `folder`."""
    source = PreparationSettings(corpus="folder", role=role, audio=AudioSettings(sample_rate=rate))
    out = PreparedFiles(folder / "audio.npy", folder / "index.csv", folder / "manifest.json")
    prepare([index], source, out, processes=processes)


def divided(folder: Path, table: Path) -> None:
    """Divide what `prepared` wrote."""
    source = PreparedSource(folder / "index.csv", folder / "audio.npy", "all")
    split([source], SplitSettings(), 0, table)


def mixed(work: Path, settings: MixingSettings, rate: int, processes: int) -> dict[str, Path]:
    """Mix the windows of ``speech-split.csv`` and ``noise-split.csv``; the tables of both parts."""
    tables = {part: work / f"{part}.csv" for part in ("train", "validation")}
    splits = SplitTables(work / "speech-split.csv", work / "noise-split.csv")
    mix_windows(splits, settings, rate, 0, tables, processes=processes)  # type: ignore[arg-type]
    return tables


def cached(
    folder: Path, mixtures: Path, rate: int, features: Features | None = None, processes: int = 1
) -> None:
    """Cache the windows of a mixture table in `folder`."""
    out = cache.CacheFiles(folder / "manifest.json", folder / "shards")
    cache.write(mixtures, rate, features or Features(FeatureSettings()), out, processes=processes)


def train_on(model: keras.Model, windows: Batches, steps: int | None = None) -> None:
    """An epoch of these windows, or as many steps of it, as the workflow trains it."""
    wanted = steps or len(windows)
    model.fit(loop_input(windows), steps_per_epoch=wanted, shuffle=False, verbose=0)


def card_of(plan: Plan) -> ModelCard:
    """The card of the first model of a plan, before it is trained."""
    stage = next(iter(plan.models.values()))
    return ModelCard.model_validate({"name": stage.name, **stage.settings})
