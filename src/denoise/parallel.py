"""A process pool over items, in order, with one numerical thread for each process."""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sized
from typing import TypeVar

from tqdm import tqdm

Item = TypeVar("Item")
Result = TypeVar("Result")

_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def progress(items: Iterable[Item], label: str, total: int | None = None) -> Iterable[Item]:
    """Show a bar with the remaining time on a terminal; in a log file, a line now and then."""
    terminal = sys.stderr.isatty()
    if total is None and isinstance(items, Sized):
        total = len(items)
    return tqdm(
        items,
        desc=label,
        total=total,
        mininterval=0.5 if terminal else 15,
        ascii=not terminal,
        leave=False,
        disable=None if terminal else False,
    )


def ordered_map(
    function: Callable[[Item], Result],
    items: list[Item],
    *,
    processes: int,
    label: str,
    chunk: int = 1,
) -> Iterator[Result]:
    """Yield ``function(item)`` for each item in order, worked by `processes` processes.

    Each process has one BLAS thread: several would fight over the same cores.  With one process
    or one item the work is done here, which gives the same values.
    """
    if processes <= 1 or len(items) <= 1:
        yield from progress(map(function, items), label, len(items))
        return
    saved = {name: os.environ.get(name) for name in _THREAD_VARIABLES}
    os.environ.update(dict.fromkeys(_THREAD_VARIABLES, "1"))
    try:
        # A forked child would inherit the locks of whatever threads run here; spawn does not.
        context = multiprocessing.get_context("spawn")
        with context.Pool(min(processes, len(items))) as pool:
            yield from progress(pool.imap(function, items, chunksize=chunk), label, len(items))
    finally:
        for name, value in saved.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
