"""The model card: what a trained network is, and what it was trained with.

A model folder holds ``model.keras``, ``model.onnx``, ``history.csv`` and ``card.json``.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from denoise.core import files
from denoise.core.errors import UserError
from denoise.core.files import file_digest
from denoise.core.settings import digest
from denoise.features.settings import FeatureSettings
from denoise.networks.base import OtherNetwork
from denoise.networks.registry import NETWORKS, AnyNetwork


class ModelCard(BaseModel):
    """Everything that is needed to apply a network, and the record of its training."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9.+_-]{0,199}$")
    """Of the model, whichever experiments use it."""
    rate: int = Field(ge=4000, le=192_000)
    """Samples a second that the network works at."""
    segment: int = Field(ge=16, le=1 << 24)
    """Samples of a training window."""
    features: FeatureSettings
    scales: dict[str, tuple[float, float]] = {}
    """``input`` and ``target`` → (add, divide) of scalings that were measured; see
    `features.scaling.measured_scales`."""
    network: AnyNetwork

    seed: int = 0
    augmentation: dict[str, Any] = {}
    """As of `mixing.augmentation.AugmentationSettings`."""
    training: dict[str, Any] = {}
    """As of `training.settings.TrainingSettings`."""
    spectrograms: str = ""
    """Name of the spectrogram stage with the training windows."""
    data: dict[str, str] = {}
    """Digests of the training and validation windows, and of the weights it started from and the
    model it learnt from."""
    code: str = ""
    """Digest of the code that trained it."""

    RESULTS: ClassVar = (
        "precision", "parameters", "input_shape", "training_windows", "best_epoch",
        "best_val_loss", "wall_time_s", "code_version", "software", "hardware", "weights", "onnx",
        "macs_a_frame",
    )  # fmt: skip
    """Fields that are known only after the training."""
    weights: str = ""
    """SHA-256 of ``model.keras``."""
    onnx: str = ""
    """SHA-256 of the ``model.onnx`` made of it; empty if there is none."""
    macs_a_frame: float | None = None
    """Multiply-accumulate operations (MACs) for a frame; see `networks.operations`."""
    precision: str = ""
    parameters: int = 0
    input_shape: tuple[int, ...] = ()
    """Frequencies, frames and channels of a training window."""
    training_windows: int = 0
    best_epoch: int = 0
    """The epoch whose weights are kept, from 1."""
    best_val_loss: float | None = None
    wall_time_s: float = 0.0
    code_version: str = ""
    software: dict[str, str] = {}
    hardware: dict[str, Any] = {}

    @property
    def causal(self) -> bool:
        """Whether the network can enhance a stream."""
        return bool(getattr(self.network, "causal", False))


@dataclass(frozen=True)
class ModelFolder:
    """The files of a trained model."""

    path: Path

    @property
    def model(self) -> Path:
        """The network, as Keras saves it."""
        return self.path / "model.keras"

    @property
    def onnx(self) -> Path:
        """The same network for ONNX Runtime; of a causal one, a step of a stream with its states as
        further inputs and outputs; empty where the network could not be converted."""
        return self.path / "model.onnx"

    @property
    def history(self) -> Path:
        """A row for each epoch."""
        return self.path / "history.csv"

    @property
    def card(self) -> Path:
        """The `ModelCard`."""
        return self.path / "card.json"

    @property
    def checkpoints(self) -> Path:
        """Folder of the checkpoints, until the model is written."""
        return self.path / "checkpoints"

    def content(self) -> str:
        """The files that identify the model independently of its folder: network and card."""
        return digest([file_digest(path) for path in (self.model, self.card) if path.is_file()])

    def complete(self) -> bool:
        """Whether there is a model to use."""
        return self.card.is_file() and (self.model.is_file() or self.onnx.is_file())


def read_card(path: Path) -> ModelCard:
    """The model card in a file.

    Raises
    ------
    UserError
        If it cannot be read or is no model card.
    """
    try:
        return _card_of(files.read_json(path))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        reason = f"{place}: {first['msg']}" if place else first["msg"]
    except (OSError, ValueError, TypeError) as error:
        reason = str(error)
    raise UserError(f"{path} is not a model card: {' '.join(reason.split())}")


def _card_of(value: Any) -> ModelCard:
    network = value.get("network") if isinstance(value, dict) else None
    name = network.get("name") if isinstance(network, dict) else None
    if not isinstance(name, str) or name in NETWORKS:
        return ModelCard.model_validate(value)
    card = ModelCard.model_validate({**value, "network": {"name": next(iter(NETWORKS))}})
    return card.model_copy(update={"network": OtherNetwork.model_validate(network)})


def write_card(path: Path, card: ModelCard) -> None:
    """Write a card as JSON, atomically."""
    files.write_json(path, card.model_dump(mode="json"))
