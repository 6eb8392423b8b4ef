"""What a plan is made of: stages of shared work, variants and models."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from denoise.core.settings import canonical_json
from denoise.study.schema import Experiment, Recipe


@dataclass(frozen=True)
class Stage:
    """One unit of shared work: its name on disk and the settings that shape it."""

    name: str
    settings: dict[str, Any]
    upstream: tuple[str, ...] = ()

    @property
    def params(self) -> str:
        """The settings as canonical JSON, as they reach the rule."""
        return canonical_json(self.settings)


@dataclass
class Variant:
    """One recipe to train, with the names of its stages."""

    name: str
    recipe: Recipe
    differs: dict[str, Any]
    spectrograms: str = ""
    test_sets: dict[str, str] = field(default_factory=dict)

    def training_params(self, seed: int) -> dict[str, Any]:
        """What identifies its training with one seed."""
        recipe = self.recipe
        return {
            "variant": self.name,
            "seed": seed,
            "spectrograms": self.spectrograms,
            "rate": recipe.audio.sample_rate,
            "window": recipe.mixing.window,
            "features": recipe.features.model_dump(mode="json"),
            "network": recipe.network.model_dump(mode="json"),
            "augmentation": recipe.augmentation.model_dump(mode="json"),
            "training": recipe.training.model_dump(mode="json"),
        }


@dataclass(frozen=True)
class ReadyModel:
    """A model that is there, to compare with."""

    folder: str
    rate: int


@dataclass
class Plan:
    """All stages and variants of an experiment."""

    experiment: Experiment
    name: str
    variants: dict[str, Variant]
    indexes: dict[str, Stage] = field(default_factory=dict)
    audio: dict[str, Stage] = field(default_factory=dict)
    splits: dict[str, Stage] = field(default_factory=dict)
    mixtures: dict[str, Stage] = field(default_factory=dict)
    spectrograms: dict[str, Stage] = field(default_factory=dict)
    test_sets: dict[str, Stage] = field(default_factory=dict)
    test_set_names: dict[str, str] = field(default_factory=dict)
    models: dict[str, ReadyModel] = field(default_factory=dict)
    measured: set[str] = field(default_factory=set)
    """The spectrograms whose scaling depends on the training windows."""
