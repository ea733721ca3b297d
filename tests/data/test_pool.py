"""A pool that is closed says so to whoever waits on it, at once and every time."""

import threading

import pytest

from rats_jax.data.pool import Processes, Threads

POOLS = {
    "threads": lambda: Threads(abs, threads=1),
    "processes": lambda: Processes(abs, processes=1, threads=1, ahead=1, advice=""),
}


def outcome(call) -> list:
    """What `call()` returned or raised; empty if it hangs."""
    found = []

    def run() -> None:
        try:
            found.append(call())
        except Exception as error:
            found.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(30)
    return found


@pytest.mark.parametrize(
    "kind", ["threads", pytest.param("processes", marks=pytest.mark.processes)]
)
def test_asking_a_closed_pool_ends_in_an_error_and_never_in_waiting(kind):
    pool = POOLS[kind]()
    pool.submit("key", -3)
    assert pool.next_done() == ("key", 3, None)
    pool.close()
    for _ in range(2):
        [error] = outcome(pool.next_done)
        assert isinstance(error, RuntimeError) and str(error) == "the pool is closed"


@pytest.mark.parametrize(
    "kind", ["threads", pytest.param("processes", marks=pytest.mark.processes)]
)
def test_closing_ends_the_waiting_of_another_thread(kind):
    pool = POOLS[kind]()
    timer = threading.Timer(0.5, pool.close)
    timer.start()
    [error] = outcome(pool.next_done)
    assert isinstance(error, RuntimeError) and str(error) == "the pool is closed"
    timer.join()
