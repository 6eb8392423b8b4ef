"""Parts of your own, in Python files beside ``config.yaml``, under names that it then accepts.

A file that ``extensions`` names registers them with the decorators of this module:

    from denoise.extend import loss

    @loss("charbonnier")
    def charbonnier(target, output):
        from keras import ops

        return ops.sqrt(ops.square(target - output) + 1e-6)

All of them raise `UserError` if a name is taken or not valid, or if they are called outside of a
study.

Extensions are code that runs when a study is planned or run: read other people's extensions first.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import re
import sys
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, Union

from denoise.core import errors, pools
from denoise.core.errors import UserError
from denoise.corpora.base import Corpus
from denoise.corpora.registry import CORPORA
from denoise.metrics.registry import METRICS as MEASURES
from denoise.metrics.registry import SCORED, Metric
from denoise.metrics.validity import Undefined
from denoise.mixing.effects import EFFECTS
from denoise.networks.base import NetworkSettings
from denoise.networks.card import ModelCard
from denoise.networks.registry import NETWORKS, Network
from denoise.training import losses

Function = TypeVar("Function", bound=Callable[..., Any])
_PART = re.compile(r"(?P<file>.+\.py):(?P<name>[A-Za-z_]\w*)")
_NAME = re.compile(r"[A-Za-z_]\w{0,63}")


@dataclass(frozen=True)
class Part:
    """Something that an extension registered."""

    registry: str
    """Module of the registry, as in ``training.losses``."""
    name: str
    file: Path
    line: int
    """Where it was registered."""
    remove: Callable[[], object] = field(compare=False)


@dataclass
class _Extension:
    content: str
    parts: list[Part]


_loaded: dict[str, _Extension] = {}
"""By the entry of ``extensions``, with its file as an absolute path."""


@dataclass
class _Loading:
    path: Path
    parts: list[Part]
    named: bool
    """Only a function that the configuration names is wanted; what is registered is not."""


_loading: list[_Loading] = []


# What extensions call


def loss(
    name: str, *, waveform: bool = False, from_0_to_1: bool = False
) -> Callable[[Function], Function]:
    """Register a function as a loss, for ``training.loss``.

    Parameters
    ----------
    name
        Of the loss, in configurations.
    waveform
        Whether it takes clean and enhanced audio [shape=(batch, samples)].  Otherwise it takes
        target and output [shape=(batch, frequency, time, channels)] in the scaling of the recipe.
        In both cases it uses Keras operations and returns a number for each item of the batch, or
        for each bin.
    from_0_to_1
        Whether it compares values from 0 to 1.

    Raises
    ------
    UserError
        If the name is taken or not valid, or the file is not an extension of a study.

    Example
    -------
    In a file that ``extensions`` names:

        @loss("charbonnier")
        def charbonnier(target, output):
            from keras import ops

            return ops.sqrt(ops.square(target - output) + 1e-6)
    """

    def register(function: Function) -> Function:
        function.is_waveform_loss = waveform  # type: ignore[attr-defined]
        into = losses.SIGNAL_LOSSES if waveform else losses.LOSSES
        _check_new("loss", name, losses.LOSSES | losses.SIGNAL_LOSSES)
        _register("training.losses", into, name, function)
        if from_0_to_1:
            _register("training.losses", losses.FROM_0_TO_1, name, True)
        return function

    return register


def training_metric(name: str, *, from_0_to_1: bool = False) -> Callable[[Function], Function]:
    """Register a function of target and output as a metric that is logged during training, for
    ``training.metrics``.

    Parameters and errors are those of `loss`, except that there is no `waveform`.

    Example
    -------
    In a file that ``extensions`` names:

        @training_metric("bias")
        def bias(target, output):
            return output - target
    """

    def register(function: Function) -> Function:
        _check_new("training metric", name, losses.METRICS)
        _register("training.losses", losses.METRICS, name, function)
        if from_0_to_1:
            _register("training.losses", losses.FROM_0_TO_1, name, True)
        return function

    return register


def network(
    settings: type[NetworkSettings], stream: Callable[..., Any] | None = None
) -> Callable[[Function], Function]:
    """Register a function that builds a Keras model as a network, for ``network.name``.

    Parameters
    ----------
    settings
        The class of its settings, whose field `name` has the name of the network as type and
        default.
    stream
        For a causal network: the function that builds its streaming version, see
        `networks.registry.streaming_network`.

    Raises
    ------
    UserError
        If the name is missing, taken or not valid, or the file is not an extension of a study.

    Example
    -------
    In a file that ``extensions`` names:

        class PlainSettings(NetworkSettings):
            name: Literal["plain"] = "plain"
            filters: tuple[int, ...] = (16, 16)

        @network(PlainSettings)
        def plain(settings, input_shape, outputs=1):
            ...  # returns a keras.Model
    """
    name = settings.model_fields["name"].default

    def register(function: Function) -> Function:
        if not isinstance(name, str):
            raise UserError(
                f'{settings.__name__}.name has no default: give name: Literal["…"] = "…"'
            )
        _check_new("network", name, NETWORKS)
        _register("networks.registry", NETWORKS, name, Network(settings, function, stream))
        return function

    return register


def metric(
    name: str,
    title: str,
    unit: str = "",
    *,
    higher_is_better: bool = True,
    lowest_rate: int = 0,
) -> Callable[[Function], Function]:
    """Register a function of clean and enhanced audio [shape=(samples,)] and their rate as a
    metric: a column of every score table, the leaderboard, the report and MLflow.

    The function raises `Undefined` where it has no value.

    Parameters
    ----------
    name
        Of the column.
    title, unit
        As shown in the report.
    higher_is_better
        Whether higher values are better.
    lowest_rate
        It is not computed at lower sample rates, in Hz.

    Raises
    ------
    UserError
        If the name is taken or not valid, or the file is not an extension of a study.

    Example
    -------
    In a file that ``extensions`` names:

        @metric("peak", "Peak ratio")
        def peak_ratio(clean, estimate, rate):
            return float(np.abs(estimate).max() / np.abs(clean).max())
    """

    def register(function: Function) -> Function:
        _check_new("metric", name, SCORED)
        made = Metric(title, unit, higher_is_better, _one_line_errors(function), lowest_rate)
        _register("metrics.registry", MEASURES, name, made)
        _register("metrics.registry", SCORED, name, made)
        return function

    return register


def augmentation(name: str) -> Callable[[Function], Function]:
    """Register a function as an augmentation, for ``augmentation.own: {name: share}``.

    The function takes noisy and clean audio [shape=(2, samples)], their rate and a
    `numpy.random.Generator`, which must be its only source of randomness, and returns both in the
    same shape.

    Raises
    ------
    UserError
        If the name is taken or not valid, or the file is not an extension of a study.

    Example
    -------
    In a file that ``extensions`` names:

        @augmentation("inversion")
        def invert(pair, rate, rng):
            return -pair
    """

    def register(function: Function) -> Function:
        _check_new("augmentation", name, EFFECTS)
        _register("mixing.effects", EFFECTS, name, _one_line_errors(function))
        return function

    return register


def corpus(made: Corpus) -> Corpus:
    """Register a corpus, for ``data.speech``, ``data.noise`` and ``data.rooms``.

    Raises
    ------
    UserError
        If the name is taken or not valid, or the file is not an extension of a study.

    Example
    -------
    In a file that ``extensions`` names:

        corpus(Corpus("streets", "CC BY 4.0", "https://example.org", subsets, build, "noise"))
    """
    _check_new("corpus", made.name, CORPORA)
    _register("corpora.registry", CORPORA, made.name, made)
    return made


def _one_line_errors(function: Function) -> Function:
    """The same, but its errors are told in one line, also those of another process."""

    @functools.wraps(function)
    def tell(*arguments: Any) -> Any:
        try:
            return function(*arguments)
        except Undefined:
            raise
        except Exception as error:
            raise UserError(errors.in_extension(error) or str(error)) from error

    return tell  # type: ignore[return-value]


def _check_new(what: str, name: str, known: Iterable[str]) -> None:
    if _loading and _loading[-1].named:
        return
    if not _NAME.fullmatch(name):
        raise UserError(
            f"{what} '{name}': names are letters, digits and _, at most 64, and do not begin with "
            "a digit"
        )
    if name in known:
        raise UserError(f"there is a {what} '{name}' already: give yours another name")


def _register(registry: str, into: dict[str, Any], name: str, value: Any) -> None:
    if not _loading:
        raise UserError(
            f"'{name}' was registered outside of a study: name the file in extensions of "
            "config.yaml"
        )
    if _loading[-1].named:
        return
    file = _loading[-1].path
    lines = [
        frame.lineno or 0 for frame in traceback.extract_stack() if frame.filename == str(file)
    ]
    into[name] = value
    _loading[-1].parts.append(
        Part(registry, name, file, lines[-1] if lines else 0, lambda: into.pop(name, None))
    )


# What the workflow and the command call


def load(entries: Iterable[str], folder: Path | None = None) -> None:
    """Register what these extensions offer, and forget those of other studies.

    Parameters
    ----------
    entries
        Files, or functions in files, such as ``my_losses.py:charbonnier``.  Such a function becomes
        a loss and, unless it compares waveforms, a training metric of that name.
    folder
        Of the study; default the working folder.

    Raises
    ------
    UserError
        That names file and line, if one cannot be loaded.
    """
    folder = (folder or Path.cwd()).absolute()
    wanted: dict[str, tuple[Path, str | None, str]] = {}
    for entry in dict.fromkeys(entries):
        part = _PART.fullmatch(entry)
        path = folder / (part["file"] if part else entry)
        wanted[f"{path}:{part['name']}" if part else str(path)] = (
            path, part["name"] if part else None, entry,
        )  # fmt: skip
    networks = set(NETWORKS)
    if wanted and str(folder) not in sys.path:
        sys.path.append(str(folder))  # for the modules that they import
    for key in list(_loaded):
        content = _content(wanted[key][0]) if key in wanted else None
        if content != _loaded[key].content:
            for part_ in _loaded.pop(key).parts:
                part_.remove()
    for key, (path, function, entry) in wanted.items():
        if key not in _loaded:
            _loaded[key] = _load(path, function, entry)
    if networks != set(NETWORKS):
        accept_networks(ModelCard)
    pools.set_up_workers("extensions", load if _loaded else None, list(_loaded), folder)


def accept_networks(*models: Any) -> None:
    """Let settings models with a field `network` take every network there is by now."""
    known = tuple(network.settings for network in NETWORKS.values())
    choices: Any = Union[known]  # noqa: UP007
    for model in models:
        if model.model_fields["network"].annotation != choices:
            model.model_fields["network"].annotation = choices
            model.model_rebuild(force=True)


def parts_of(registry: str, name: str | None = None) -> list[Part]:
    """What extensions registered of one kind, under any name or this one."""
    parts = (part for extension in _loaded.values() for part in extension.parts)
    return [part for part in parts if part.registry == registry and name in (None, part.name)]


def files_of(entries: Iterable[str]) -> list[str]:
    """The Python files in the folders that entries of `load` name, which may import each other."""
    named = [Path(_PART.sub(r"\g<file>", entry)) for entry in entries]
    beside = {path for each in named for path in each.parent.glob("*.py")}
    return sorted(map(str, beside))


def named_functions(value: Any) -> list[str]:
    """All texts in a configuration, keys included, that name a function in a file."""
    if isinstance(value, str):
        return [value] if _PART.fullmatch(value) else []
    if isinstance(value, dict):
        value = [*value, *value.values()]
    if isinstance(value, list | tuple):
        return list(dict.fromkeys(name for item in value for name in named_functions(item)))
    return []


def _content(path: Path) -> str | None:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return None


def _load(path: Path, function: str | None, entry: str) -> _Extension:
    if path.suffix != ".py" or not path.is_file():
        said = "does not exist" if path.suffix == ".py" else "is no Python file"
        raise UserError(f"extensions: {entry} {said}: give a .py file of the study's folder")
    content = _content(path) or ""
    name = "denoise_extension_" + re.sub(r"\W", "_", str(path.with_suffix("")))
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    now = _Loading(path, [], named=function is not None)
    _loading.append(now)
    # By its name, processes that are started find what is sent to them.
    sys.modules[name] = module
    errors.EXTENSIONS[str(path)] = entry.partition(":")[0]
    try:
        spec.loader.exec_module(module)
        if function is not None:
            _name_function(getattr(module, function, None), entry, now)
    except Exception as error:
        for part in now.parts:
            part.remove()
        told = errors.in_extension(error)
        if told is None:
            raise
        raise UserError(told) from None
    finally:
        _loading.pop()
    return _Extension(content, now.parts)


def _name_function(made: Any, entry: str, now: _Loading) -> None:
    """Register a function as a loss, and a training metric, that is called as `entry` names it."""
    if not callable(made):
        raise UserError(f"{entry}: the file has no function {entry.rpartition(':')[2]}")
    now.named = False
    if getattr(made, "is_waveform_loss", False):
        kinds = [losses.SIGNAL_LOSSES]
    else:
        kinds = [losses.LOSSES, losses.METRICS]
    line = getattr(getattr(made, "__code__", None), "co_firstlineno", 0)
    for into in kinds:
        into[entry] = made
        remove = functools.partial(into.pop, entry, None)
        now.parts.append(Part("training.losses", entry, now.path, line, remove))
