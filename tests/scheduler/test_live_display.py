"""What people see of a run while it goes on."""

import fcntl
import heapq
import os
import pty
import random
import re
import struct
import subprocess
import sys
import termios
import threading

import pytest
from running import environment

from photometry import TaskManager
from photometry.scheduler.reporting import Forecast
from photometry.taskmanager import create_todo

N_TASKS = 24


def watched(words, columns=150):
    """What a terminal shows of a command from beginning to end, as text; and its exit code."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    env = environment() | {"FAULTY_WORK_SECONDS": "0.35", "TERM": "xterm"}
    process = subprocess.Popen(words, stdin=theirs, stdout=theirs, stderr=theirs, env=env)
    os.close(theirs)
    pieces = []

    def read():
        try:
            while piece := os.read(ours, 65536):
                pieces.append(piece)
        except OSError:  # the other end is closed
            pass

    reader = threading.Thread(target=read)
    reader.start()
    code = process.wait(600)
    reader.join(10)
    os.close(ours)
    text = b"".join(pieces).decode("utf-8", "replace")
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text), code


@pytest.fixture
def folder(tmp_path):
    images = {"sector": 1, "camera": 1, "ccd": 1, "cadence": 120, "datasource": "tpf"}
    rows = [
        {"starid": number, "tmag": number / 10, "cbv_area": 111, **images}
        for number in range(1, N_TASKS + 1)
    ]
    create_todo(tmp_path / "todo.sqlite", rows)
    with TaskManager(tmp_path) as tm:
        tm.conn.execute("UPDATE todolist SET method = 'bug' WHERE priority IN (3, 5, 7)")
        tm.conn.commit()
    return tmp_path


def command(folder, *words):
    handler = ("--handler", "faulty_work:work")
    return [sys.executable, "-m", "photometry", "run", str(folder), *handler, *words]


@pytest.mark.slow
@pytest.mark.parametrize("launch", ["processes", pytest.param("mpi", marks=pytest.mark.mpi)])
def test_a_terminal_shows_what_each_worker_does_the_causes_and_the_time_left(folder, launch):
    words = command(folder, "--workers", "2")
    if launch == "mpi":
        words = ["mpiexec", "-n", "3", *command(folder)]
    text, code = watched(words)
    assert code == 1
    assert re.search(rf"\d+ of {N_TASKS} tasks, [123] failed", text)
    for worker in (1, 2):
        assert re.search(rf"worker {worker} +TIC \d+  \d+ s", text)
    assert re.search(r"[123] failed  \w+: ", text)
    assert re.search(r"\d:\d\d:\d\d to \d:\d\d:\d\d left, \d:\d\d:\d\d elapsed", text)


@pytest.mark.slow
def test_a_terminal_stays_as_it_is_where_quiet_was_asked_for(folder):
    text, code = watched(command(folder, "--workers", "2", "--quiet"))
    assert code == 1
    assert "elapsed" not in text
    assert "worker" not in text


@pytest.mark.slow
def test_a_log_file_gets_no_display(folder):
    env = environment() | {"FAULTY_WORK_SECONDS": "0.1"}
    done = subprocess.run(
        command(folder, "--workers", "2"), capture_output=True, text=True, env=env, timeout=600
    )
    assert done.returncode == 1
    assert "elapsed" not in done.stdout + done.stderr
    assert "\x1b" not in done.stdout + done.stderr


@pytest.mark.parametrize("n_workers", [1, 8])
def test_the_range_of_the_time_left_holds_the_truth_nearly_always(n_workers):
    n_tasks, rng, held = 1000, random.Random(n_workers), 0
    for _ in range(200):
        free, ends = [0.0] * n_workers, []  # whoever is free first takes the next task
        for _ in range(n_tasks):
            ends.append(heapq.heapreplace(free, free[0] + rng.expovariate(1.0)))
        ends = sorted([*ends, *free])[n_workers:]
        forecast = Forecast(0.0)
        asked = rng.randrange(n_tasks // 10, 3 * n_tasks // 4)
        for done, end in enumerate(ends[:asked], 1):
            forecast.note(end, done)
        least, most = forecast.remaining(n_tasks - asked)
        held += least <= ends[-1] - ends[asked - 1] <= most
    assert held > 0.9 * 200


def test_the_time_left_is_unknown_before_some_tasks_are_done():
    forecast = Forecast(0.0)
    forecast.note(5.0, 3)
    assert forecast.remaining(100) is None


def test_the_range_holds_both_rates_where_a_run_becomes_slower():
    forecast = Forecast(0.0)
    for second in range(1, 61):
        forecast.note(second, 100 * min(second, 30) + 10 * max(second - 30, 0))
    least, most = forecast.remaining(1000)
    assert least < 1000 / (3300 / 60) < 1000 / 10 < most
