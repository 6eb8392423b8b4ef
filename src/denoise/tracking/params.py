"""The settings of a training as MLflow parameters, for filtering runs."""

from __future__ import annotations

from typing import Any

from denoise.networks.card import ModelCard
from denoise.networks.registry import network_settings


def log_params(
    client: Any, run_id: str, card: ModelCard, settings: dict[str, Any] | None = None
) -> None:
    """Log what people choose runs by: what makes this training, without what is as it always is.

    `settings` are further ones by their path, as those that differ among the variants.
    """
    from mlflow.entities import Param

    flat = {"seed": card.seed, "rate": card.rate, "segment": card.segment, **_chosen(card)}
    flat |= {path: value for path, value in (settings or {}).items() if path not in flat}
    existing = client.get_run(run_id).data.params
    params = [Param(key, in_words(value)) for key, value in flat.items() if key not in existing]
    client.log_batch(run_id, params=params)


_ALWAYS = (
    "network.name", "network.filters", "training.loss", "training.epochs", "training.batch_size",
    "training.learning_rate", "features.target",
)  # fmt: skip


def _chosen(card: ModelCard) -> dict[str, Any]:
    """Path → value of the settings that differ from their defaults, and of a few that always say
    something."""
    from denoise.features.settings import FeatureSettings
    from denoise.mixing.augmentation import AugmentationSettings
    from denoise.training.settings import TrainingSettings

    defaults = {
        "network": network_settings({"name": card.network.name}),
        "features": FeatureSettings(),
        "augmentation": AugmentationSettings(),
        "training": TrainingSettings(),
    }
    found, made_of = {}, card.model_dump(mode="json")
    for group, usual in defaults.items():
        known = _flat(usual.model_dump(mode="json"), group)
        for path, value in _flat(made_of[group], group).items():
            if path in _ALWAYS or path not in known or known[path] != value:
                found[path] = value
    return found


def _flat(value: Any, path: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        return {path: value}
    return {
        name: one
        for key, item in value.items()
        for name, one in _flat(item, f"{path}.{key}").items()
    }


def in_words(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {in_words(item)}" for key, item in value.items())
    return ", ".join(map(in_words, value)) if isinstance(value, list | tuple) else str(value)
