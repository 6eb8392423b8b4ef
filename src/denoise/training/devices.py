"""Reserve one GPU or all of them, so that concurrent trainings do not share a GPU."""

from __future__ import annotations

import contextlib
import fcntl
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO


def gpu_count() -> int:
    """The number of NVIDIA GPUs that ``nvidia-smi`` lists; 0 without it."""
    try:
        run = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return 0
    return sum(line.startswith("GPU ") for line in run.stdout.splitlines())


@contextlib.contextmanager
def one_gpu(lock_folder: Path) -> Iterator[str | None]:
    """Hold one GPU by a lock file and show only that one to this process, waiting for a free one.

    Of several that ``CUDA_VISIBLE_DEVICES`` names, one is taken; a single one (a cluster chooses
    so) is left alone.  The lock goes with the process, however it ends.

    Parameters
    ----------
    lock_folder
        Where the lock files of all GPUs of this machine lie; made if missing.

    Yields
    ------
    str or None
        The number or name of the GPU as ``CUDA_VISIBLE_DEVICES`` gives it; None if there was
        nothing to choose.
    """
    with _locks(lock_folder) as streams:
        if not streams:
            yield None
            return
        while True:
            for device, stream in streams.items():
                try:
                    fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    continue
                os.environ["CUDA_VISIBLE_DEVICES"] = device
                yield device
                return
            time.sleep(1)


@contextlib.contextmanager
def all_gpus(lock_folder: Path) -> Iterator[list[str]]:
    """Hold every GPU that `one_gpu` would choose from, waiting until all are free.

    Yields
    ------
    list of str
        Their numbers or names; empty if there was nothing to choose.
    """
    with _locks(lock_folder) as streams:
        # In one order, so that two that want all do not wait for each other.
        for device in sorted(streams):
            fcntl.flock(streams[device], fcntl.LOCK_EX)
        yield list(streams)


@contextlib.contextmanager
def _locks(folder: Path) -> Iterator[dict[str, TextIO]]:
    """The opened lock file of each available GPU."""
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    devices = [str(k) for k in range(gpu_count())] if given is None else given.split(",")
    if len(devices) < (1 if given is None else 2):
        yield {}
        return
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        yield {
            device: stack.enter_context((folder / f"gpu{device}.lock").open("w"))
            for device in devices
        }
