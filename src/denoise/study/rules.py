"""Inputs, parameters and labels of the workflow's rules, from a plan.

Methods with `wildcards` are for one job, the others for the whole experiment.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from denoise.core.boundary import USER_ERROR
from denoise.core.errors import UserError, unknown
from denoise.core.settings import canonical_json
from denoise.core.terminal import fail
from denoise.corpora.registry import find_corpus
from denoise.evaluation.experiment import RunFiles
from denoise.networks.card import ModelFolder
from denoise.study import about, paths
from denoise.study.code import Chosen, chosen_of
from denoise.study.jobs import Label
from denoise.study.plan import WORKERS
from denoise.study.record import is_denoiser, record_of
from denoise.study.stages import Method, Plan, Stage, Variant
from denoise.training import losses
from denoise.training.settings import TrainingSettings

PARTS = ("train", "validation")
_RULES = {"intrusive": "score", "dnsmos": "dnsmos", "wer": "wer", "dwer": "dwer"}
"""Family of metrics → the rule that takes them."""


class Rules:
    """The answers of one plan.

    Parameters
    ----------
    plan
        As of `make_plan`.
    storage
        Whether jobs exchange files through a storage; else they share a folder, in which extracted
        recordings stay as they are, since another study may read them.
    """

    def __init__(self, plan: Plan, *, storage: bool = False) -> None:
        self.plan, self.storage = plan, storage
        self.record = record_of(plan)
        self._methods = {method.key: method for method in plan.methods.values()}
        self._variants: dict[str, Variant] = {}
        for variant in plan.variants.values():
            self._variants.setdefault(variant.model, variant)

    # Corpora, mixtures and spectrograms

    def archives(self, wildcards: Any) -> list[str]:
        """The archives of a subset, optional ones last."""
        found = find_corpus(wildcards.corpus).subsets.get(wildcards.subset, ())
        in_order = sorted(found, key=lambda archive: archive.optional)
        return [paths.archive(wildcards.corpus, archive.name) for archive in in_order]

    def params_of_index(self, wildcards: Any) -> str:
        """The settings of the index of a subset, as JSON."""
        return self.plan.indexes[f"{wildcards.corpus}/{wildcards.subset}"].params

    def params_of(self, wildcard: str) -> Callable[[Any], str]:
        """The function that gives the settings of the stage that a wildcard names, as JSON."""
        stages: dict[str, Stage] = {
            "audio": self.plan.audio,
            "split": self.plan.splits,
            "mixture": self.plan.mixtures,
            "spectrogram": self.plan.spectrograms,
            "test_id": self.plan.test_sets,
        }[wildcard]
        return lambda wildcards: stages[getattr(wildcards, wildcard)].params

    def indexes_of_audio(self, wildcards: Any) -> list[str]:
        """The recordings that audio is prepared from."""
        return [paths.index(name) for name in self.plan.audio[wildcards.audio].upstream]

    def recordings_of_audio(self, wildcards: Any) -> list[str]:
        """Their files, which a shared folder keeps for itself."""
        names = self.plan.audio[wildcards.audio].upstream if self.storage else ()
        return [paths.recordings(name) for name in names]

    def audio_of_split(self, wildcards: Any) -> list[str]:
        """The tables of prepared audio that a split divides."""
        names = self.plan.splits[wildcards.split].upstream
        return [paths.prepared(name, "index.csv") for name in names]

    def packs_of_split(self, wildcards: Any) -> list[str]:
        """The packed audio that the rows of a split will point into."""
        return self._packs([wildcards.split])

    def splits_of_mixture(self, wildcards: Any) -> list[str]:
        """The splits that mixtures are drawn from: speech, and noise unless it is paired."""
        return [paths.split(name) for name in self.plan.mixtures[wildcards.mixture].upstream]

    def packs_of_mixture(self, wildcards: Any) -> list[str]:
        """The packed audio that their rows point into."""
        return self._packs(self.plan.mixtures[wildcards.mixture].upstream)

    def splits_of_test_set(self, wildcards: Any) -> list[str]:
        """The splits that a test set is drawn from."""
        return [paths.split(name) for name in self.plan.test_sets[wildcards.test_id].upstream]

    def packs_of_test_set(self, wildcards: Any) -> list[str]:
        """The packed audio that their rows point into."""
        return self._packs(self.plan.test_sets[wildcards.test_id].upstream)

    def _packs(self, splits: Any) -> list[str]:
        names = dict.fromkeys(name for split in splits for name in self.plan.splits[split].upstream)
        return [paths.prepared(name, "audio.npy") for name in names]

    def mixtures_of_spectrogram(self, wildcards: Any) -> str:
        """The windows of a split that are cached."""
        return paths.mixtures(self._mixture(wildcards.spectrogram), wildcards.part)

    def training_mixtures_of_spectrogram(self, wildcards: Any) -> str:
        """The windows that a scaling is measured on."""
        return paths.mixtures(self._mixture(wildcards.spectrogram), "train")

    def packs_of_spectrogram(self, wildcards: Any) -> list[str]:
        """The packed audio that windows are rendered from."""
        return self._packs(self.plan.mixtures[self._mixture(wildcards.spectrogram)].upstream)

    def scaling_of_spectrogram(self, wildcards: Any) -> list[str]:
        """The scaling measured on the training windows, if the recipe has one."""
        name = wildcards.spectrogram
        return [paths.scaling(name)] if name in self.plan.measured else []

    def _mixture(self, spectrogram: str) -> str:
        (name,) = self.plan.spectrograms[spectrogram].upstream
        return name

    # Training

    def variant(self, wildcards: Any) -> Variant:
        """A variant that is trained to the model.

        Raises
        ------
        SystemExit
            If the experiment has none.
        """
        if wildcards.model not in self._variants:
            raise _exit(unknown("model", wildcards.model, self._variants))
        return self._variants[wildcards.model]

    def training_params(self, wildcards: Any) -> str:
        """The settings of a model, as fields of `ModelCard`, in JSON."""
        variant = self.variant(wildcards)
        stage = self.plan.models[variant.model]
        made_of = {"name": stage.name, "spectrograms": variant.spectrograms, **stage.settings}
        return canonical_json({**made_of, "seed": int(wildcards.seed)})

    def training_settings(self, wildcards: Any) -> TrainingSettings:
        """The settings of a training."""
        return self.variant(wildcards).recipe.training

    def workers_of_training(self, wildcards: Any) -> Label:
        """The settings of a training that change no result, as JSON."""
        return Label(self.training_settings(wildcards).model_dump_json(include=WORKERS))

    def threads_of_training(self, wildcards: Any) -> int:
        """CPU threads of a training."""
        return self.training_settings(wildcards).threads

    def manifest_of_training(self, part: str) -> Callable[[Any], str]:
        """The function that names the manifest of a training's windows."""
        return lambda wildcards: paths.spectrograms(self.variant(wildcards).spectrograms, part)

    def windows_of_training(self, wildcards: Any) -> list[str]:
        """The input files of a training: spectrograms, or the audio that windows are mixed from."""
        variant = self.variant(wildcards)
        if _reads_cache(variant):
            return [paths.spectrograms(variant.spectrograms, part, "shards") for part in PARTS]
        return self._packs(self.plan.mixtures[self._mixture(variant.spectrograms)].upstream)

    def tables_of_training(self, wildcards: Any) -> list[str]:
        """The mixture tables that windows are mixed from while training, if they are."""
        variant = self.variant(wildcards)
        if _reads_cache(variant):
            return []
        return [paths.mixtures(self._mixture(variant.spectrograms), part) for part in PARTS]

    def start_of_training(self, wildcards: Any) -> list[str]:
        """The weights that a training starts from, if they are not random."""
        folder = self._other_model(wildcards, "start_from")
        return [] if folder is None else [str(folder.model)]

    def teacher_of_training(self, wildcards: Any) -> list[str]:
        """The files of the model that a training learns from, if there is one."""
        folder = self._other_model(wildcards, "teacher")
        return [] if folder is None else [str(folder.model), str(folder.card)]

    def _other_model(self, wildcards: Any, key: str) -> ModelFolder | None:
        variant = self.variant(wildcards)
        name = getattr(variant.recipe.training, key)
        if name is None:
            return None
        # Another variant is trained first, to another model.
        stage = self.plan.models[variant.model].settings["training"][key]
        known = stage in self.plan.models
        return ModelFolder(paths.model(stage, int(wildcards.seed)) if known else self._given(name))

    def _given(self, name: str) -> Path:
        """The folder of a model that is given by its path.

        If it was trained here for another experiment, the path is absolute: Snakemake would look
        for the rule that trains it.
        """
        folder = Path(name).resolve()
        if not folder.is_relative_to(paths.MODELS.resolve()):
            return Path(name)
        if folder.parent.name in self.plan.models:
            return paths.MODELS / folder.relative_to(paths.MODELS.resolve())
        return folder

    def label_of_training(self, wildcards: Any) -> Label:
        """The name of a training in messages and MLflow."""
        label = self.variant(wildcards).short
        several = len(self.plan.seeds) > 1
        return Label(f"{label}, seed {wildcards.seed}" if several else label)

    def variant_of_training(self, wildcards: Any) -> Label:
        """The label of the variant that a model is trained for, the first of several."""
        return Label(self.variant(wildcards).label)

    def training_choices(self, wildcards: Any) -> Chosen:
        """The parts that a training chooses by name."""
        recipe = self.variant(wildcards).recipe
        measured = [*losses.weights(recipe.training.loss), *recipe.training.metrics]
        return chosen_of(
            {
                "networks.registry": [recipe.network.name],
                "training.losses": measured,
                "mixing.effects": recipe.augmentation.effects,
            }
        )

    # Enhancement and scores

    def method(self, wildcards: Any) -> Method:
        """The method of a folder of outputs or scores.

        Raises
        ------
        SystemExit
            If the experiment has no such method.
        """
        if wildcards.method not in self._methods:
            raise _exit(unknown("method", wildcards.method, self._methods))
        return self._methods[wildcards.method]

    def model_of_method(self, wildcards: Any) -> dict[str, str]:
        """The files of a method's model; if it was trained elsewhere, those that exist."""
        method = self.method(wildcards)
        given = paths.model(method.model, int(wildcards.seed))
        folder = ModelFolder(self._given(method.model) if method.kind == "model" else given)
        names = {"model": folder.model, "onnx": folder.onnx, "card": folder.card}
        if method.kind == "model":
            names = {name: path for name, path in names.items() if path.is_file()}
        return {name: str(path) for name, path in names.items()}

    def spectral_of_method(self, wildcards: Any) -> list[str]:
        """The errors of a model's own spectrograms; a baseline has none."""
        if self.method(wildcards).kind == "baseline":
            return []
        place = (wildcards.method, int(wildcards.seed), wildcards.test_id)
        return [str(paths.enhanced(*place, ".csv"))]

    def enhancement_params(self, wildcards: Any) -> str:
        """The settings of enhancement and the software, as JSON."""
        return self.method(wildcards).settings

    def enhancement_choices(self, wildcards: Any) -> Chosen:
        """The network that is applied."""
        return chosen_of({"networks.registry": [self.method(wildcards).network]})

    def rate_of_method(self, wildcards: Any) -> int | None:
        """Sample rate of a method; None for that of the test set."""
        return self.method(wildcards).rate

    def label_of_method(self, wildcards: Any) -> Label:
        """The name of a method in messages."""
        method = self.method(wildcards)
        label = next(one for one, known in self.plan.methods.items() if known.key == method.key)
        return Label(f"{label}, seed {wildcards.seed}" if len(method.seeds) > 1 else label)

    def label_of_test_set(self, wildcards: Any) -> Label:
        """The name of a test set in messages."""
        names = self.plan.test_set_names
        return Label(next((one for one, stage in names.items() if stage == wildcards.test_id), ""))

    # The experiment

    def all_runs(self) -> list[tuple[dict[str, Any], RunFiles]]:
        """Identifying columns and files of all score tables."""
        return [
            ({"method": label, "seed": seed, "test_set": test_set}, found)
            for test_set in self.plan.test_set_names
            for label, seed, found in self.record.runs(test_set)
        ]

    def scores(self) -> list[str]:
        """All score tables, one of each family of metrics."""
        return [str(path) for _, found in self.all_runs() for path in found.scores]

    def untrained_scores(self) -> list[str]:
        """The score tables of baselines and ready models."""
        kinds = {label: method.kind for label, method in self.plan.methods.items()}
        return [str(path) for place, found in self.all_runs()
                if kinds[place["method"]] != "variant" for path in found.scores]  # fmt: skip

    def scored(self) -> str:
        """Method, seed and test set of each of `scores`, as JSON."""
        return canonical_json([place for place, found in self.all_runs() for _ in found.scores])

    def speeds(self) -> list[str]:
        """Files with the computing times of all networks and baselines."""
        return [str(found.speed) for _, found in self.all_runs() if found.speed]

    def model_files(self, name: str) -> list[str]:
        """The ``card`` or ``history`` of every model that was trained."""
        return [
            str(getattr(ModelFolder(folder), name))
            for method in self.record.methods.values()
            if method.kind == "variant"
            for folder in method.models.values()
        ]

    def test_set_files(self, *names: str) -> list[str]:
        """These files of all test sets, such as ``mixtures``."""
        return [str(getattr(one, name)) for one in self.record.test_sets.values() for name in names]

    def played_outputs(self) -> list[str]:
        """The audio of every denoiser, which can be heard in the report."""
        return [
            str(path)
            for test_set in self.record.test_sets
            for label, path in self.record.played_outputs(test_set).items()
            if is_denoiser(label, self.plan.methods[label])
        ]

    def training_tables(self) -> list[str]:
        """The tables of all training windows, of which the report plays some."""
        tables = [str(variant.mixtures) for variant in self.record.variants.values()]
        return list(dict.fromkeys(tables))

    def training_packs(self) -> list[str]:
        """The packed audio that they point into."""
        mixtures = dict.fromkeys(map(self._mixture, self.plan.spectrograms))
        splits = [name for mixture in mixtures for name in self.plan.mixtures[mixture].upstream]
        return self._packs(splits)

    def manifests(self, stage: str) -> list[str]:
        """The manifests of ``audio`` or ``spectrograms``, or the tables of ``splits``."""
        if stage == "audio":
            return [paths.prepared(name, "manifest.json") for name in self.plan.audio]
        if stage == "splits":
            return [paths.split(name) for name in self.plan.splits]
        return [paths.spectrograms(name, part) for name in self.plan.spectrograms for part in PARTS]

    def blind_results(self) -> list[str]:
        """The results of `denoise listen --score`, if they exist."""
        path = paths.report(self.plan.name, "listening_scores.json")
        return [str(path)] if path.exists() else []

    def benchmarks(self) -> str:
        """Rule, what it was for, and Snakemake's benchmark file of each job, as JSON."""
        plan = self.plan
        named = [(rule, name, name) for rule, stages in (
            ("index", plan.indexes), ("prepare", plan.audio), ("mix", plan.mixtures),
            ("test_set", plan.test_sets), ("scaling", sorted(plan.measured)),
        ) for name in stages]  # fmt: skip
        named += [("spectrograms", f"{name} {part}", f"{name}-{part}")
                  for name in plan.spectrograms for part in PARTS]  # fmt: skip
        for label, method in plan.methods.items():
            for seed in method.seeds:
                subject = f"{label}, seed {seed}" if method.kind == "variant" else label
                if method.kind == "variant":
                    named.append(("train", subject, f"{method.model}-seed{seed}"))
                rule = "baseline" if method.kind == "baseline" else "enhance"
                for test_set, stage in plan.test_set_names.items():
                    families = plan.families_of(label, test_set)
                    scoring = [_RULES[family] for family in families]
                    key = f"{method.key}-seed{seed}-{stage}"
                    named += [(step, f"{subject}, {test_set}", key)
                              for step in ((rule, *scoring) if families else ())]  # fmt: skip
        return canonical_json(
            [[rule, subject, str(paths.benchmark(f"{rule}/{key}"))] for rule, subject, key in named]
        )

    # Tracking

    def run(self, wildcards: Any) -> Variant:
        """The variant of a tracked run.

        Raises
        ------
        SystemExit
            If the experiment has none of this label.
        """
        if wildcards.variant not in self.plan.variants:
            raise _exit(unknown("variant", wildcards.variant, self.plan.variants))
        return self.plan.variants[wildcards.variant]

    def model_of_run(self, wildcards: Any) -> dict[str, str]:
        """The files of the model of a run, and the manifests of its windows."""
        variant = self.run(wildcards)
        folder = ModelFolder(paths.model(variant.model, int(wildcards.seed)))
        return {
            **{name: str(getattr(folder, name)) for name in ("model", "onnx", "history", "card")},
            **{part: paths.spectrograms(variant.spectrograms, part) for part in PARTS},
        }

    def outputs_of_run(self, name: str) -> Callable[[Any], list[str]]:
        """The function that names the ``scores`` or the ``enhanced`` audio of a run."""

        def named(wildcards: Any) -> list[str]:
            runs = self.record.methods[self.run(wildcards).label].runs.values()
            files = [one[int(wildcards.seed)] for one in runs]
            if name == "enhanced":
                return [str(one.enhanced) for one in files]
            return [str(path) for one in files for path in one.scores]

        return named

    def tables_of_run(self, wildcards: Any) -> str:
        """Each test set, and how many score tables `outputs_of_run` names of it, as JSON."""
        runs = self.record.methods[self.run(wildcards).label].runs
        return canonical_json(
            [[name, len(one[int(wildcards.seed)].scores)] for name, one in runs.items()]
        )

    def runs(self) -> list[str]:
        """The notes that all runs are recorded."""
        return [
            str(paths.tracking(self.plan.name, f"{label}-seed{seed}"))
            for label in self.plan.variants
            for seed in self.plan.seeds
        ]

    def about_run(self, wildcards: Any) -> str:
        """The description of a run for MLflow, as JSON."""
        return about.run(self.plan, self.run(wildcards), int(wildcards.seed))

    def about_experiment(self) -> str:
        """The description of the experiment for MLflow, as JSON."""
        return about.experiment(self.plan)


def _reads_cache(variant: Variant) -> bool:
    """Whether a training reads spectrograms; else it mixes its windows."""
    recipe = variant.recipe
    return recipe.features.cache and not losses.is_waveform_loss(recipe.training.loss)


def _exit(error: UserError) -> SystemExit:
    """Ends Snakemake with one line; it would show where in the rules another exception came up."""
    fail(error)
    return SystemExit(USER_ERROR)
