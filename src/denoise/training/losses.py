"""The training losses and metrics, by the name they have in ``config.yaml``.

Those of `LOSSES` and `METRICS` compare target and output spectrograms [shape=(batch, frequency,
time, channels)] in the scaling of the recipe, those of `SIGNAL_LOSSES` clean and enhanced waveforms
[shape=(batch, samples)].  To add one, write a function of both with Keras operations that gives a
number for each item of the batch, and name it there; for one of a study's own see `extend`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from denoise.core.errors import unknown
from denoise.training.waveform import magnitude, once_for_all_losses, shared_transforms, stft


def huber(target: Any, output: Any) -> Any:
    """Quadratic below a distance of 1, linear above (Huber, Ann. Math. Statist. 35(1), 1964)."""
    import keras

    return keras.losses.huber(target, output)


def mse(target: Any, output: Any) -> Any:
    """Mean squared error."""
    import keras

    return keras.losses.mean_squared_error(target, output)


def mae(target: Any, output: Any) -> Any:
    """Mean absolute error."""
    import keras

    return keras.losses.mean_absolute_error(target, output)


def log_cosh(target: Any, output: Any) -> Any:
    """Mean logarithm of the hyperbolic cosine of the error."""
    import keras

    return keras.losses.log_cosh(target, output)


def bce(target: Any, output: Any) -> Any:
    """Binary cross-entropy, for targets and outputs from 0 to 1."""
    import keras

    return keras.losses.binary_crossentropy(target, output)


def soft_iou(target: Any, output: Any) -> Any:
    """Soft intersection over union of targets t and outputs o from 0 to 1: the sum of t·o over the
    sum of t + o - t·o (Rahman & Wang, ISVC 2016)."""
    from keras import ops

    axes = tuple(range(1, len(target.shape)))
    both = target * output
    return ops.sum(both, axes) / (ops.sum(target + output - both, axes) + 1e-7)


def si_sdr(clean: Any, enhanced: Any) -> Any:
    """Negative scale-invariant signal-to-distortion ratio in dB (Le Roux et al., ICASSP 2019), plus
    a hundredth of the squared level difference in dB, without which the output level is
    unconstrained and drifts until the network saturates. Values saturate softly at 40 dB, so that
    nearly clean windows do not dominate (Wisdom et al., NeurIPS 2020, "MixIT", eq. 2)."""
    from keras import ops

    scale = ops.sum(clean * enhanced, 1, keepdims=True)
    power = ops.sum(ops.square(clean), 1, keepdims=True) + 1e-8
    target = scale / power * clean
    found = ops.sum(ops.square(target), 1) + 1e-8
    error = ops.sum(ops.square(enhanced - target), 1)
    level = 10 * ops.log10(found / ops.squeeze(power, 1))
    return -10 * ops.log10(found / (error + 1e-4 * found + 1e-8)) + ops.square(level / 10)


def compressed_spectral(clean: Any, enhanced: Any) -> Any:
    """Mean squared error of spectra compressed to the power 0.3: 0.7 times that of the magnitudes
    plus 0.3 times that of the complex values; STFT of 512 samples every 128 (Braun & Tashev, SPECOM
    2020)."""
    from keras import ops

    compressed = [_compressed(waves) for waves in (clean, enhanced)]
    errors = [ops.mean(ops.square(a - b), (1, 2)) for a, b in zip(*compressed, strict=True)]
    return 0.7 * errors[0] + 0.3 * (errors[1] + errors[2])


def suppressed_speech(clean: Any, enhanced: Any) -> Any:
    """Mean squared shortfall of the output's magnitudes, compressed to the power 0.3, below those
    of the speech: a penalty on over-suppressed speech, for use with another loss (Wang et al.,
    Interspeech 2020, "VoiceFilter-Lite", section 3.3)."""
    from keras import ops

    wanted, found = (_compressed(waves)[0] for waves in (clean, enhanced))
    return ops.mean(ops.square(ops.relu(wanted - found)), (1, 2))


@once_for_all_losses
def _compressed(waves: Any) -> tuple[Any, Any, Any]:
    """Magnitude, real and imaginary part [shape=(batch, frames, frequencies)] of the spectrum, with
    the magnitude to the power 0.3."""
    from keras import ops

    real, imaginary = stft(waves, 512, 128)
    # Below this power, compression would make gradients as large as bins are faint.
    log_power = ops.log(ops.square(real) + ops.square(imaginary) + 1e-8)
    # With TensorFlow on a CPU, `power` takes three times as long as both of these.
    factor = ops.exp(-0.35 * log_power)
    return ops.exp(0.15 * log_power), real * factor, imaginary * factor


def wave(clean: Any, enhanced: Any) -> Any:
    """Mean absolute error of the samples."""
    from keras import ops

    return ops.mean(ops.abs(clean - enhanced), 1)


def multi_resolution_stft(clean: Any, enhanced: Any) -> Any:
    """Spectral convergence and mean absolute difference of log magnitudes, averaged over STFTs of
    512, 1024 and 2048 samples with a hop of a quarter of the frame (Yamamoto, Song & Kim, ICASSP
    2020)."""
    from keras import ops

    total = 0.0
    for n_fft in (512, 1024, 2048):
        wanted, found = (magnitude(stft(waves, n_fft, n_fft // 4)) for waves in (clean, enhanced))
        distance = ops.sqrt(ops.sum(ops.square(wanted - found), (1, 2)) + 1e-12)
        convergence = distance / ops.sqrt(ops.sum(ops.square(wanted), (1, 2)) + 1e-6)
        logs = ops.mean(
            ops.abs(ops.log(ops.maximum(wanted, 1e-5)) - ops.log(ops.maximum(found, 1e-5))), (1, 2)
        )
        total = total + (convergence + logs) / 3
    return total


def anti_wrapping_phase(clean: Any, enhanced: Any) -> Any:
    """Mean absolute difference in radians of the phases of an STFT of 512 samples every 128, of
    their group delays and of their instantaneous frequencies, each difference wrapped to -π to π
    (Ai & Ling, ICASSP 2023; MP-SENet, Lu, Ai & Ling, Interspeech 2023, eq. 5 to 7). Bins that are
    silent in either signal contribute zero."""
    from keras import ops

    (real, imaginary), (real_, imaginary_) = (stft(waves, 512, 128) for waves in (clean, enhanced))
    # The angle of a product with the conjugate; the constant bounds the gradient of silence.
    difference = ops.arctan2(
        imaginary * real_ - real * imaginary_, real * real_ + imaginary * imaginary_ + 1e-4
    )
    steps = (
        difference,
        difference[:, :, 1:] - difference[:, :, :-1],
        difference[:, 1:] - difference[:, :-1],
    )
    turn = 2 * math.pi
    wrapped = (ops.abs(step - turn * ops.round(step / turn)) for step in steps)
    return sum(ops.mean(each, (1, 2)) for each in wrapped)


CHOSEN_BY_NAME = ("LOSSES", "SIGNAL_LOSSES", "METRICS")

Measure = Callable[[Any, Any], Any]
LOSSES: dict[str, Measure] = {
    "huber": huber,
    "mse": mse,
    "mae": mae,
    "log_cosh": log_cosh,
    "bce": bce,
}
SIGNAL_LOSSES: dict[str, Measure] = {
    "anti_wrapping_phase": anti_wrapping_phase,
    "si_sdr": si_sdr,
    "compressed_spectral": compressed_spectral,
    "multi_resolution_stft": multi_resolution_stft,
    "suppressed_speech": suppressed_speech,
    "wave": wave,
}
METRICS: dict[str, Measure] = {"mae": mae, "mse": mse, "soft_iou": soft_iou}
FROM_0_TO_1: dict[str, bool] = {"bce": True, "soft_iou": True}


def check(loss: str | dict[str, float]) -> str | dict[str, float]:
    """`loss` if it is the name of one or weights of several; else an error that says what is."""
    known = LOSSES | SIGNAL_LOSSES
    if isinstance(loss, str):
        if loss not in known:
            raise unknown("loss", loss, known)
        return loss
    for name, weight in loss.items():
        if name in LOSSES:
            raise ValueError(
                f"{name} compares spectrograms and cannot be weighed with others: only "
                f"{', '.join(SIGNAL_LOSSES)} can"
            )
        check(name)
        if not weight > 0:
            raise ValueError(f"the weight {weight:g} of {name} must be positive")
    if not loss:
        raise ValueError("name at least one loss")
    return loss


def weights(loss: str | dict[str, float]) -> dict[str, float]:
    """The weight of every loss in a setting."""
    return {loss: 1.0} if isinstance(loss, str) else loss


def label(loss: str | dict[str, float]) -> str:
    """A loss as it is shown, such as ``compressed_spectral + 0.003 si_sdr``."""
    return " + ".join(
        name if weight == 1 else f"{weight:g} {name}" for name, weight in weights(loss).items()
    )


def is_waveform_loss(loss: str | dict[str, float]) -> bool:
    """Whether a loss compares waveforms."""
    return all(name in SIGNAL_LOSSES for name in weights(loss))


def on_signals(loss: str | dict[str, float]) -> Measure:
    """The weighted sum of losses on the waveform as one function."""

    def measure(clean: Any, enhanced: Any) -> Any:
        with shared_transforms():
            parts = [
                weight * SIGNAL_LOSSES[name](clean, enhanced)
                for name, weight in weights(loss).items()
            ]
        return sum(parts[1:], parts[0])

    return measure


def check_metric(name: str) -> str:
    """`name` if it is a training metric; else an error that lists them all."""
    if name not in METRICS:
        raise unknown("metric", name, METRICS)
    return name
