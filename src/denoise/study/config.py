"""Reading ``config.yaml`` and presets."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from denoise.core.errors import UserError, unknown
from denoise.study.messages import validated
from denoise.study.schema import Experiment

_STUDY_KEYS = {
    "variants", "sweep", "seeds", "baselines", "models", "metrics", "recogniser", "examples",
    "extensions",
}  # fmt: skip


_MOST_BYTES, _MOST_VALUES = 1 << 20, 100_000


class _PlainYaml(yaml.SafeLoader):
    """YAML that says what it means: no key twice, of which the last would count, no number to the
    base of 60 (``1:30``), and no aliases that unfold to more than anybody writes."""

    values = 0

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        if isinstance(node, yaml.ScalarNode) and ":" in node.value and node.tag in _NUMBERS:
            raise yaml.constructor.ConstructorError(
                None, None, f"{node.value} would be read as {super().construct_object(node)}: "
                "write that, or put it in quotes", node.start_mark,
            )  # fmt: skip
        return super().construct_object(node, deep)

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        super().flatten_mapping(node)
        self.values += len(node.value)
        if self.values > _MOST_VALUES:
            raise yaml.constructor.ConstructorError(
                None, None, f"its merges make more than {_MOST_VALUES:,} values", node.start_mark
            )

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"key '{key.value}' occurs twice", key.start_mark
                    )
                seen.add(key.value)
        return super().construct_mapping(node, deep)


_NUMBERS = {"tag:yaml.org,2002:int", "tag:yaml.org,2002:float"}


def _text_of(path: Path) -> str:
    """The text of a configuration; what cannot be one is not read to its end."""
    if not path.is_file():
        said = "is not a file" if path.exists() else "does not exist"
        raise UserError(f"{path} {said}: give a YAML file")
    with path.open("rb") as file:
        content = file.read(_MOST_BYTES + 1)
    if len(content) > _MOST_BYTES:
        raise UserError(
            f"{path} is longer than {_MOST_BYTES >> 20} MiB: so it is not a configuration"
        )
    return content.decode("utf-8")


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML mapping; one clear line if it is not one."""
    try:
        value = yaml.load(_text_of(path), _PlainYaml)
    except UserError:
        raise
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 ({error}): save it as UTF-8") from None
    except (yaml.YAMLError, ValueError) as error:
        raise UserError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None
    except RecursionError:
        raise UserError(
            f"{path} is not valid YAML: it is nested too deeply, or in itself"
        ) from None
    _check_size(path, value)
    if not isinstance(value, dict):
        found = "nothing" if value is None else type(value).__name__
        raise UserError(f"{path} must hold keys with values, not {found}")
    return value


def _check_size(path: Path, value: Any) -> None:
    """Refuse what is small as text and huge when all its aliases are followed."""
    left, count = [value], 0
    while left:
        one = left.pop()
        count += 1
        if isinstance(one, dict):
            left += one.values()
        elif isinstance(one, list):
            left += one
        if count + len(left) > _MOST_VALUES:
            raise UserError(f"{path} holds more than {_MOST_VALUES:,} values: shorten it")


def read_preset(name: str, folder: Path) -> dict[str, Any]:
    """The content of a preset by name (in `folder`) or path."""
    path = Path(name)
    if path.suffix not in {".yaml", ".yml"}:
        known = {path.stem: path for path in folder.glob("*.yaml")}
        if name not in known:
            raise unknown("preset", name, known)
        path = known[name]
    return read_yaml(path)


def load(
    config: Mapping[str, Any], preset_folder: Path, named: str
) -> tuple[Experiment, dict[str, Any]]:
    """The experiment and the preset it names, from the content of the file `named`."""
    config = dict(config)
    if "preset" not in config:
        meant = difflib.get_close_matches("preset", map(str, config), 1)
        hint = f" ('{meant[0]}' is not a known key)" if meant else ""
        raise UserError(f"{named}: preset is missing{hint}: name a file of presets/")
    preset = read_preset(str(config["preset"]), preset_folder)
    own = config.get("set") or {}
    if not isinstance(own, dict):
        raise UserError(
            f"{named}: set is {own!r}: give paths with values, such as {{training.epochs: 20}}"
        )
    # A preset may bring a study of its own, which config.yaml replaces key by key.
    for key in _STUDY_KEYS & preset.keys():
        config.setdefault(key, preset[key])
        if key == "sweep" and config[key] is preset[key]:
            config[key] = {path: values for path, values in preset[key].items() if path not in own}
    config["set"] = {**preset.get("set", {}), **own}
    config = {key: value for key, value in config.items() if value is not None}
    return validated(Experiment, config, named), recipe_of(preset)


def recipe_of(preset: dict[str, Any]) -> dict[str, Any]:
    """The recipe in a preset, without its experiment, if any."""
    return {key: value for key, value in preset.items() if key not in {*_STUDY_KEYS, "set"}}


def coerce_cli_values(config: Any, given: Any) -> Any:
    """`config` with numbers, truth values and null where the command line gave them as text.

    Parameters
    ----------
    config
        A value of the configuration.
    given
        What the command line says of it: Snakemake leaves whatever is nested there as text.  An
        empty group empties it.
    """
    if isinstance(config, dict) and isinstance(given, dict):
        return {
            # Snakemake would merge an empty group into what is there.
            key: {} if given.get(key) == {} else coerce_cli_values(value, given.get(key))
            for key, value in config.items()
        }
    if isinstance(config, list) and isinstance(given, list):
        return [coerce_cli_values(value, value) for value in config]
    if isinstance(config, str) and config == given:
        try:
            value = yaml.safe_load(config)
        except yaml.YAMLError:
            return config
        return value if value is None or isinstance(value, int | float) else config
    return config
