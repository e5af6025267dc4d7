"""A worker that is killed ends the work with a message, whatever the others do; it never hangs."""

import multiprocessing
import os
import signal
import time
from contextlib import closing

import pytest

from visionfm.errors import DataError
from visionfm.images.parallel import in_order, worker_pool


def half(number: int) -> int:
    if number == KILLED:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.01)
    return number // 2


KILLED = 13


@pytest.fixture(autouse=True)
def _at_most_thirty_seconds():
    def late(*_):
        raise AssertionError("it hangs")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(30)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def test_a_killed_worker_ends_the_work_with_a_message() -> None:
    done = []
    with pytest.raises(DataError, match="was killed") as said, closing(in_order(range(100), half, 3)) as results:
        done += [number for number, _ in results]
    assert "out of memory" in str(said.value) and done == list(range(len(done))) and len(done) <= KILLED
    assert not multiprocessing.active_children()


def test_an_error_of_ones_own_beside_a_killed_worker_does_not_hang() -> None:
    with pytest.raises(KeyError), worker_pool(2) as pool:
        assert not isinstance(pool, int)
        broken = [pool.executor.submit(half, number) for number in (1, KILLED, 2, 3)]
        broken[1].exception()
        raise KeyError
    assert not multiprocessing.active_children()


def test_a_worker_killed_while_it_waits_ends_the_work_too() -> None:
    with pytest.raises(DataError, match="was killed"), worker_pool(2) as pool:
        assert not isinstance(pool, int)
        pool.executor.submit(half, 1).result()
        multiprocessing.active_children()[0].kill()
        for _ in range(1000):
            pool.executor.submit(half, 2).result()
    assert not multiprocessing.active_children()


def test_workers_end_with_their_pool_and_the_results_are_in_order() -> None:
    with closing(in_order(range(8), half, 2)) as results:
        assert [result for _, result in results] == [number // 2 for number in range(8)]
    assert not multiprocessing.active_children()
