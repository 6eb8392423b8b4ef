# The plan of the experiment, and the named functions through which rules read it.
import os
import sys
from pathlib import Path

from snakemake.sourcecache import LocalSourceFile

from denoise.core.bundled import presets_of
from denoise.core.errors import UserError, unknown
from denoise.core.labels import labels
from denoise.core.settings import canonical_json
from denoise.corpora.registry import CORPORA
from denoise.enhancement.settings import EnhancementSettings
from denoise.evaluation import baselines
from denoise.study.checks import check_backends, replaced_by
from denoise.study.code import code_digest, lock_digest
from denoise.study.config import typed
from denoise.study.jobs import begin_workflow, make_importable
from denoise.study.plan import archives_of, make_plan
from denoise.tracking.store import forget_incomplete, keep_marker
from denoise.training import losses
from denoise.training.settings import TrainingSettings

# The repository; None where Snakemake fetches this file from elsewhere, as a module of a study.
HERE = workflow.current_basedir
ROOT = Path(HERE.path).parents[1] if isinstance(HERE, LocalSourceFile) else None

make_importable()
if not workflow.subprocess_exec:
    begin_workflow(main=workflow.is_main_process)

config.update(typed(config, workflow.config_settings.config))

try:
    PLAN = make_plan(config, presets_of(ROOT))
    # Pods have an image of their own.
    if (
        workflow.is_main_process
        and not workflow.storage_registry.default_storage_provider
    ):
        check_backends(PLAN)
except UserError as error:
    changed_by = [str(path) for path in workflow.config_settings.configfiles]
    changed_by += ["--config"] * bool(workflow.config_settings.config)
    given = (
        f" (config.yaml is changed by {', '.join(changed_by)})" if changed_by else ""
    )
    sys.exit(f"error: {error}{given}")

if workflow.is_main_process:
    for warning in replaced_by(PLAN, Path("reports")):
        print(f"warning: {warning}", file=sys.stderr)

EXPERIMENT = PLAN.name
# What jobs need to know but must not be repeated for: the name that a training logs under, and
# how archives are obtained.  Unlike params, config triggers nothing.
config["experiment"] = EXPERIMENT
config["download"] = PLAN.experiment.download.model_dump(mode="json")
SEEDS = PLAN.experiment.seeds
config["run_names"] = {
    f"{name}-seed{seed}": f"{label}, seed {seed}" if len(SEEDS) > 1 else label
    for name, label in labels(list(PLAN.variants)).items()
    for seed in SEEDS
}
REPORT = f"reports/{EXPERIMENT}"

# Of a storage in which jobs exchange their files, as on Kubernetes; else they share the folder.
STORAGE = workflow.storage_registry.default_storage_provider
if STORAGE:
    prefix = workflow.storage_settings.default_storage_prefix
    if not prefix:
        sys.exit(
            "error: a storage needs a place in it: --default-storage-prefix s3://BUCKET/STUDY"
        )
    config["copies"] = str(STORAGE.object(f"{prefix}/results").local_path().parent)
    for name, stage in PLAN.indexes.items():
        if stage.settings["corpus"] == "folder":
            sys.exit(
                f"error: {name} is a folder of this machine, which jobs that exchange files "
                f"through {prefix} cannot read: use a corpus that is fetched, or a shared folder "
                "without --default-storage-provider"
            )
    if not os.environ.get("MLFLOW_TRACKING_URI"):
        sys.exit(
            "error: MLFLOW_TRACKING_URI is not set: jobs that share no folder need an MLflow "
            "server to record their runs, see docs/cluster.md"
        )
    workflow.register_envvars(
        *(
            f"MLFLOW_TRACKING_{name}"
            for name in ("URI", "USERNAME", "PASSWORD", "TOKEN")
            if f"MLFLOW_TRACKING_{name}" in os.environ
        )
    )

forget_incomplete(Path("results/tracking") / EXPERIMENT)
keep_marker(Path("results/mlflow/store.json"), Path("results/models"))


# Methods that are scored beside the variants and stand in the same place of a path.
OTHERS = "|".join(map(re.escape, [*baselines.BASELINES, *PLAN.models]))


wildcard_constraints:
    experiment=r"[^/]+",
    method=r"[^/]+",
    corpus="|".join(CORPORA),
    # The name of a table is not that of a folder.
    subset=r"[^/]+(?<!\.csv)",
    archive=r"[^/]+",
    audio=r"[^/]+",
    split=r"[^/]+",
    mixture=r"[^/]+",
    spectrogram=r"[^/]+",
    part="train|validation",
    test_id=r"[^/]+",
    test_set=r"[^/]+",
    # Not by the names of all variants: Snakemake puts a constraint into every name it looks at.
    variant=rf"(?!(?:{OTHERS})/)[^/]+",
    baseline="|".join(baselines.BASELINES),
    ready="|".join(map(re.escape, PLAN.models)) or "(?!)",
    seed=r"\d+",


def script_path(name):
    """Where a script lies, or a copy of it where it is fetched from elsewhere."""
    return Path(workflow.source_path(f"../scripts/{name}.py"))


def code_of(name, *without):
    """What identifies the behaviour of a script and of the library modules it uses.

    Modules named in `without` do not shape the result.
    """
    return code_digest(script_path(name), without)


def index_code(wildcards):
    """As `code_of`: neither another corpus's module nor a download shapes an index."""
    others = sorted(set(CORPORA) - {wildcards.corpus})
    return code_of("index", "corpora.download", *(f"corpora.{name}" for name in others))


def final_outputs():
    """Everything that `all` makes."""
    return [
        f"{REPORT}/report.html",
        f"{REPORT}/leaderboard.csv",
        f"results/tracking/{EXPERIMENT}/experiment.json",
    ]


def recordings_of_index():
    """Where a corpus is extracted, for storages: in a shared folder it stays between runs, so that
    another study that shares it may read it meanwhile."""
    folder = "resources/corpora/{corpus}/{subset}"
    return {"recordings": directory(folder)} if STORAGE else {}


def index_params(wildcards):
    return PLAN.indexes[f"{wildcards.corpus}/{wildcards.subset}"].params


def archives(wildcards):
    return [
        f"resources/archives/{wildcards.corpus}/{name}"
        for name in archives_of(wildcards.corpus, wildcards.subset)
    ]


def audio_params(wildcards):
    return PLAN.audio[wildcards.audio].params


def indexes_of_audio(wildcards):
    return [
        f"resources/corpora/{name}.csv" for name in PLAN.audio[wildcards.audio].upstream
    ]


def recordings_of_audio(wildcards):
    names = PLAN.audio[wildcards.audio].upstream if STORAGE else []
    return represented(f"resources/corpora/{name}" for name in names)


def split_params(wildcards):
    return PLAN.splits[wildcards.split].params


def audio_of_split(wildcards):
    names = PLAN.splits[wildcards.split].upstream
    return {
        "manifests": [f"results/audio/{name}/manifest.json" for name in names],
        "indexes": [f"results/audio/{name}/index.csv" for name in names],
    }


def represented(paths):
    """Large files beside which a small one is an input too, that changes whenever they do.

    Snakemake compares the contents of small files only, and would take touched ones as changed.
    """
    return [ancient(path) for path in paths]


def packs_of(splits):
    """The packed audio that the rows of split tables, and of mixtures of them, point into."""
    names = dict.fromkeys(
        name for split in splits for name in PLAN.splits[split].upstream
    )
    return represented(f"results/audio/{name}/audio.npy" for name in names)


def sources_of(stage):
    """The split tables that mixtures are drawn from, and the audio that these point into."""
    return {
        "splits": [f"results/splits/{name}.csv" for name in stage.upstream],
        "packs": packs_of(stage.upstream),
    }


def mixture_params(wildcards):
    return PLAN.mixtures[wildcards.mixture].params


def sources_of_mixture(wildcards):
    return sources_of(PLAN.mixtures[wildcards.mixture])


def test_set_params(wildcards):
    return PLAN.test_sets[wildcards.test_id].params


def sources_of_test_set(wildcards):
    return sources_of(PLAN.test_sets[wildcards.test_id])


def spectrogram_params(wildcards):
    return PLAN.spectrograms[wildcards.spectrogram].params


def mixtures_of_spectrogram(wildcards):
    (name,) = PLAN.spectrograms[wildcards.spectrogram].upstream
    return f"results/mixtures/{name}/{wildcards.part}.csv"


def packs_of_spectrogram(wildcards):
    (mixture,) = PLAN.spectrograms[wildcards.spectrogram].upstream
    return packs_of(PLAN.mixtures[mixture].upstream)


def training_mixtures_of_spectrogram(wildcards):
    (name,) = PLAN.spectrograms[wildcards.spectrogram].upstream
    return f"results/mixtures/{name}/train.csv"


def scaling_of_spectrogram(wildcards):
    """The scaling measured on the training windows, if the recipe has one."""
    if wildcards.spectrogram not in PLAN.measured:
        return []
    return f"results/spectrograms/{wildcards.spectrogram}/scaling.json"


def variant_of(wildcards):
    if wildcards.variant not in PLAN.variants:
        sys.exit(f"error: {unknown('variant', wildcards.variant, PLAN.variants)}")
    return PLAN.variants[wildcards.variant]


def training_settings(wildcards):
    return variant_of(wildcards).training_params(int(wildcards.seed))


def training_params(wildcards):
    return canonical_json(training_settings(wildcards))


def training_threads(wildcards):
    return variant_of(wildcards).recipe.training.threads


def training_gpus(wildcards):
    """One GPU, or all that are granted to a training over all devices."""
    if variant_of(wildcards).recipe.training.devices == "one":
        return 1
    granted = workflow.global_resources.get("gpu")
    # In a job's own Snakemake, on a node or in a pod, the value is None.
    return max(1, granted.value or 1) if granted else 1


def start_of(wildcards):
    """The model that a training starts from, if it does not start from random weights."""
    name = variant_of(wildcards).recipe.training.start_from
    if name is None:
        return []
    if name in PLAN.variants:
        return [f"results/models/{name}/seed{wildcards.seed}/model.keras"]
    return [f"{name}/model.keras"]


def spectrograms_of(wildcards):
    name = variant_of(wildcards).spectrograms
    return {
        part: f"results/spectrograms/{name}/{part}/manifest.json"
        for part in ("train", "validation")
    }


def windows_of(wildcards):
    """What a training reads of its windows: their spectrograms, or what they are mixed from."""
    variant = variant_of(wildcards)
    recipe, stage = variant.recipe, PLAN.spectrograms[variant.spectrograms]
    if recipe.features.cache and not losses.heard(recipe.training.loss):
        return represented(
            f"results/spectrograms/{stage.name}/{part}/shards"
            for part in ("train", "validation")
        )
    (mixture,) = stage.upstream
    tables = [
        f"results/mixtures/{mixture}/{part}.csv" for part in ("train", "validation")
    ]
    return tables + packs_of(PLAN.mixtures[mixture].upstream)


def enhancement_params(wildcards):
    return variant_of(wildcards).recipe.enhancement.canonical()


def files_of_test_set(name):
    """The files of a test set, of which the manifest stands for their folder."""
    folder = f"results/test_sets/{PLAN.test_set_names[name]}"
    return {
        "test_set": f"{folder}/manifest.json",
        "mixtures": f"{folder}/mixtures.csv",
        "noisy": ancient(f"{folder}/noisy.npy"),
        "clean": ancient(f"{folder}/clean.npy"),
    }


def test_set_of(wildcards):
    return files_of_test_set(wildcards.test_set)


def enhanced_of(wildcards):
    stem = (
        f"results/enhanced/{wildcards.method}/seed{wildcards.seed}/{wildcards.test_set}"
    )
    found = {"enhanced": f"{stem}.npy", **test_set_of(wildcards)}
    if wildcards.method not in baselines.BASELINES:
        found["spectral"] = f"{stem}.csv"
    return found


def bandwidth_of(wildcards):
    """The rate in Hz that a model works at; a baseline works at that of the test set."""
    if wildcards.method in PLAN.models:
        return PLAN.models[wildcards.method].rate
    variant = PLAN.variants.get(wildcards.method)
    return variant.recipe.audio.sample_rate if variant else None


def score_files(variant=None):
    """The score tables of a variant, or of all variants and baselines."""
    methods = [variant] if variant else list(PLAN.variants)
    found = [
        f"results/scores/{name}/seed{seed}/{test_set}.csv"
        for name in methods
        for seed in SEEDS
        for test_set in PLAN.test_set_names
    ]
    if variant is None:
        found += [
            f"results/scores/{name}/seed0/{test_set}.csv"
            for name in [*PLAN.experiment.baselines, *PLAN.models]
            for test_set in PLAN.test_set_names
        ]
    return found


def scores_of_run(wildcards):
    return [
        f"results/scores/{wildcards.variant}/seed{wildcards.seed}/{test_set}.csv"
        for test_set in PLAN.test_set_names
    ]


def model_files(name):
    """A file of the model of every variant and seed."""
    return [
        f"results/models/{variant}/seed{seed}/{name}"
        for variant in PLAN.variants
        for seed in SEEDS
    ]


def heard_methods():
    """Every method that can be heard in the report, and the seed whose output that is."""
    others = [*PLAN.experiment.baselines, *PLAN.models]
    return {**dict.fromkeys(PLAN.variants, SEEDS[0]), **dict.fromkeys(others, 0)}


def speed_files():
    """How fast every network and baseline enhanced the test sets."""
    runs = [(name, seed) for name in PLAN.variants for seed in SEEDS]
    timed = [n for n in PLAN.experiment.baselines if n not in baselines.UNTIMED]
    runs += [(name, 0) for name in [*timed, *PLAN.models]]
    return [
        f"results/enhanced/{name}/seed{seed}/{test_set}.json"
        for name, seed in runs
        for test_set in PLAN.test_set_names
    ]


def blind_results():
    """What `denoise listen --score` left, if people have listened."""
    path = Path(f"{REPORT}/listening_scores.json")
    return [str(path)] if path.exists() else []


def example_files():
    """The audio and tables that the examples in the report are cut from."""
    sets = [files_of_test_set(name) for name in PLAN.test_set_names]
    mixtures = dict.fromkeys(
        PLAN.spectrograms[variant.spectrograms].upstream[0]
        for variant in PLAN.variants.values()
    )
    packs = [
        path for name in mixtures for path in packs_of(PLAN.mixtures[name].upstream)
    ]
    return [
        *(path for files in sets for path in files.values()),
        *represented(
            f"results/enhanced/{method}/seed{seed}/{name}.npy"
            for method, seed in heard_methods().items()
            for name in PLAN.test_set_names
        ),
        *(f"results/mixtures/{name}/train.csv" for name in mixtures),
        *dict.fromkeys(packs),
    ]


def examples_of_run(wildcards):
    """The audio that the examples of one model are cut from."""
    stem = f"results/enhanced/{wildcards.variant}/seed{wildcards.seed}"
    found = []
    for name in PLAN.test_set_names:
        found += represented([f"{stem}/{name}.npy"])
        found += files_of_test_set(name).values()
    return found


def tracking_files():
    return [
        f"results/tracking/{EXPERIMENT}/{name}-seed{seed}.json"
        for name in PLAN.variants
        for seed in SEEDS
    ]


def manifest_files(wildcards):
    """The manifests of all prepared audio, mixtures and test sets, for the data card."""
    return {
        "audio": [f"results/audio/{name}/manifest.json" for name in PLAN.audio],
        "test_sets": [
            f"results/test_sets/{name}/manifest.json" for name in PLAN.test_sets
        ],
        "spectrograms": [
            f"results/spectrograms/{name}/{part}/manifest.json"
            for name in PLAN.spectrograms
            for part in ("train", "validation")
        ],
        "splits": [f"results/splits/{name}.csv" for name in PLAN.splits],
    }


def benchmarked_jobs():
    """The names of this experiment's benchmark files, for the wall times of the report."""
    runs = [f"{name}-seed{seed}" for name in PLAN.variants for seed in SEEDS]
    ready = [f"{name}-seed0" for name in PLAN.models]
    scored = runs + [f"{name}-seed0" for name in PLAN.experiment.baselines] + ready
    return [
        *(f"index/{name}" for name in PLAN.indexes),
        *(f"prepare/{name}" for name in PLAN.audio),
        *(f"mix/{name}" for name in PLAN.mixtures),
        *(f"test_set/{name}" for name in PLAN.test_sets),
        *(f"scaling/{name}" for name in sorted(PLAN.measured)),
        *(
            f"spectrograms/{name}-{part}"
            for name in PLAN.spectrograms
            for part in ("train", "validation")
        ),
        *(f"train/{run}" for run in runs),
        *(
            f"enhance/{run}-{name}"
            for run in runs + ready
            for name in PLAN.test_set_names
        ),
        *(
            f"baseline/{name}-{test_set}"
            for name in PLAN.experiment.baselines
            for test_set in PLAN.test_set_names
        ),
        *(f"score/{run}-{name}" for run in scored for name in PLAN.test_set_names),
    ]


def report_params():
    """What the report says of the experiment itself."""
    return canonical_json(
        {
            "experiment": EXPERIMENT,
            "preset": PLAN.experiment.preset,
            "seeds": SEEDS,
            "sweep": [
                path
                for path, values in PLAN.experiment.sweep.items()
                if len(values) > 1
            ],
            "baselines": PLAN.experiment.baselines,
            "models": {name: model.folder for name, model in PLAN.models.items()},
            "examples": PLAN.experiment.examples,
            "test_sets": PLAN.test_set_names,
            "jobs": benchmarked_jobs(),
            "variants": {
                name: {
                    "differs": variant.differs,
                    "recipe": variant.recipe.model_dump(mode="json"),
                    "mixtures": PLAN.spectrograms[variant.spectrograms].upstream[0],
                    "spectrograms": variant.spectrograms,
                }
                for name, variant in PLAN.variants.items()
            },
        }
    )


def data_in_words(variants):
    """The corpora that variants are trained on, speech before noise."""
    sides = []
    for side in ("speech", "noise"):
        sources = [
            source.corpus
            for variant in variants
            for source in getattr(variant.recipe.data, side)
        ]
        sides.append(" + ".join(dict.fromkeys(sources)))
    speech, noise = sides
    return f"{speech} speech, {noise} noise" if noise else f"{speech} pairs"


def varied_settings():
    """The paths of all settings that differ among the variants."""
    return list(
        dict.fromkeys(
            path for variant in PLAN.variants.values() for path in variant.differs
        )
    )


def value_at(settings, path):
    """A value of nested settings by its path; None where it is not set."""
    for key in path.split("."):
        settings = settings.get(key) if isinstance(settings, dict) else None
    return settings


def about_run(wildcards):
    """What MLflow says of a run besides its training."""
    variant = variant_of(wildcards)
    recipe = variant.recipe.model_dump(mode="json")
    return canonical_json(
        {
            "name": config["run_names"][f"{variant.name}-seed{wildcards.seed}"],
            "preset": PLAN.experiment.preset,
            "data": data_in_words([variant]),
            "differs": variant.differs,
            "settings": {path: value_at(recipe, path) for path in varied_settings()},
        }
    )


def about_experiment():
    """What MLflow says of the whole experiment."""
    return canonical_json(
        {
            "preset": PLAN.experiment.preset,
            "data": data_in_words(PLAN.variants.values()),
            "seeds": SEEDS,
            "varied": varied_settings(),
        }
    )
