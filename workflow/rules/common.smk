# The plan of the experiment, and what rules ask it.
import os
from pathlib import Path

from snakemake.sourcecache import LocalSourceFile, infer_source_file

from denoise.core.boundary import report_errors
from denoise.core.bundled import presets_of
from denoise.corpora.registry import CORPORA
from denoise.evaluation.baselines import BASELINES
from denoise.extend import files_of, parts_of
from denoise.metrics.recognition import RECOGNISERS
from denoise.study import paths
from denoise.study.checks import check_backends, check_packages, check_storage
from denoise.study.code import chosen_of, code_digest, lock_digest
from denoise.study.config import coerce_cli_values, read_yaml
from denoise.study.jobs import begin_workflow, make_importable
from denoise.study.plan import make_plan
from denoise.study.results import note_planned
from denoise.study.rules import Rules
from denoise.tracking.store import Store, forget_unrecorded, keep_marker

# The repository; None where Snakemake fetches this file from elsewhere, as a module of a study.
HERE = workflow.current_basedir
ROOT = Path(HERE.path).parents[1] if isinstance(HERE, LocalSourceFile) else None
# Of a storage in which jobs exchange their files, as on Kubernetes; else they share the folder.
STORAGE = workflow.storage_registry.default_storage_provider

make_importable()
if not workflow.subprocess_exec:
    begin_workflow(main=workflow.is_main_process)

config.update(coerce_cli_values(config, workflow.config_settings.config))

GIVEN = [Path(path).name for path in workflow.config_settings.configfiles]
GIVEN = GIVEN or ["config.yaml"]
GIVEN += ["--config"] * bool(workflow.config_settings.config)

with report_errors():
    for path in workflow.config_settings.configfiles:
        read_yaml(Path(path))  # Snakemake takes more for YAML
    PLAN = make_plan(config, presets_of(ROOT), " with ".join(GIVEN))
    if STORAGE:
        PREFIX = workflow.storage_settings.default_storage_prefix
        check_storage(PLAN, PREFIX)
    # Pods have an image of their own.
    elif workflow.is_main_process:
        check_backends(PLAN)
        check_packages(PLAN)

EXPERIMENT = PLAN.name
REPORT = f"reports/{EXPERIMENT}"
ask = Rules(PLAN, storage=bool(STORAGE))
# What jobs need to know but must not be repeated for: unlike params, config triggers nothing.
config["experiment"] = EXPERIMENT
config["extensions"] = PLAN.extensions
config["download"] = PLAN.experiment.download.model_dump(mode="json")

if STORAGE:
    for path in files_of(PLAN.extensions):
        # Pods are sent what the workflow includes.
        workflow._included[path] = infer_source_file(path)
    config["copies"] = str(STORAGE.object(f"{PREFIX}/results").local_path().parent)
    workflow.register_envvars(
        *(name for name in os.environ if name.startswith("MLFLOW_TRACKING_"))
    )

if workflow.is_main_process:
    note_planned(ask.record)
    forget_unrecorded(Store(paths.TRACKING_STORE), paths.tracking(EXPERIMENT))
    keep_marker(Store(paths.TRACKING_STORE), paths.STORE_MARKER, paths.MODELS)


wildcard_constraints:
    experiment=r"[^/]+",
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
    model=r"[^/]+",
    baseline="|".join(BASELINES),
    recogniser="|".join(RECOGNISERS),
    method=r"[^/]+",
    variant=r"[^/]+",
    seed=r"\d+",


def code_of(name, *without, chosen=frozenset()):
    """What identifies the behaviour of a script and of the library modules it runs through.

    Modules named in `without` do not shape the result; `chosen` is what it uses of registries.
    """
    # A copy of the script where it is fetched from elsewhere.
    script = Path(workflow.source_path(f"../scripts/{name}.py"))
    notes = paths.CODE_NOTES if workflow.is_main_process else None
    return code_digest(script, without, chosen, notes)


def index_code(wildcards):
    chosen = chosen_of({"corpora.registry": [wildcards.corpus]})
    return code_of("index", "corpora.download", chosen=chosen)


def training_code(wildcards):
    chosen, without = ask.training_choices(wildcards), [
        "tracking.live",
        "tracking.store",
    ]
    if not ask.training_settings(wildcards).adversarial.active:
        without.append("training.discriminator")
    return code_of("train", *without, chosen=chosen)


def enhancement_code(wildcards):
    return code_of("enhance", chosen=ask.enhancement_choices(wildcards))


def scoring_code(wildcards):
    """With the measures of the study's own, all of which are taken."""
    measures = {part.name for part in parts_of("metrics.registry")}
    return code_of("score", chosen=chosen_of({"metrics.registry": measures}))


def baseline_code(wildcards):
    chosen = chosen_of({"evaluation.baselines": [wildcards.baseline]})
    return code_of("baseline", chosen=chosen)


def training_gpus(wildcards):
    """One GPU, or all that are granted to a training over all devices."""
    if ask.training_settings(wildcards).devices == "one":
        return 1
    granted = workflow.global_resources.get("gpu")
    # In a job's own Snakemake, on a node or in a pod, the value is None.
    return max(1, granted.value or 1) if granted else 1


def recordings_of_index():
    """Where a corpus is extracted, for storages: in a shared folder it stays between runs, so that
    another study that shares it may read it meanwhile."""
    folder = "resources/corpora/{corpus}/{subset}"
    return {"recordings": directory(folder)} if STORAGE else {}


def final_outputs():
    """Everything that `all` makes."""
    return [
        f"{REPORT}/report.html",
        f"{REPORT}/leaderboard.csv",
        f"results/tracking/{EXPERIMENT}/experiment.json",
    ]
