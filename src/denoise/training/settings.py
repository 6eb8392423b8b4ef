"""The settings of a training."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator, model_validator

from denoise.core.settings import Settings
from denoise.training import losses
from denoise.training.adversarial import AdversarialSettings
from denoise.training.schedule import OptimiserSettings, ScheduleSettings

OTHER_MODELS = {"start_from": "starts from", "teacher": "learns from"}
"""Settings of a training that refer to another model, each with its verb for messages."""


class TrainingSettings(Settings):
    """How a network is trained. Changing these trains again, but mixes nothing."""

    backend: Literal["tensorflow", "jax", "torch"] = "tensorflow"
    """The library that Keras computes with."""
    loss: str | dict[str, float] = "huber"
    """One of the losses listed at the end, or a weighted sum of waveform losses, e.g.
    `{compressed_spectral: 1, si_sdr: 0.01}`."""
    adversarial: AdversarialSettings = AdversarialSettings()
    """A discriminator in addition to the loss."""
    start_from: str | None = None
    """Initial weights: those of another variant of the experiment, or of a model folder such as
    `pretrained/best`; network and features must be the same. Default: random weights."""
    initial_weight_share: float = Field(0.0, ge=0, lt=1)
    """Share s of the initial weights in the final ones, (1 - s) × trained + s × initial. This
    reduces forgetting, and is often better on both old and new data (Wortsman et al.,
    arXiv:2109.01903)."""
    teacher: str | None = None
    """With a waveform loss: a trained model whose output takes the place of the clean speech in the
    training windows. It is another variant of the experiment, or a model folder, of the same sample
    rate. A small network learns from a large one first, and from the clean speech in a second
    variant that starts from it (Nathoo, Kegler & Stamenovic, ICASSP 2024). Validation compares with
    the clean speech; default none."""
    metrics: tuple[str, ...] = ("mae",)
    """Metrics to log in addition to the loss, of those listed at the end."""
    optimiser: OptimiserSettings = OptimiserSettings()
    """The optimiser."""
    learning_rate: float = Field(1e-3, gt=0, le=1)
    """The initial learning rate, after the warm-up."""
    learning_rate_batch: int | None = Field(None, ge=1)
    """The batch size for which `learning_rate` is given; the learning rate is scaled in proportion
    to `batch_size` (Goyal et al., arXiv:1706.02677); default no scaling."""
    schedule: ScheduleSettings = ScheduleSettings()
    """How the learning rate changes."""
    epochs: int = Field(10, ge=1)
    """Largest number of passes over the training windows."""
    batch_size: int = Field(20, ge=1)
    """Windows per step."""
    loaders: int = Field(0, ge=0, le=256)
    """With a waveform loss: processes that mix the windows; they do not affect the result. 0 uses a
    thread, which is fast enough for two cores but not for a GPU."""
    accumulate: int = Field(1, ge=1)
    """Number of parts in which a batch is computed; their gradients are averaged. The step
    needs less memory and is otherwise the same, except that batch normalisation sees one part at a
    time. Gradients that remain at the end of an epoch are used in the first step of the next."""
    early_stopping: int | None = Field(None, ge=1)
    """Stop after this many epochs without a better validation loss; default never."""
    keep: Literal["best", "last"] = "best"
    """The weights to keep: `best`, those of the epoch with the lowest validation loss (with a
    discriminator, the highest PESQ on validation windows); `last`, those of the last epoch, for a
    schedule that ends at a low learning rate."""
    precision: Literal["auto", "float32", "mixed_bfloat16", "mixed_float16"] = "auto"
    """Number format of the layers' arithmetic; weights are float32. `auto` is float32 on a CPU and
    mixed on a GPU, with bfloat16 if supported."""
    xla: bool | Literal["auto"] = "auto"
    """Compile with XLA. `auto`: always with JAX; with TensorFlow on a single GPU (on a CPU it slows
    these networks); never with PyTorch."""
    devices: Literal["one", "all"] = "one"
    """`one`: each training uses one GPU, and several run side by side; `all`: every batch is
    divided among all GPUs of the machine, which speeds up a single training. The step is the same,
    except that dropout and batch normalisation may see parts of the batch."""
    deterministic: bool = True
    """Use deterministic operations only."""
    low_memory: bool = False
    """Return freed memory to the system at once and, on a CPU, do not use oneDNN, which keeps
    scratch memory for every convolution. Slower, but half a gigabyte less for the largest
    recipe."""
    threads: int = Field(2, ge=1, le=256)
    """CPU threads for the arithmetic. A setting of the recipe because the order of sums depends on
    it; the number of cores granted by Snakemake does not change the result."""

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
                f"adversarial.kind {self.adversarial.kind} needs a waveform loss, which "
                f"{self.loss} is not: use one or more of {', '.join(losses.SIGNAL_LOSSES)}"
            )
        if self.teacher is not None and not losses.is_waveform_loss(self.loss):
            raise ValueError(
                f"teacher needs a waveform loss, which {self.loss} is not: use one or more of "
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
