"""Processes are told apart, followed to their ends, and replaced in the pool."""

import os
import platform
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from photometry.errors import TryAgainError
from photometry.processes import Pool, ProcessId, describe_exit, is_alive, keep_memory


def test_a_process_is_alive_until_it_ends_and_a_zombie_is_not():
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        known = ProcessId.of(child.pid)
        assert known.is_alive()
        assert is_alive(known.pid, known.started, known.boot)
        assert not is_alive(known.pid, known.started + 1, known.boot)  # another one, same number
        assert not is_alive(known.pid, known.started, "an earlier boot")
        child.kill()
        while known.is_alive():  # ends: a killed process becomes a zombie
            time.sleep(0.01)
        assert child.returncode is None  # nobody has waited for it yet
    finally:
        child.kill()
        child.wait()
        child.stdin.close()
    assert not known.is_alive()
    assert ProcessId.of(child.pid) is None


def test_exits_have_names():
    assert describe_exit(-signal.SIGSEGV) == "killed by SIGSEGV"
    assert describe_exit(7) == "exited with code 7"


def square(shared, item):
    return shared * item**2


def die_once(marker, item):
    if item == 5 and not os.path.exists(marker):
        Path(marker).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return item


def die_always(shared, item):
    if item == 5:
        os.kill(os.getpid(), signal.SIGKILL)
    return item


@pytest.mark.parametrize("n", [0, 1, 3])
def test_a_pool_returns_every_result_in_order_or_as_done(n):
    with Pool(n, square, 2) as pool:
        assert list(pool.in_order(range(50))) == [2 * i**2 for i in range(50)]
        assert sorted(pool.as_done(range(50))) == [2 * i**2 for i in range(50)]


def test_a_pool_replaces_a_process_that_was_killed_and_loses_no_item(tmp_path):
    with Pool(2, die_once, str(tmp_path / "died")) as pool:
        assert list(pool.in_order(range(20))) == list(range(20))


def test_an_item_that_kills_every_process_ends_with_an_error_not_a_hang():
    with Pool(2, die_always, None) as pool, pytest.raises(TryAgainError, match=r"item [4-9]"):
        list(pool.in_order(range(20)))


FAULTS = """
import resource, sys
import numpy as np
from photometry.processes import keep_memory
if sys.argv[1] == "keep":
    assert keep_memory()
def work():
    for _ in range(3):
        np.full(10_000_000 // 8, 1.0).sum()  # an array of 10 MB, as a target has many
work()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    work()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="mallopt is glibc's")
def test_memory_of_one_target_serves_the_next_without_page_faults():
    kept, plain = (
        int(
            subprocess.run(
                [sys.executable, "-c", FAULTS, how], check=True, capture_output=True
            ).stdout
        )
        for how in ("keep", "as it is")
    )
    pages = 20 * 10_000_000 / os.sysconf("SC_PAGESIZE")
    assert kept < 0.1 * pages
    assert kept <= plain


def test_memory_is_left_alone_where_the_environment_says_how(monkeypatch):
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "1000000")
    assert keep_memory() is False
