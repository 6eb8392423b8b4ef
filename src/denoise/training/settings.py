"""The settings of a training."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator, model_validator

from denoise.core.settings import Settings
from denoise.training import losses
from denoise.training.adversarial import AdversarialSettings
from denoise.training.schedule import OptimiserSettings, ScheduleSettings

OTHER_MODELS = {"start_from": "starts from", "teacher": "learns from"}
"""The settings of a training that name another model, and what it does with it."""


class TrainingSettings(Settings):
    """How a network is trained. Changing these trains again, but mixes nothing."""

    backend: Literal["tensorflow", "jax", "torch"] = "tensorflow"
    """The library that Keras computes with."""
    loss: str | dict[str, float] = "huber"
    """One of the losses listed at the end, or a sum of those on the waveform by their weights, e.g.
    `{compressed_spectral: 1, si_sdr: 0.01}`."""
    adversarial: AdversarialSettings = AdversarialSettings()
    """A discriminator beside the loss."""
    start_from: str | None = None
    """The weights to start from: another variant of the experiment, or a model folder such as
    `pretrained/best`, of the same network and features; default random ones."""
    initial_weight_share: float = Field(0.0, ge=0, lt=1)
    """Share of the weights that training started from in those it ends with, the rest being what it
    learnt: a mean of both forgets less, and is often better on both old and new data (Wortsman et
    al., arXiv:2109.01903)."""
    teacher: str | None = None
    """With a waveform loss: a trained model whose output takes the place of the clean speech in the
    training windows, another variant of the experiment or a model folder of the same sample rate.
    A small network learns from a large one first, and from the clean speech in a second variant
    that starts from it (Nathoo, Kegler & Stamenovic, ICASSP 2024). Validation compares with the
    clean speech; default none."""
    metrics: tuple[str, ...] = ("mae",)
    """What is followed beside the loss: metrics listed at the end."""
    optimiser: OptimiserSettings = OptimiserSettings()
    """The optimiser."""
    learning_rate: float = Field(1e-3, gt=0, le=1)
    """At the start."""
    learning_rate_batch: int | None = Field(None, ge=1)
    """The batch size that `learning_rate` is meant for: with others it changes in proportion (Goyal
    et al., arXiv:1706.02677); default it is used as it is."""
    schedule: ScheduleSettings = ScheduleSettings()
    """How the learning rate changes."""
    epochs: int = Field(10, ge=1)
    """At most this many passes over the training windows."""
    batch_size: int = Field(20, ge=1)
    """Windows of a step."""
    loaders: int = Field(0, ge=0, le=256)
    """With losses on the waveform: processes that mix windows beside the training, which do not
    change the result; 0 for a thread, which keeps up with two cores but not with a GPU."""
    accumulate: int = Field(1, ge=1)
    """Parts that a batch is computed in, whose gradients are averaged: the step is the same with
    less memory, but batch normalisation looks at a part. What an epoch leaves over goes into the
    first step of the next."""
    early_stopping: int | None = Field(None, ge=1)
    """Stop after this many epochs without a better validation loss; default never."""
    keep: Literal["best", "last"] = "best"
    """The weights to keep: those with the lowest validation loss, or those of the last epoch, where
    the learning rate has come to rest and the validation loss is not what counts."""
    precision: Literal["auto", "float32", "mixed_bfloat16", "mixed_float16"] = "auto"
    """Number format of the layers' arithmetic; weights stay float32. `auto` is float32 on a CPU and
    mixed on a GPU, in bfloat16 if it has that."""
    xla: bool | Literal["auto"] = "auto"
    """Compile with XLA; `auto` does so on a GPU only (on a CPU it slows these networks), and with
    TensorFlow not over several devices."""
    devices: Literal["one", "all"] = "one"
    """`all`: every batch is divided among all GPUs of the machine, so that one training is faster;
    `one`: trainings side by side, each on a GPU of its own, which wastes nothing. The step is the
    same, save that dropout and batch normalisation may look at the parts."""
    deterministic: bool = True
    """Use only operations that give the same result every time."""
    low_memory: bool = False
    """Give freed memory back to the system at once and, on a CPU, compute without oneDNN, which
    keeps scratch memory for every convolution: slower, but half a gigabyte less for the widest
    recipe."""
    threads: int = Field(2, ge=1, le=256)
    """CPU threads of the arithmetic. Part of the settings because the order of sums depends on
    it: with more cores granted the result stays the same."""

    @field_validator("loss")
    @classmethod
    def _check_loss(cls, loss: str | dict[str, float]) -> str | dict[str, float]:
        return losses.check(loss)

    @field_validator("metrics")
    @classmethod
    def _check_metrics(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(losses.check_metric(name) for name in names)

    @model_validator(mode="after")
    def _check(self) -> TrainingSettings:
        if self.adversarial.active and not losses.is_waveform_loss(self.loss):
            raise ValueError(
                f"adversarial.kind {self.adversarial.kind} listens to audio, which loss "
                f"{self.loss} does not make: use one or more of {', '.join(losses.SIGNAL_LOSSES)}"
            )
        if self.teacher is not None and not losses.is_waveform_loss(self.loss):
            raise ValueError(
                f"teacher makes audio, which loss {self.loss} does not compare: use one or more of "
                f"{', '.join(losses.SIGNAL_LOSSES)}"
            )
        if self.devices == "all":
            self._check_devices()
        if self.initial_weight_share and self.start_from is None:
            raise ValueError(
                f"initial_weight_share {self.initial_weight_share:g} needs start_from: the weights "
                "to keep a share of"
            )
        if self.schedule.warmup_epochs > self.epochs:
            raise ValueError(
                f"schedule.warmup_epochs {self.schedule.warmup_epochs:g} must be at most epochs "
                f"{self.epochs}: the learning rate would never be reached"
            )
        falling = self.schedule.kind != "constant"
        if falling and self.schedule.minimum > self.initial_learning_rate:
            raise ValueError(
                f"schedule.minimum {self.schedule.minimum:g} must be at most the learning rate at "
                f"the start, {self.initial_learning_rate:g}"
            )
        if self.batch_size % self.accumulate:
            raise ValueError(
                f"accumulate {self.accumulate} must divide batch_size {self.batch_size}"
            )
        return self

    def _check_devices(self) -> None:
        if self.backend == "torch":
            raise ValueError(
                "devices all needs backend tensorflow or jax: Keras trains with torch on one device"
            )
        if self.adversarial.active:
            raise ValueError("devices all cannot be used with adversarial: use devices one")
        if self.teacher is not None:
            raise ValueError("devices all cannot be used with teacher: use devices one")
        if self.backend == "tensorflow" and self.xla is True:
            raise ValueError("devices all needs xla auto or false with backend tensorflow, or jax")

    @property
    def initial_learning_rate(self) -> float:
        """The learning rate that the schedule starts from."""
        return self.learning_rate * self.batch_size / (self.learning_rate_batch or self.batch_size)
