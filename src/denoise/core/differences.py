"""Differences between two nested settings."""

from __future__ import annotations

from typing import Any


def differences(before: Any, now: Any, path: str = "") -> dict[str, tuple[Any, Any]]:
    """What differs between two nested settings.

    Returns
    -------
    dict
        Config path, as in ``training.loss`` → both values; None where a setting is missing.
    """
    if isinstance(before, dict) and isinstance(now, dict):
        found: dict[str, tuple[Any, Any]] = {}
        for key in dict.fromkeys([*before, *now]):
            inner = f"{path}.{key}" if path else str(key)
            found |= differences(before.get(key), now.get(key), inner)
        return found
    return {} if before == now else {path: (before, now)}
