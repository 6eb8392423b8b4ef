"""Where everything lies below ``resources/``, ``results/`` and ``reports/``.

No other module knows these names, and library functions take paths.  The rules spell their outputs
out, and inputs that are the same for every job, so that a path seen in a log can be searched for.
"""

from __future__ import annotations

from pathlib import Path

from denoise.mixing.files import TestSetFiles

MODELS = Path("results/models")
ENHANCED = Path("results/enhanced")
SCORES = Path("results/scores")
DNSMOS = Path("results/dnsmos")
WER = Path("results/wer")
DWER = Path("results/dwer")
REPORTS = Path("reports")
TRACKING_STORE = Path("results/mlflow")
"""The MLflow database and its artifacts."""
STORE_MARKER = TRACKING_STORE / "store.json"
GPU_LOCKS = Path("results/locks")
DIGESTS = Path(".snakemake/denoise/recordings.json")
"""Digests of the user's recordings when they were last read."""
CODE_NOTES = Path(".snakemake/denoise/code")
"""Notes on digests of code."""
PLANNED = Path(".snakemake/denoise/planned")
"""The models planned by the last run of each experiment."""
WHOLE_FILES = ("resources/archives/", str(STORE_MARKER))
"""Outputs of one file, renamed when complete, that rules need as `ancient`."""


def own_config() -> Path | None:
    """The ``config.yaml`` of the study in the working folder; None if there is none."""
    # The second where the workflow was deployed as a module.
    places = (Path("config.yaml"), Path("config/config.yaml"))
    return next((path for path in places if path.is_file()), None)


def planned(experiment: str = "") -> Path:
    """The note of the models that a run is to make; without a name their folder."""
    return PLANNED / f"{experiment}.json" if experiment else PLANNED


def archive(corpus: str, name: str) -> str:
    """A file that a corpus publishes."""
    return f"resources/archives/{corpus}/{name}"


def index(subset: str) -> str:
    """The recordings of a subset, given as ``<corpus>/<subset>``."""
    return f"resources/corpora/{subset}.csv"


def recordings(subset: str) -> str:
    """The folder that a subset is extracted to."""
    return f"resources/corpora/{subset}"


def prepared(audio: str, name: str) -> str:
    """``audio.npy``, ``index.csv`` or ``manifest.json`` of prepared audio."""
    return f"results/audio/{audio}/{name}"


def split(name: str) -> str:
    """The table of a split."""
    return f"results/splits/{name}.csv"


def mixtures(mixture: str, part: str) -> str:
    """The table of the windows of ``train`` or ``validation``."""
    return f"results/mixtures/{mixture}/{part}.csv"


def scaling(spectrogram: str) -> str:
    """The scalings that were measured on the training windows."""
    return f"results/spectrograms/{spectrogram}/scaling.json"


def spectrograms(spectrogram: str, part: str, name: str = "manifest.json") -> str:
    """The manifest, or the folder ``shards``, of ``train`` or ``validation``."""
    return f"results/spectrograms/{spectrogram}/{part}/{name}"


def test_set(stage: str) -> TestSetFiles:
    """The files of a test set."""
    folder = Path("results/test_sets") / stage
    return TestSetFiles(
        manifest=folder / "manifest.json",
        mixtures=folder / "mixtures.csv",
        noisy=folder / "noisy.npy",
        clean=folder / "clean.npy",
    )


test_set.__test__ = False  # type: ignore[attr-defined]  # pytest would take it for a test


def model(stage: str, seed: int) -> Path:
    """The folder of a model."""
    return MODELS / stage / f"seed{seed}"


def enhanced(method: str, seed: int, test_set: str, suffix: str = ".npy") -> Path:
    """A method's audio for a test set; ``.csv`` for errors of its spectrograms, ``.json`` for how
    long it took."""
    return ENHANCED / method / f"seed{seed}" / f"{test_set}{suffix}"


def output_key(model: str, application: str) -> str:
    """The folder of what a model gives when it is applied in a way with this digest."""
    return f"{model}.{application}"


def is_output_of(key: str, model: str) -> bool:
    """Whether a folder of outputs or scores of methods is of a model."""
    return key.rpartition(".")[0] == model


def scores(method: str, seed: int, test_set: str) -> Path:
    """Scores of a method's output for a test set, with clean references."""
    return SCORES / method / f"seed{seed}" / f"{test_set}.csv"


def opinions(method: str, seed: int, test_set: str) -> Path:
    """DNSMOS of a method's output for a test set."""
    return DNSMOS / method / f"seed{seed}" / f"{test_set}.csv"


def word_errors(method: str, seed: int, test_set: str, recogniser: str) -> Path:
    """Word errors of a recogniser for a method's output for a test set."""
    return WER / method / f"seed{seed}" / f"{test_set}.{recogniser}.csv"


def word_differences(method: str, seed: int, test_set: str, recogniser: str) -> Path:
    """The same, compared with what it hears in the clean recordings."""
    return DWER / method / f"seed{seed}" / f"{test_set}.{recogniser}.csv"


def benchmark(job: str) -> Path:
    """Snakemake's measurements of a job, given as ``<rule>/<name>``."""
    return Path(f"results/benchmarks/{job}.tsv")


def benchmarks(rule: str) -> Path:
    """The folder of what was measured of all jobs of a rule."""
    return Path("results/benchmarks") / rule


def tracking(experiment: str, name: str = "") -> Path:
    """The note that a run, or ``experiment``, is recorded in MLflow; without a name their
    folder."""
    folder = Path("results/tracking") / experiment
    return folder / f"{name}.json" if name else folder


def report(experiment: str, name: str = "") -> Path:
    """A file beside the report of an experiment; without a name their folder."""
    return REPORTS / experiment / name


def record(experiment: str) -> Path:
    """The `ExperimentRecord`."""
    return report(experiment, "study.json")
