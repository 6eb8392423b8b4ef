"""Wrong configurations: refused before anything runs, with the key; never a traceback."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from workflow_runs import ROOT

from denoise.core.errors import UserError
from denoise.study.config import read_yaml
from denoise.study.plan import make_plan

PRESETS = ROOT / "presets"
MODELS = ("quickstart", "best", "unet-bce-logspec")
# Where any text or number is as good as another, or a value of another type is taken for it.
FREE = {"description", "data.seed"}
# A network is named by its name.
NAMED = {"network.name": "network"}
UNBOUNDED = (".add",)  # what a scaling adds


def leaves(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every key of a preset, with its value; those of lists by number."""
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from leaves(inner, (*path, str(key)))
    elif isinstance(value, list) and value and isinstance(value[0], dict):
        for number, inner in enumerate(value):
            yield from leaves(inner, (*path, str(number)))
    else:
        yield path, value


def changed(preset: dict[str, Any], path: tuple[str, ...], change: Any) -> dict[str, Any]:
    """A copy where `change` has been done to the mapping that holds the last key of `path`."""
    mutated = copy.deepcopy(preset)
    place: Any = mutated
    for key in path[:-1]:
        place = place[int(key)] if isinstance(place, list) else place[key]
    change(place, path[-1])
    return mutated


def misspell(place: dict[str, Any], key: str) -> None:
    place[key[:-1] + ("x" if key[-1] != "x" else "y") + "q"] = place.pop(key)


def mistype(place: dict[str, Any], key: str) -> None:
    place[key] = {"what": ["is", "this"]}


def overdo(place: dict[str, Any], key: str) -> None:
    number = -(10.0**9)
    place[key] = [number] * len(place[key]) if isinstance(place[key], list) else number


def mutations() -> list[tuple[str, str, dict[str, Any]]]:
    """Kind, key and preset of every mutation."""
    found = []
    for name in MODELS:
        preset = yaml.safe_load((PRESETS / f"{name}.yaml").read_text())
        for path, value in leaves(preset):
            key = ".".join(path)
            if key in FREE or path[0] == "sweep":
                continue
            found.append((f"{name}: misspelt", key, changed(preset, path, misspell)))
            found.append((f"{name}: another type", key, changed(preset, path, mistype)))
            numbers = value if isinstance(value, list) else [value]
            if key.endswith(UNBOUNDED):
                continue
            if numbers and all(type(one) in (int, float) for one in numbers):
                found.append((f"{name}: out of range", key, changed(preset, path, overdo)))
    return found


def planned(tmp_path: Path, preset: dict[str, Any]) -> None:
    (tmp_path / "wrong.yaml").write_text(yaml.safe_dump(preset))
    make_plan(read_yaml_text(tmp_path, "preset: wrong\n"), tmp_path)


def read_yaml_text(tmp_path: Path, text: str) -> dict[str, Any]:
    (tmp_path / "config.yaml").write_text(text)
    return read_yaml(tmp_path / "config.yaml")


def test_the_error_for_a_mutated_preset_names_the_key(tmp_path, fault_class):
    wrong = mutations()
    assert len(wrong) >= 200
    for kind, key, preset in wrong:
        with fault_class(f"configuration: {kind.split(': ')[1]}"):
            with pytest.raises(UserError) as caught:
                planned(tmp_path, preset)
            last = NAMED.get(key, [part for part in key.split(".") if not part.isdigit()][-1])
            assert last[:-1] in str(caught.value) and "\n" not in str(caught.value), (kind, key)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"training.accumulate": 3}, "accumulate"),
        ({"augmentation.babble": 0.7, "augmentation.shaped_noise": 0.7}, "babble"),
        ({"mixing.snr_range_db": [20, -5]}, "snr_range_db"),
        ({"augmentation.gain_range_db": [3, -3]}, "gain_range_db"),
        ({"features.stft.hop": 1024}, "hop"),
        ({"mixing.segment": 10}, "segment"),
        ({"training.loss": "no such loss"}, "no such loss"),
        ({"network.name": "unett"}, "unett"),
        ({"data.splits.validation": 0.9, "data.splits.test": 0.9}, "splits"),
        ({"features.cache": True}, "cache"),
        ({"data.speech.0.subsets": ["train-clean-1000"]}, "train-clean-1000"),
        ({"data.noise.0.folds": [6]}, "fold 6"),
    ],
)
def test_the_error_for_contradictory_settings_names_them(fault_class, settings, named):
    with (
        fault_class("configuration: contradiction"),
        pytest.raises(UserError, match=named) as caught,
    ):
        make_plan({"preset": "best", "set": settings, "sweep": {}}, PRESETS)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "preset: best\nset: &s {training.loss: *s}\n",
        "preset: best\nset: " + "[" * 3000 + "]" * 3000,
        "preset: best\nseeds: [" + "9" * 5000 + "]",
        "preset: best\nexperiment: " + "a" * 300,
        "preset: best\nseeds: [" + ", ".join(map(str, range(20_000))) + "]",
    ],
    ids=["in itself", "deep", "long number", "long name", "many seeds"],
)
def test_oversized_or_recursive_configurations_are_refused(tmp_path, fault_class, text):
    with fault_class("configuration: beyond measure"), pytest.raises(UserError) as caught:
        make_plan(read_yaml_text(tmp_path, text), PRESETS)
    assert "\n" not in str(caught.value)


WORDS = [
    *"{}[]:\t\n~'\"|>?%\x00\ufeffé",
    *("- ", "&a ", "*a", "!!python/object:os.system ", "null", "1e999", ".nan", ".inf", "-1"),
    *("0x10", "<<: ", "yes", "2026-01-01", "9" * 400, "a" * 2000),
]


def test_fuzzed_configurations_never_cause_a_traceback(tmp_path, fault_class, repetitions):
    """Texts of presets and configurations with characters and words put in, taken out, doubled."""
    texts = [path.read_text() for path in sorted(PRESETS.glob("*.yaml"))]
    texts.append((ROOT / "config.yaml").read_text())
    count = repetitions(150, 3000)
    with fault_class("configuration: fuzzed text", count):
        for number in range(count):
            draw = random.Random(number)
            text = draw.choice(texts)
            for _ in range(draw.choice((1, 1, 2, 5))):
                place = draw.randrange(len(text))
                end = min(len(text), place + draw.randrange(12))
                put = draw.choice(["", draw.choice(WORDS), text[place:end] * 2, draw.choice(WORDS)])
                text = text[:place] + put + text[end:]
            is_preset = "preset:" not in text
            (tmp_path / "fuzzed.yaml").write_text(text)
            try:
                config = {"preset": "fuzzed"} if is_preset else read_yaml_text(tmp_path, text)
                make_plan(config, tmp_path if is_preset else PRESETS)
            except UserError as error:
                assert "\n" not in str(error), (number, str(error))
            except Exception as error:
                raise AssertionError(f"input {number}: {error!r}") from error
