"""From a plan to the record of its experiment."""

from __future__ import annotations

from pathlib import Path

from denoise.evaluation.baselines import BASELINES
from denoise.evaluation.experiment import (
    ExperimentRecord,
    MethodRecord,
    RunFiles,
    VariantRecord,
)
from denoise.study import paths
from denoise.study.stages import Method, Plan, Variant


def record_of(plan: Plan) -> ExperimentRecord:
    """The record of a plan's experiment."""
    experiment = plan.experiment
    return ExperimentRecord(
        experiment=plan.name,
        preset=experiment.preset,
        seeds=plan.seeds,
        sweep=tuple(path for path, values in experiment.sweep.items() if len(values) > 1),
        examples=experiment.examples,
        recogniser=experiment.recogniser,
        test_sets={label: paths.test_set(stage) for label, stage in plan.test_set_names.items()},
        methods={
            label: MethodRecord(
                kind=method.kind,
                models=_models(method),
                runs={
                    test_set: {seed: _run(plan, label, seed, test_set) for seed in method.seeds}
                    for test_set in plan.test_set_names
                    if plan.families_of(label, test_set)
                },
            )
            for label, method in plan.methods.items()
        },
        variants={
            label: VariantRecord(
                short=variant.short,
                differs=variant.differs,
                recipe=variant.recipe.model_dump(mode="json"),
                mixtures=Path(paths.mixtures(_stages(plan, variant)[1], "train")),
                stages=_stages(plan, variant),
            )
            for label, variant in plan.variants.items()
        },
    )


def _stages(plan: Plan, variant: Variant) -> tuple[str, ...]:
    """The stages of data that a variant is trained on: spectrograms, mixtures, splits, audio."""
    mixtures = plan.spectrograms[variant.spectrograms].upstream[0]
    splits = plan.mixtures[mixtures].upstream
    sources = [source for split in splits for source in plan.splits[split].upstream]
    return (variant.spectrograms, mixtures, *dict.fromkeys([*splits, *sources]))


def _models(method: Method) -> dict[int, Path]:
    if method.kind == "baseline":
        return {}
    if method.kind == "model":
        return {0: Path(method.model)}
    return {seed: paths.model(method.model, seed) for seed in method.seeds}


def _run(plan: Plan, label: str, seed: int, test_set: str) -> RunFiles:
    method = plan.methods[label]
    place = (method.key, seed, plan.test_set_names[test_set])
    tables = {
        "intrusive": paths.scores(*place),
        "dnsmos": paths.opinions(*place),
        "wer": paths.word_errors(*place, plan.experiment.recogniser),
        "dwer": paths.word_differences(*place, plan.experiment.recogniser),
    }
    return RunFiles(
        enhanced=paths.enhanced(*place),
        scores=tuple(tables[family] for family in plan.families_of(label, test_set)),
        speed=paths.enhanced(*place, ".json") if is_denoiser(label, method) else None,
    )


def is_denoiser(label: str, method: Method) -> bool:
    """Whether a method removes noise, as the noisy input and the ceilings do not."""
    return method.kind != "baseline" or BASELINES[label].denoiser
