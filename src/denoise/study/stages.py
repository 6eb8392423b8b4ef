"""The parts of a plan: stages, variants and scored methods."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from denoise.core.settings import canonical_json
from denoise.evaluation.baselines import BASELINES
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
    """One recipe of an experiment, with the names of its stages."""

    label: str
    recipe: Recipe
    differs: dict[str, Any]
    """Config path → value of what makes it differ from the preset."""
    short: str = ""
    """Short name in figures and messages."""
    spectrograms: str = ""
    model: str = ""
    test_sets: dict[str, str] = field(default_factory=dict)
    """Label → stage."""


@dataclass(frozen=True)
class Method:
    """A scored method."""

    kind: Literal["variant", "model", "baseline"]
    key: str
    """Its folder below ``results/enhanced`` and ``results/scores``."""
    seeds: tuple[int, ...] = (0,)
    model: str = ""
    """The stage of a variant's model, the folder of a ready one."""
    rate: int | None = None
    """Sample rate in Hz; None for that of the test set."""
    network: str = ""
    """The name of its network."""
    settings: str = ""
    """Settings of enhancement, as canonical JSON."""


@dataclass
class Plan:
    """All stages, variants and methods of an experiment."""

    experiment: Experiment
    name: str
    variants: dict[str, Variant]
    extensions: list[str] = field(default_factory=list)
    """As of `denoise.extend.load`."""
    methods: dict[str, Method] = field(default_factory=dict)
    """Label → variants, then baselines, then ready models."""
    indexes: dict[str, Stage] = field(default_factory=dict)
    audio: dict[str, Stage] = field(default_factory=dict)
    splits: dict[str, Stage] = field(default_factory=dict)
    mixtures: dict[str, Stage] = field(default_factory=dict)
    spectrograms: dict[str, Stage] = field(default_factory=dict)
    models: dict[str, Stage] = field(default_factory=dict)
    test_sets: dict[str, Stage] = field(default_factory=dict)
    test_set_names: dict[str, str] = field(default_factory=dict)
    """Label → stage."""
    families: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Label of a test set → the families of metrics that outputs for it are scored with."""
    without_clean: set[str] = field(default_factory=set)
    """Labels of the test sets that have no clean references."""
    measured: set[str] = field(default_factory=set)
    """The spectrograms whose scaling depends on the training windows."""

    def families_of(self, label: str, test_set: str) -> tuple[str, ...]:
        """The families of metrics for a method on a test set; none if it has no output."""
        baseline = self.methods[label].kind == "baseline"
        if baseline and BASELINES[label].needs_clean and test_set in self.without_clean:
            return ()
        families = self.families[test_set]
        # The reference does not differ from itself.
        without = {"intrusive", "dwer"} if label == "clean" else set()
        return tuple(one for one in families if one not in without)

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds of each variant."""
        return self.experiment.seeds
