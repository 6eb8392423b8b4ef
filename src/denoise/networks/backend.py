"""The backend of Keras and its devices."""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from denoise.core.errors import UserError


def start(
    name: str, *, threads: int = 2, deterministic: bool = True, low_memory: bool = False
) -> None:
    """Choose the backend of Keras. Call this before Keras is imported.

    Parameters
    ----------
    name
        ``tensorflow``, ``jax`` or ``torch``.
    threads
        CPU threads of the arithmetic.
    deterministic
        Use only operations that give the same result every time.
    low_memory
        Prefer what takes little memory to what is fast.

    Raises
    ------
    UserError
        If it is not installed, or this process already uses another.
    """
    loaded = sys.modules.get("keras")
    if loaded is not None and loaded.backend.backend() != name:
        raise UserError(
            f"training.backend is {name}, but this process already uses "
            f"{loaded.backend.backend()}: start a new one"
        )
    os.environ["KERAS_BACKEND"] = name
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    if low_memory:
        _give_freed_memory_back()
        # oneDNN keeps the scratch memory of every convolution between the steps.
        os.environ["TF_ENABLE_ONEDNN_OPTS"] = "0"
    try:
        if name == "tensorflow":
            with _hidden("jax", "matplotlib", "sklearn"):
                import keras  # noqa: F401
                import tensorflow as tf

            if loaded is None:
                _configure_tensorflow(tf, threads, deterministic)
        elif name == "torch":
            import torch

            torch.set_num_threads(threads)
            torch.use_deterministic_algorithms(deterministic, warn_only=True)
        else:
            # The size of XLA's thread pool on a CPU.
            os.environ["NPROC"] = str(threads)
            os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
            if deterministic:
                flags = os.environ.get("XLA_FLAGS", "")
                os.environ["XLA_FLAGS"] = f"{flags} --xla_gpu_deterministic_ops=true".strip()
            import jax  # noqa: F401
    except ImportError as error:
        raise UserError(
            f"training.backend {name} is not installed ({error}): run make install "
            f"EXTRA={extra(name)}, or pip install 'denoise[{extra(name)}]'"
        ) from None


def extra(name: str) -> str:
    """The extra of this package that installs a backend for the CPU."""
    return "cpu" if name == "tensorflow" else name


def _give_freed_memory_back() -> None:
    """Make glibc return freed arrays to the system at once, instead of keeping up to 32 MB of each
    size for every thread. No effect with other C libraries."""
    if platform.libc_ver()[0] != "glibc":
        return
    # M_ARENA_MAX, M_MMAP_THRESHOLD and M_TRIM_THRESHOLD of malloc.h.
    for parameter, value in ((-8, 1), (-3, 2**18), (-1, 2**18)):
        ctypes.CDLL(None).mallopt(parameter, value)


@contextlib.contextmanager
def _hidden(*names: str) -> Iterator[None]:
    """Let imports of `names` fail, unless they are loaded already.

    TensorFlow and Keras import these where they are installed, for wrappers that are not used
    here: a third of the time they take to start, and 0.2 GB of memory in every process.
    """
    hidden = [name for name in names if name not in sys.modules]
    for name in hidden:
        sys.modules[name] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]


def _configure_tensorflow(tf: Any, threads: int, deterministic: bool) -> None:
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    for device in tf.config.list_physical_devices("GPU"):
        tf.config.experimental.set_memory_growth(device, True)
    if deterministic:
        tf.config.experimental.enable_op_determinism()


def compiled_call(model: Any, *, xla: bool = False) -> Callable[[Sequence[Any]], list[Any]]:
    """A Keras model of several inputs and outputs as a function from arrays or tensors to tensors,
    for calls too small to bear the cost of ``predict``.

    With `xla` it is translated for each shape it meets, which takes seconds and makes small calls
    a third faster; JAX always does.
    """
    from keras import backend, ops

    if backend.backend() == "tensorflow":
        import tensorflow as tf

        traced = tf.function(
            lambda inputs: model(inputs, training=False), jit_compile=xla, reduce_retracing=not xla
        )
    elif backend.backend() == "jax":
        import jax

        weights = [variable.value for variable in model.trainable_variables]
        others = [variable.value for variable in model.non_trainable_variables]
        pure = jax.jit(lambda *given: model.stateless_call(*given, training=False)[0])

        def traced(inputs: list[Any]) -> Any:
            return pure(weights, others, inputs)
    else:
        import torch

        def traced(inputs: list[Any]) -> Any:
            with torch.inference_mode():
                return model(inputs, training=False)

    return lambda inputs: traced([ops.convert_to_tensor(item) for item in inputs])


def name() -> str:
    """The backend of Keras in use."""
    import keras

    return str(keras.backend.backend())


def devices() -> list[str]:
    """The devices that Keras computes on, such as ``cpu:0`` or ``gpu:0``."""
    import keras

    if keras.backend.backend() == "torch":  # for which Keras cannot list them
        import torch

        return [f"cuda:{number}" for number in range(torch.cuda.device_count())] or ["cpu:0"]
    return list(keras.distribution.list_devices())


def has_gpu() -> bool:
    """Whether Keras computes on a GPU."""
    return any("gpu" in device.lower() or "cuda" in device.lower() for device in devices())


def precision() -> str:
    """The fastest number format of the layers' arithmetic that trains as well as float32.

    On a GPU this is bfloat16 with float32 weights, or float16 without bfloat16 (before NVIDIA's
    Ampere); on a CPU it is float32, because many support neither.
    """
    if not has_gpu():
        return "float32"
    return "mixed_bfloat16" if _has_bfloat16() else "mixed_float16"


def _has_bfloat16() -> bool:
    """Whether the first GPU computes in bfloat16 natively: NVIDIA's from Ampere (8.0) on."""
    if name() == "tensorflow":
        import tensorflow as tf

        gpu = tf.config.list_physical_devices("GPU")[0]
        capability = tf.config.experimental.get_device_details(gpu).get("compute_capability")
    elif name() == "jax":
        import jax

        text = getattr(jax.devices()[0], "compute_capability", None)
        capability = tuple(map(int, text.split("."))) if text else None
    else:
        import torch

        capability = torch.cuda.get_device_capability()
    return capability is None or tuple(capability) >= (8, 0)


def software() -> dict[str, str]:
    """The versions of Python, Keras and the backend in use."""
    import keras

    name = keras.backend.backend()
    return {
        "python": platform.python_version(),
        "keras": keras.__version__,
        name: str(sys.modules[name].__version__),
    }


def hardware(devices: Sequence[str]) -> dict[str, object]:
    """The processor, its number of cores, and the devices in use."""
    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = [line for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        name = lines[0].split(":", 1)[1].strip() if lines else name
    return {"processor": name, "cores": os.cpu_count(), "devices": list(devices)}
