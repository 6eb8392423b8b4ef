"""The record of an experiment, ``study.json`` beside its report.

Models, enhanced audio and scores lie in folders that are named by their settings, and experiments
share them.  What they are called in an experiment, and where they lie, stands here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from denoise.core import files
from denoise.core.errors import UserError
from denoise.mixing.files import TestSetFiles


class Record(BaseModel):
    """A part of the record; all paths are relative to the folder of the study."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class RunFiles(Record):
    """The files of a method with one seed on a test set."""

    enhanced: Path
    """Audio, packed like the test set's noisy audio."""
    scores: tuple[Path, ...]
    """Tables with a row for each utterance, one of each family of metrics."""
    speed: Path | None = None
    """Computing time; None for methods that are not denoisers."""

    @field_validator("scores", mode="before")
    @classmethod
    def _of_one_family(cls, given: Any) -> Any:
        # Records of before there were several have one path.
        return [given] if isinstance(given, str | Path) else given


class MethodRecord(Record):
    """A variant, a ready model or a baseline."""

    kind: Literal["variant", "model", "baseline"]
    models: dict[int, Path] = {}
    """Seed → model folder; none for a baseline."""
    runs: dict[str, dict[int, RunFiles]]
    """Test set → seed → files; a ceiling has none on recordings without a clean version."""


class VariantRecord(Record):
    """Record of a variant."""

    short: str = ""
    """Its short name in figures and tables."""
    differs: dict[str, Any]
    """Config path → value of what makes it differ from the preset."""
    recipe: dict[str, Any]
    mixtures: Path
    """Table of its training windows."""
    stages: tuple[str, ...] = ()
    """The stages of data that it is trained on: prepared audio, splits, mixtures, spectrograms."""


class ExperimentRecord(Record):
    """Record of an experiment: its parts and their files."""

    experiment: str
    preset: str
    seeds: tuple[int, ...]
    sweep: tuple[str, ...] = ()
    """Config paths of the settings that take more than one value."""
    examples: int = 3
    """Utterances to hear in the report for each variant."""
    recogniser: str = ""
    """The speech recogniser whose word errors are counted, where they are."""
    test_sets: dict[str, TestSetFiles]
    """Label → files."""
    methods: dict[str, MethodRecord]
    """Label → method: variants, then baselines, then ready models."""
    variants: dict[str, VariantRecord]
    """Label → record of each method of the kind ``variant``."""

    def runs(self, test_set: str) -> list[tuple[str, int, RunFiles]]:
        """Label, seed and files of all that was scored on a test set."""
        return [
            (label, seed, found)
            for label, method in self.methods.items()
            for seed, found in method.runs.get(test_set, {}).items()
        ]

    def played_outputs(self, test_set: str) -> dict[str, Path]:
        """Label → the output of a method for players and figures: that of its first seed."""
        outputs: dict[str, Path] = {}
        for label, _, found in self.runs(test_set):
            outputs.setdefault(label, found.enhanced)
        return outputs

    @classmethod
    def read(cls, path: Path) -> ExperimentRecord:
        """The record in a file.

        Raises
        ------
        UserError
            If it cannot be read or is none.
        """
        try:
            return cls.model_validate(files.read_json(path))
        except OSError as error:
            raise UserError(f"{path} cannot be read: {error.strerror}") from None
        except ValidationError as error:
            first = error.errors()[0]
            reason = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
            raise UserError(
                f"{path} is no record of an experiment ({reason}): run `snakemake` with its "
                "configuration again"
            ) from None
        except ValueError as error:
            reason = " ".join(str(error).split())[:200]
            raise UserError(
                f"{path} is no record of an experiment ({reason}): run `snakemake` with its "
                "configuration again"
            ) from None

    def write(self, path: Path) -> None:
        """Write the record as JSON, atomically."""
        files.write_json(path, self.model_dump(mode="json"))
