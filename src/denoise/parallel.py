"""A process pool over items, in order, with one numerical thread for each process."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sized
from typing import TypeVar

import joblib
from tqdm import tqdm

Item = TypeVar("Item")
Result = TypeVar("Result")


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
    with joblib.parallel_config(backend="loky", inner_max_num_threads=1):
        pool = joblib.Parallel(
            min(processes, len(items)), return_as="generator", batch_size=chunk, max_nbytes=None
        )
        results = pool(joblib.delayed(function)(item) for item in items)
        yield from progress(results, label, len(items))
