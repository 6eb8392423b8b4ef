"""What runs in several processes gives what one process gives, and a GPU serves one training."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from denoise.core import files, pools
from denoise.core.pools import ordered_map
from denoise.training import devices
from denoise.training.devices import one_gpu


def _square(number: int) -> tuple[int, tuple[int, int]]:
    time.sleep(0.001)
    return number * number, (os.getpid(), threading.get_ident())


@pytest.mark.parametrize("threads", [True, False])
@pytest.mark.parametrize("count", [0, 1, 2, 75, 200])
def test_results_come_in_order_across_blocks_and_processes(monkeypatch, count, threads):
    monkeypatch.setattr(pools, "_TRIAL_S", -1)
    monkeypatch.setattr(pools, "_POOL_START_S", -1)
    items = list(range(count))
    # A block holds 2 processes x 2 items x 16.
    found = list(ordered_map(_square, items, processes=2, label="square", chunk=2, threads=threads))
    assert [value for value, _ in found] == [number * number for number in items]
    if count > 64:
        elsewhere = {who for _, who in found} - {(os.getpid(), threading.get_ident())}
        assert elsewhere and {process == os.getpid() for process, _ in elsewhere} == {threads}


class _Clock:
    """A clock that stands still but for what `spend` adds."""

    now = 0.0
    sleep = staticmethod(time.sleep)

    def monotonic(self) -> float:
        return self.now


_clock = _Clock()


def _spend(seconds: float) -> int:
    _clock.now += seconds
    return os.getpid()


@pytest.mark.parametrize(
    ("seconds", "worked_here"),
    [
        ([5.0] + [0.01] * 99, 100),  # the first loads libraries, the others take a second
        ([0.5] + [0.2] * 99, 2),
        ([60.0] + [60.0] * 9, 1),  # nothing takes so long to load
        ([5.0] + [5.0] * 9, 2),
    ],
)
def test_a_slow_first_item_alone_does_not_start_processes(monkeypatch, seconds, worked_here):
    monkeypatch.setattr(pools, "time", _clock)
    found = list(ordered_map(_spend, seconds, processes=2, label="spend"))
    assert [process == os.getpid() for process in found] == [
        number < worked_here for number in range(len(seconds))
    ]


def test_an_error_of_an_item_reaches_the_caller(monkeypatch):
    monkeypatch.setattr(pools, "_TRIAL_S", -1)
    monkeypatch.setattr(pools, "_POOL_START_S", -1)
    with pytest.raises(ZeroDivisionError):
        list(ordered_map(_reciprocal, [1, 2, 0, 4], processes=2, label="divide"))


def _reciprocal(number: int) -> float:
    return 1 / number


OWNER = """
import os, time
from denoise.core import pools
def work(number):
    time.sleep(0.2)
    return os.getpid()
if __name__ == "__main__":
    for process in pools.ordered_map(work, list(range(300)), processes=2, label="sleep"):
        print(process, flush=True)
"""


def test_the_processes_of_a_pool_end_with_their_owner(tmp_path):
    (tmp_path / "owner.py").write_text(OWNER)
    with subprocess.Popen(
        [sys.executable, tmp_path / "owner.py"], stdout=subprocess.PIPE, text=True
    ) as owner:
        assert owner.stdout is not None
        workers: set[int] = set()
        while len(workers) < 2:
            workers |= {int(owner.stdout.readline())} - {owner.pid}
        assert all(files.runs(worker) for worker in workers)
        owner.send_signal(signal.SIGKILL)
        owner.wait()
        until = time.monotonic() + 60
        while any(map(files.runs, workers)) and time.monotonic() < until:
            time.sleep(0.1)
        assert not any(map(files.runs, workers))


def test_a_worker_exits_if_its_parent_died_before_it_started():
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    late = (
        "import time; from denoise.core.pools import exit_with_parent;"
        f"exit_with_parent({gone.pid}); time.sleep(60)"
    )
    assert subprocess.run([sys.executable, "-c", late], timeout=50).returncode == 1


@pytest.fixture
def two_gpus(monkeypatch):
    monkeypatch.setattr(devices, "gpu_count", lambda: 2)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def test_trainings_side_by_side_take_different_gpus(two_gpus, tmp_path, monkeypatch):
    with one_gpu(tmp_path) as first:
        assert os.environ["CUDA_VISIBLE_DEVICES"] == first
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
        with one_gpu(tmp_path) as second:
            assert {first, second} == {"0", "1"}


def test_a_training_waits_until_a_gpu_is_free(two_gpus, tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    taken: list[str | None] = []

    def wait() -> None:
        with one_gpu(tmp_path) as device:
            taken.append(device)

    with files.locked(tmp_path / "gpu3.lock"):
        with files.locked(tmp_path / "gpu5.lock"):
            waiting = threading.Thread(target=wait)
            waiting.start()
            waiting.join(0.5)
            assert waiting.is_alive() and not taken
        waiting.join(30)
        assert taken == ["5"]


@pytest.mark.parametrize(("given", "count"), [("7", 8), ("", 8), (None, 0)])
def test_one_gpu_leaves_cuda_visible_devices_unchanged_without_a_choice(
    tmp_path, monkeypatch, given, count
):
    monkeypatch.setattr(devices, "gpu_count", lambda: count)
    if given is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", given)
    with one_gpu(tmp_path) as device:
        assert device is None
        assert os.environ.get("CUDA_VISIBLE_DEVICES") == given
    assert not list(tmp_path.iterdir())
