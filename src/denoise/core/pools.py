"""A process pool over items, in order, with one numerical thread for each process."""

from __future__ import annotations

import itertools
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sized
from concurrent.futures import Executor, Future, ThreadPoolExecutor, wait
from typing import Any, TypeVar

from tqdm import tqdm

from denoise.core.terminal import printable

Item = TypeVar("Item")
Result = TypeVar("Result")

_TRIAL_S = 0.3
_POOL_START_S = 2.5
_LOADING_S = 10.0
"""No library takes longer to load."""
_BLOCK_CHUNKS = 16


def progress(items: Iterable[Item] | None, label: str, total: int | None = None) -> tqdm[Any]:
    """Show a progress bar with the remaining time on a terminal; in a log file, a line now and
    then.

    Without `items`, call its ``update``.
    """
    terminal = sys.stderr.isatty()
    if total is None and isinstance(items, Sized):
        total = len(items)
    return tqdm(
        items,
        desc=printable(label),
        total=total,
        mininterval=0.5 if terminal else 15,
        ascii=not terminal,
        leave=False,
    )


def ordered_map(
    function: Callable[[Item], Result],
    items: list[Item],
    *,
    processes: int,
    label: str,
    chunk: int = 1,
    threads: bool = False,
) -> Iterator[Result]:
    """Yield ``function(item)`` for each item in order, worked by `processes` processes.

    With `threads`, by as many threads of this process: for a function whose time goes into compiled
    code that lets others run meanwhile, and whose results would be long to send.

    Starting processes costs seconds (threads cost nothing), so the first items are worked here, and
    the rest too if that will take less.  The estimate leaves out the first item, which may load
    libraries, unless that took longer than loading does.  Each process has one BLAS thread: several
    would fight over the same cores.  None of this changes the values.
    """
    rest = iter(items)
    done = 0
    started = time.monotonic()
    first_ended = started
    bar: tqdm[Any] = progress(None, label, len(items))
    from threadpoolctl import ThreadpoolController

    blas = ThreadpoolController()
    for item in () if threads and processes > 1 else rest:
        # As in the pool: sums over several threads would end in other digits.
        with blas.limit(limits=1):
            result = function(item)
        yield result
        bar.update()
        done += 1
        now = time.monotonic()
        if done == 1:
            first_ended = now
        if processes > 1 and now - started > _TRIAL_S:
            counted = done - 1
            each = (now - first_ended) / counted if counted else now - started - _LOADING_S
            if each * (len(items) - done) > _POOL_START_S:
                break
    workers = min(processes, len(items) - done)
    if workers > 0:
        made = (_by_threads if threads else _by_processes)(function, rest, workers, chunk)
        for result in made:
            yield result
            bar.update()
    bar.close()


def prefetch(
    pool: Executor, function: Callable[[Item], Result], items: Iterable[Item], count: int
) -> Generator[Result, None, None]:
    """The results for all items in order, of which `pool` computes `count` ahead; closed early, it
    waits for those that are being computed."""
    waiting: deque[Future[Result]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) > count:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()
        wait(waiting)


def _by_threads(
    function: Callable[[Item], Result], items: Iterator[Item], workers: int, chunk: int
) -> Iterator[Result]:
    from threadpoolctl import ThreadpoolController

    with ThreadpoolController().limit(limits=1), ThreadPoolExecutor(workers) as pool:
        yield from prefetch(pool, function, items, workers * chunk)


def _by_processes(
    function: Callable[[Item], Result], items: Iterator[Item], workers: int, chunk: int
) -> Iterator[Result]:
    """Work is given out in blocks: joblib goes on as fast as its processes can, so results that are
    consumed more slowly would pile up in memory."""
    import joblib

    with (
        joblib.parallel_config(
            backend="loky",
            inner_max_num_threads=1,
            initializer=start_worker,
            initargs=worker_arguments(),
        ),
        joblib.Parallel(workers, return_as="generator", batch_size=chunk, max_nbytes=None) as pool,
    ):
        while block := list(itertools.islice(items, workers * chunk * _BLOCK_CHUNKS)):
            yield from pool(joblib.delayed(function)(item) for item in block)


_set_up: dict[str, tuple[Callable[..., None], tuple[Any, ...]]] = {}


def set_up_workers(key: str, function: Callable[..., None] | None, *arguments: Any) -> None:
    """Have every process that is started from now on call `function` first; at most one function
    for each key."""
    _set_up.pop(key, None)
    if function is not None:
        _set_up[key] = (function, arguments)


def worker_arguments() -> tuple[Any, ...]:
    """The arguments of `start_worker`."""
    return os.getpid(), list(_set_up.values())


def start_worker(parent: int, set_up: list[tuple[Callable[..., None], tuple[Any, ...]]]) -> None:
    """Initialise a process of a pool: it ends with its parent and loads the same extensions."""
    exit_with_parent(parent)
    for function, arguments in set_up:
        function(*arguments)


def exit_with_parent(parent: int) -> None:
    """End this process soon after its `parent`.

    Otherwise the processes of a pool whose parent was killed would wait for work forever. The
    parent passes its own number, because it may have ended before this process could ask for it.
    """
    threading.Thread(target=_watch, args=(parent,), daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)
