"""Real worker processes: exactly once, killed, stopped by signals, with a queue that comes and
goes."""

import collections
import json
import os
import signal
import subprocess
import sys
import time

import pytest

from photometry.events import Arguments, Event, Framework, SharedEventQueue, startup
from photometry.events.startup import WorkerPool, run

STANDALONE = """
import sys
from photometry.events import ConfigClass, Framework
config = ConfigClass(**eval(sys.argv[2]))
framework = Framework(sys.argv[1], config)
import atexit; atexit.register(print, "atexit ran")
try:
    framework.start(continuous="continuous" in sys.argv)
finally:
    print("finally ran", flush=True)
"""


@pytest.fixture
def shared(config, tmp_path):
    """A configuration with a queue in a file, and that queue."""
    config.queue_file = str(tmp_path / "queue" / "events.sqlite")
    config.lease_time = 20
    queue = SharedEventQueue(config.queue_file)
    yield config, queue
    queue.close()


def fill(queue, event, number, **keywords):
    for i in range(number):
        queue.put(Event(event, Arguments(name=str(i), **keywords)))


@pytest.fixture
def start(pipeline_file, config):
    """Start a worker of its own, as a user's script does; it is gone after the test."""
    started = []

    def start(*words):
        values = repr(
            {key: value for key, value in config.properties.items() if key != "no_event_event"}
        )
        command = [sys.executable, "-c", STANDALONE, pipeline_file, values, *words]
        started.append(
            subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        )
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def wait_for(condition, timeout=600):
    end = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


@pytest.mark.slow
def test_400_items_on_4_workers_are_each_handled_exactly_once(pipeline_file, shared, notes):
    config, queue = shared
    fill(queue, "slow", 400, seconds=0.005)
    assert WorkerPool(pipeline_file, config, 4).run() == 0
    assert collections.Counter(note[:2] for note in notes()) == {
        (step, str(i)): 1 for i in range(400) for step in ("slow", "second")
    }
    assert len({pid for _, _, pid in notes()}) > 1
    assert queue.counts() == {"pending": 0, "running": 0, "done": 400, "skipped": 0, "failed": 0}
    assert queue.workers() == []


@pytest.mark.slow
def test_a_killed_worker_of_a_pool_loses_nothing_and_is_replaced(pipeline_file, shared, notes):
    config, queue = shared
    fill(queue, "kill_once", 4)
    assert WorkerPool(pipeline_file, config, 2).run() == 0
    assert queue.counts()["done"] == 4
    assert collections.Counter(note[:2] for note in notes()) == {
        **{("kill_once", str(i)): 2 for i in range(4)},
        **{("second", str(i)): 1 for i in range(4)},
    }


def test_an_item_that_kills_every_worker_has_failed_and_the_others_are_done(
    pipeline_file, shared, notes
):
    config, queue = shared
    config.max_attempts = 2
    queue.put(Event("kill", Arguments(name="deadly")))
    fill(queue, "next_file", 5)
    assert WorkerPool(pipeline_file, config, 1).run() == 1
    counts = queue.counts()
    assert (counts["done"], counts["failed"]) == (5, 1)
    assert [note[:2] for note in notes()].count(("kill", "deadly")) == 2


def test_independent_workers_take_over_from_a_killed_one(start, shared, notes):
    _, queue = shared
    queue.put(Event("slow", Arguments(name="held", seconds=1000)))
    victim = start()
    wait_for(lambda: len(notes()) == 1)
    fill(queue, "next_file", 3)
    survivor = start()
    wait_for(lambda: len(notes()) == 7)
    assert survivor.poll() is None, "it must wait for what another one holds"
    # else the second attempt takes as long as the first
    shorten = "UPDATE lease_items SET payload=replace(payload, '1000', '0')"
    assert queue.leases.store.do(lambda db: db.run(shorten)) == 4
    victim.kill()
    victim.communicate()
    out, _ = survivor.communicate(timeout=600)
    assert survivor.returncode == 0
    assert out.split("\n")[:2] == ["finally ran", "atexit ran"]
    assert [note[:2] for note in notes()].count(("slow", "held")) == 2
    assert queue.counts() == {"pending": 0, "running": 0, "done": 4, "skipped": 0, "failed": 0}


def test_the_queue_may_go_and_come_back(start, shared, notes, tmp_path):
    config, queue = shared
    config.queue_patience = 60
    worker = start("continuous")
    fill(queue, "next_file", 3)
    wait_for(lambda: queue.counts()["done"] == 3)
    (tmp_path / "queue").rename(tmp_path / "away")
    time.sleep(0.7)
    assert worker.poll() is None
    (tmp_path / "away").rename(tmp_path / "queue")
    queue.put(Event("next_file", Arguments(name="after")))
    wait_for(lambda: queue.counts()["done"] == 4)
    worker.terminate()
    worker.communicate()
    assert worker.returncode == 0
    assert len(notes()) == 8


def test_a_queue_that_stays_away_ends_a_worker_with_status_3(start, shared, tmp_path):
    config, queue = shared
    config.queue_patience = 0.5
    worker = start("continuous")
    fill(queue, "next_file", 1)
    wait_for(lambda: queue.counts()["done"] == 1)
    queue.close()
    (tmp_path / "queue").rename(tmp_path / "away")
    _, err = worker.communicate(timeout=600)
    assert worker.returncode == 3
    assert "the queue is gone" in err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_drains_a_worker(start, shared, notes, number):
    _, queue = shared
    fill(queue, "slow", 2, seconds=0.3)
    worker = start()
    wait_for(lambda: len(notes()) == 1)
    worker.send_signal(number)
    out, _ = worker.communicate(timeout=600)
    assert worker.returncode == 3
    assert "finally ran\natexit ran" in out
    assert [note[:2] for note in notes()] == [("slow", "0"), ("second", "0")]
    assert queue.counts() == {"pending": 1, "running": 0, "done": 1, "skipped": 0, "failed": 0}


def test_a_signal_drains_a_pool_and_a_grace_period_ends_what_does_not(
    pipeline_file, shared, notes, tmp_path
):
    config, queue = shared
    config_file = tmp_path / "pool.cfg"
    config_file.write_text(
        f"[DEFAULT]\nqueue_file = {config.queue_file!r}\noutput_directory = "
        f"{config.output_directory!r}\n"
        "event_timeout = 0.02\nstop_grace = 1\n"
    )
    queue.put(Event("slow", Arguments(name="short", seconds=0.8)))
    queue.put(Event("slow", Arguments(name="long", seconds=1000)))
    queue.put(Event("slow", Arguments(name="later", seconds=0)))
    command = [
        sys.executable,
        "-m",
        "photometry",
        "events",
        "run",
        pipeline_file,
        "-c",
        str(config_file),
        "--ncpus",
        "2",
    ]
    pool = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    wait_for(lambda: len(notes()) == 2)
    pool.send_signal(signal.SIGINT)
    pool.communicate(timeout=600)
    assert pool.returncode == 3
    assert queue.counts() == {"pending": 2, "running": 0, "done": 1, "skipped": 0, "failed": 0}


def test_an_item_beyond_its_time_limit_has_failed_and_the_others_are_done(pipeline_file, shared):
    config, queue = shared
    config.item_time_limit = 1
    queue.put(Event("slow", Arguments(name="endless", seconds=1000)))
    fill(queue, "next_file", 3)
    assert WorkerPool(pipeline_file, config, 1).run() == 1
    assert queue.counts() == {"pending": 0, "running": 0, "done": 3, "skipped": 0, "failed": 1}
    assert queue.find("failed")[0].error == "took longer than item_time_limit=1 s"


def test_workers_are_replaced_after_max_items(pipeline_file, shared, notes):
    config, queue = shared
    config.max_items_per_worker = 2
    fill(queue, "next_file", 4)
    assert WorkerPool(pipeline_file, config, 1).run() == 0
    assert [number for _, number in collections.Counter(pid for _, _, pid in notes()).items()] == [
        4,
        4,
    ]


@pytest.mark.slow
def test_failures_of_an_earlier_run_do_not_spoil_the_status_of_this_one(pipeline_file, shared):
    config, queue = shared
    fill(queue, "boom", 2)
    assert WorkerPool(pipeline_file, config, 2).run() == 1
    assert [event.error for event in queue.find("failed")] == ["ValueError: no such star"] * 2
    fill(queue, "next_file", 2)
    assert WorkerPool(pipeline_file, config, 2).run() == 0


def test_stop_ends_all_workers_and_start_lets_them_work_again(pipeline_file, start, shared, notes):
    config, queue = shared
    fill(queue, "slow", 3, seconds=0.3)
    worker = start()
    wait_for(lambda: len(notes()) == 1)
    queue.terminate()
    worker.communicate(timeout=600)
    assert worker.returncode == 3
    assert queue.counts()["done"] == 1
    queue.resume()
    assert Framework(pipeline_file, config).main_loop() == 0
    assert queue.counts()["done"] == 3


def test_the_ledger_survives_a_restart(pipeline_file, shared, notes, make_fits, tmp_path):
    config, _ = shared
    data = tmp_path / "data"
    paths = [make_fits(f"{i}.fits", folder=data) for i in range(3)]
    assert run(pipeline_file, config, directory=str(data)) == 0
    assert run(pipeline_file, config, directory=str(data)) == 0
    assert len(notes()) == 6
    os.utime(paths[0], (1, 1))
    assert run(pipeline_file, config, directory=str(data)) == 0
    assert [note[:2] for note in notes()[6:]] == [("first", paths[0]), ("second", paths[0])]
    assert run(pipeline_file, config, directory=str(data), clobber=True) == 0
    assert len(notes()) == 14


def test_a_worker_whose_pipeline_is_wrong_ends_the_pool_with_status_2(tmp_path, shared):
    config, queue = shared
    path = tmp_path / "wrong_of_test.py"
    path.write_text("event_table = {'next_file': ('missing', None, None)}\n")
    fill(queue, "next_file", 1)
    assert WorkerPool(str(path), config, 2).run() == 2


@pytest.mark.slow
def test_workers_that_die_without_having_taken_anything_are_not_replaced_for_ever(
    tmp_path, shared, monkeypatch
):
    monkeypatch.setattr(startup, "MAX_CRASHES", 3)
    config, queue = shared
    path = tmp_path / "dying_of_test.py"
    path.write_text("import os\nos._exit(1)\n")
    fill(queue, "next_file", 1)
    assert WorkerPool(str(path), config, 2).run() == 1
    assert queue.counts()["pending"] == 1


def test_the_arguments_in_the_file_are_json(shared):
    config, queue = shared
    fill(queue, "next_file", 1, seconds=3)
    import sqlite3

    db = sqlite3.connect(config.queue_file)
    (payload,) = db.execute("SELECT payload FROM lease_items").fetchone()
    assert json.loads(payload)["args"] == {"args": [], "kwargs": {"name": "0", "seconds": 3}}
    db.close()
