"""Descriptions of an experiment and its runs for MLflow."""

from __future__ import annotations

from typing import Any

from denoise.core.settings import canonical_json
from denoise.study.stages import Plan, Variant


def run(plan: Plan, variant: Variant, seed: int) -> str:
    """Description of a run and its differences, as JSON of `tracking.notes.RunAbout`."""
    recipe = variant.recipe.model_dump(mode="json")
    return canonical_json(
        {
            "experiment": plan.name,
            "variant": variant.label,
            "name": f"{variant.short}, seed {seed}" if len(plan.seeds) > 1 else variant.short,
            "preset": plan.experiment.preset,
            "data": data_in_words([variant]),
            "differs": variant.differs,
            "settings": {path: _value_at(recipe, path) for path in _varied(plan)},
        }
    )


def experiment(plan: Plan) -> str:
    """Description of the experiment, as JSON of `tracking.record.ExperimentAbout`."""
    return canonical_json(
        {
            "experiment": plan.name,
            "preset": plan.experiment.preset,
            "data": data_in_words(list(plan.variants.values())),
            "seeds": plan.seeds,
            "varied": _varied(plan),
        }
    )


def _varied(plan: Plan) -> list[str]:
    """The paths of all settings that differ among the variants."""
    paths = (path for variant in plan.variants.values() for path in variant.differs)
    return list(dict.fromkeys(paths))


def data_in_words(variants: list[Variant]) -> str:
    """The corpora that variants are trained on, speech before noise."""
    speech, noise = (
        " + ".join(
            dict.fromkeys(
                source.corpus
                for variant in variants
                for source in getattr(variant.recipe.data, side)
            )
        )
        for side in ("speech", "noise")
    )
    return f"{speech} speech, {noise} noise" if noise else f"{speech} pairs"


def _value_at(settings: Any, path: str) -> Any:
    """A value of nested settings by its path; None where it is not set."""
    for key in path.split("."):
        settings = settings.get(key) if isinstance(settings, dict) else None
    return settings
