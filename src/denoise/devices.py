"""Binding a training to one GPU, so that trainings side by side do not share one."""

from __future__ import annotations

import contextlib
import fcntl
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path


def gpu_count() -> int:
    """The number of NVIDIA GPUs that ``nvidia-smi`` lists; 0 without it."""
    try:
        run = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return 0
    return sum(line.startswith("GPU ") for line in run.stdout.splitlines())


@contextlib.contextmanager
def one_gpu(lock_folder: Path) -> Iterator[int | None]:
    """Hold one GPU by a lock file and show only that one to this process; None without GPUs.

    A device that ``CUDA_VISIBLE_DEVICES`` has already chosen (a cluster does) is left alone.
    The lock goes with the process, however it ends.
    """
    count = gpu_count()
    if count == 0 or "CUDA_VISIBLE_DEVICES" in os.environ:
        yield None
        return
    lock_folder.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        streams = [
            stack.enter_context((lock_folder / f"gpu{k}.lock").open("w")) for k in range(count)
        ]
        while True:
            for device, stream in enumerate(streams):
                with contextlib.suppress(BlockingIOError):
                    fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    os.environ["CUDA_VISIBLE_DEVICES"] = str(device)
                    yield device
                    return
            time.sleep(1)
