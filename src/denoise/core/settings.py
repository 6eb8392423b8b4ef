"""The base of every settings model.

Each stage keeps its settings beside the code that uses them; `study.schema` puts them
together.  All models are frozen, refuse unknown keys, and have one canonical JSON form, which
is what identifies a stage and what reaches a rule as its parameters.
"""

from __future__ import annotations

import functools
import hashlib
import json
import typing
from typing import Any

from pydantic import BaseModel, ConfigDict, model_validator


class Settings(BaseModel):
    """A frozen group of settings that refuses unknown keys."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        allow_inf_nan=False,
        use_attribute_docstrings=True,
        # Names may look like numbers: speakers do.
        coerce_numbers_to_str=True,
    )

    @model_validator(mode="before")
    @classmethod
    def _check_values(cls, given: Any) -> Any:
        """Refuse values that Python accepts as numbers but that are not meant as such."""
        for key, value in given.items() if isinstance(given, dict) else ():
            for one in value if isinstance(value, list | tuple) else [value]:
                if isinstance(one, bool) and not _takes_bool(cls, key):
                    raise ValueError(
                        f"{key} is {str(one).lower()}, which is neither a number nor a name"
                    )
                if isinstance(one, int) and abs(one) > _LARGEST:
                    raise ValueError(f"{key} has {len(str(one))} digits: no setting is that large")
        return given


_LARGEST = 2**63
"""Larger whole numbers are not exact in other programs."""


@functools.cache
def _takes_bool(model: type[Settings], key: str) -> bool:
    """Whether a field may be true or false; unknown fields are reported elsewhere."""
    field = model.model_fields.get(key)
    return field is None or _mentions_bool(field.annotation)


def _mentions_bool(annotation: Any) -> bool:
    if isinstance(annotation, bool) or annotation in (bool, Any):  # of Literal
        return True
    return any(map(_mentions_bool, typing.get_args(annotation)))


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no spaces: equal values give equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def digest(value: Any, length: int = 8) -> str:
    """The first `length` hex digits of the SHA-256 of a JSON-like value or a text."""
    text = value if isinstance(value, str) else canonical_json(value)
    return hashlib.sha256(text.encode()).hexdigest()[:length]


def item_seed(*parts: object) -> int:
    """A 64-bit seed from what identifies an item.

    Random choices about an item depend on this alone, never on the order of work or on how many
    processes share it, so one core and eight give the same bytes.
    """
    text = "\x1f".join(str(part) for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
