"""One contract, two queues: in memory and in a file. Then what only the file can do."""

import argparse
import contextlib
import multiprocessing
import os
import queue
import signal
import sqlite3
import threading
import time

import pytest
from servers import Proxy, temporary_database

from photometry.errors import TryAgainError, WrongUseError
from photometry.events import OUTCOME, Arguments, Event, SharedEventQueue, SimpleEventQueue
from photometry.events.sharedqueue import open_queue

SPAWN = multiprocessing.get_context("spawn")


def event(name, **keywords):
    return Event(name, Arguments(name=name, **keywords))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "events.sqlite"


@pytest.fixture(scope="module")
def server():
    with temporary_database("postgresql") as url:
        yield url


@pytest.fixture(params=["memory", "file", "postgresql"])
def events(request, path):
    if request.param == "memory":
        made = SimpleEventQueue()
    elif request.param == "file":
        made = SharedEventQueue(path)
    else:
        made = SharedEventQueue(request.getfixturevalue("server"))
        for table in ("lease_items", "lease_holders"):
            made.leases.store.do(lambda db, table=table: db.run(f"DELETE FROM {table}"))
        made.leases.resume()
    yield made
    made.close()


class TestContract:
    def test_first_in_first_out(self, events):
        for i in range(5):
            assert events.put(event("test", i=i))
        assert events.qsize() == 5
        assert events.head().args.i == 0
        assert [events.get().args.i for _ in range(5)] == [0, 1, 2, 3, 4]
        assert events.qsize() == 0
        assert events.head() is None

    def test_an_empty_queue_raises_empty_and_waits_no_longer_than_asked(self, events):
        for options in ({"block": False}, {"timeout": 0}, {"timeout": 0.05}):
            with pytest.raises(queue.Empty):
                events.get(**options)

    def test_what_is_taken_is_in_progress_until_discarded(self, events):
        for name in "abc":
            events.put(event(name))
        first = events.get()
        assert [pending.name for pending in events.get_pending()] == ["b", "c"]
        assert {id_: found.name for id_, found in events.get_in_progress().items()} == {
            first.id: "a"
        }
        assert events.discard(first.id).name == "a"
        assert events.discard(first.id) is None
        assert events.discard(events.get_pending()[0].id) is None
        assert events.qsize() == 2
        assert events.get_in_progress() == {}

    def test_re_append_moves_to_the_end_and_release_to_the_front(self, events):
        for name in "abc":
            events.put(event(name))
        a, b = events.get(), events.get()
        assert events.re_append(a.id).name == "a"
        assert events.release(b.id).name == "b"
        assert events.re_append("unknown") is events.release("unknown") is None
        again = [events.get() for _ in range(3)]
        assert [found.name for found in again] == ["b", "c", "a"]
        assert [found.attempt for found in again] == [1, 1, 2]

    def test_a_delayed_event_is_pending_but_not_taken_before_its_time(self, events):
        events.put(event("a"))
        events.re_append(events.get().id, delay=3600, error="network")
        assert events.qsize() == 1
        assert not events.is_over()
        with pytest.raises(queue.Empty):
            events.get(block=False)
        events.put(event("b"))
        events.re_append(events.get().id, delay=0.1)
        found = events.get(timeout=600)
        assert (found.name, found.attempt) == ("b", 2)
        (waiting,) = events.get_pending()
        assert (waiting.name, waiting.error) == ("a", "network")

    def test_finish_adds_the_successor(self, events):
        events.put(Event("tick", Arguments(n=1), recurrent=True))
        tick = events.get()
        assert events.finish(tick.id, OUTCOME.DONE, None, tick.successor()).name == "tick"
        again = events.get()
        assert (again.name, again.args.n, again.repeats, again._recurrent) == ("tick", 1, 1, True)
        assert again.id != tick.id

    def test_a_waiting_get_wakes_up_when_an_event_comes(self, events):
        threading.Timer(0.1, events.put, [event("late")]).start()
        assert events.get(timeout=600).name == "late"

    def test_interrupt_ends_waiting(self, events):
        threading.Timer(0.1, events.interrupt).start()
        with pytest.raises(queue.Empty):
            events.get(timeout=None)

    def test_terminate_asks_those_who_take_to_end(self, events):
        assert not events.stopping
        events.terminate()
        assert events.stopping

    def test_threads_share_events_without_losing_or_doubling_any(self, events):
        taken, deadline = [], time.monotonic() + 60

        def work():
            while len(taken) < 100 and time.monotonic() < deadline:
                try:
                    found = events.get(timeout=0.3)
                except queue.Empty:
                    continue
                taken.append(found.args.i)
                events.finish(found.id)

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for i in range(100):
            events.put(event("e", i=i))
        for thread in threads:
            thread.join()
        assert sorted(taken) == list(range(100))


class TestFile:
    def test_the_queue_survives_its_process(self, path):
        first = SharedEventQueue(path)
        first.put(event("a", deep={"list": [1, None, "x"]}))
        first.close()
        second = SharedEventQueue(path)
        assert second.get().args.deep == {"list": [1, None, "x"]}
        second.close()

    def test_producer_and_consumer_meet_in_the_file(self, path):
        process = SPAWN.Process(target=put_five, args=(path,))
        process.start()
        process.join()
        consumer = open_queue(path)
        names = []
        with pytest.raises(queue.Empty):
            while True:
                names.append(consumer.get(block=False).name)
        assert names == [f"Item {i}" for i in range(5)]
        consumer.close()

    def test_event_whose_arguments_are_of_another_kind_is_refused(self, path):
        events = SharedEventQueue(path)
        with pytest.raises(
            WrongUseError, match="args is Namespace; a shared queue accepts Arguments"
        ):
            events.put(Event("next_file", argparse.Namespace(name="x")))
        events.close()

    def test_a_database_without_queue_is_left_as_it_is(self, tmp_path):
        url = f"sqlite:///{tmp_path}/none.sqlite"
        assert open_queue(url) is None
        made = SharedEventQueue(url)
        made.put(event("a"))
        found = open_queue(url)
        assert found.qsize() == 1
        made.close()
        found.close()

    def test_there_is_no_queue_where_there_is_no_file(self, path):
        assert open_queue(path) is None
        assert not path.exists()

    def test_what_is_not_json_is_refused_when_it_is_put(self, path):
        events = SharedEventQueue(path)
        with pytest.raises(WrongUseError, match="image"):
            events.put(event("a", image=object()))
        assert events.qsize() == 0
        events.close()

    def test_a_key_is_taken_once_even_after_a_restart(self, path):
        for expected in (True, False):
            events = SharedEventQueue(path)
            file_event = Event("next_file", Arguments(name="f"), key="/data/f|1|2")
            assert events.put(file_event) is expected
            if expected:
                events.finish(events.get().id)
            events.close()
        events = SharedEventQueue(path)
        assert events.forget("/data/f|1|2")
        assert events.put(Event("next_file", Arguments(name="f"), key="/data/f|1|2"))
        events.close()

    def test_closing_gives_back_what_was_not_finished(self, path):
        first, second = SharedEventQueue(path), SharedEventQueue(path)
        first.put(event("a"))
        first.get()
        first.close()
        assert second.get(timeout=600).attempt == 1
        second.close()

    def test_an_item_of_a_killed_process_comes_back_at_once(self, path):
        events = SharedEventQueue(path, lease=1000)
        events.put(event("a"))
        process = SPAWN.Process(target=take_and_hang, args=(path,))
        process.start()
        wait_for(lambda: events.counts()["running"] == 1)
        os.kill(process.pid, signal.SIGKILL)
        found = events.get(timeout=600)  # before the parent has even noticed the death
        process.join()
        assert (found.name, found.attempt) == ("a", 2)
        assert "was lost" in found.error
        events.close()

    def test_an_item_of_a_suspended_process_comes_back_and_its_late_result_does_not_count(
        self, path
    ):
        healthy = SharedEventQueue(path)
        healthy.put(event("a"))
        here, there = SPAWN.Pipe()
        process = SPAWN.Process(target=take_and_finish_when_asked, args=(path, there))
        process.start()
        taken = here.recv()
        os.kill(process.pid, signal.SIGSTOP)
        found = healthy.get(timeout=600)
        assert (found.id, found.attempt) == (taken, 2)
        os.kill(process.pid, signal.SIGCONT)
        here.send("finish")
        assert here.recv() == "refused"
        process.join()
        assert healthy.finish(found.id).name == "a"
        assert healthy.counts()["done"] == 1
        healthy.close()

    def test_a_worker_that_lost_an_item_cannot_put_it_back(self, path):
        late, other = SharedEventQueue(path), SharedEventQueue(path)
        late.put(event("a"))
        lost = late.get()
        late.release(lost.id)
        held = other.get()
        assert (
            late.re_append(lost.id, worker=lost.worker)
            is late.release(lost.id, worker=lost.worker)
            is None
        )
        assert other.re_append(held.id, worker=held.worker).name == "a"
        late.close()
        other.close()

    def test_any_name_of_a_file_can_be_a_key_and_part_of_an_error(self, path):
        events, name = SharedEventQueue(path), os.fsdecode(b"/data/\xff.fits")
        assert events.put(Event("next_file", Arguments(name=name), key=name))
        assert not events.put(Event("next_file", Arguments(name=name), key=name))
        found = events.get()
        assert found.args.name == name
        events.finish(found.id, OUTCOME.FAILED, f"{name}: no FITS")
        assert events.find("failed")[0].error == r"/data/\udcff.fits: no FITS"
        assert events.forget(name)
        events.close()

    def test_a_folder_that_cannot_be_made_is_wrong_use(self, path):
        path.touch()
        with pytest.raises(WrongUseError, match="cannot make the folder"):
            SharedEventQueue(path / "q.sqlite")

    def test_a_lease_is_renewed_while_the_worker_lives(self, path, monkeypatch):
        monkeypatch.setattr("photometry.leases.holding.EXPIRY_INTERVAL", 0.05)
        # renewed each third of it, by a thread that may wait for its turn on a loaded machine
        worker, other = SharedEventQueue(path, lease=3.0), SharedEventQueue(path)
        worker.put(event("a"))
        held = worker.get()
        with pytest.raises(queue.Empty):
            other.get(timeout=4.0)
        assert worker.finish(held.id) is not None
        worker.close()
        other.close()

    def test_an_item_that_takes_its_workers_down_has_failed_after_max_attempts(self, path):
        events = SharedEventQueue(path, max_attempts=2)
        events.put(event("a"))
        for _ in range(2):
            process = SPAWN.Process(target=take_and_die, args=(path,))
            process.start()
            process.join()
            events.release_worker(process.pid)
        assert events.counts() == {"pending": 0, "running": 0, "done": 0, "skipped": 0, "failed": 1}
        assert "was lost, the last of 2 that may be" in events.find("failed")[0].error
        assert events.requeue("failed") == 1
        assert events.get().attempt == 1
        events.close()

    def test_a_file_that_is_moved_away_is_reported_and_its_return_is_noticed(self, path):
        events = SharedEventQueue(path)
        events.put(event("a"))
        away = path.parent.with_name("away")
        path.parent.rename(away)
        with pytest.raises(TryAgainError, match="gone"):
            events.get(block=False)
        away.rename(path.parent)
        assert events.get(block=False).name == "a"
        events.close()

    def test_a_file_that_is_replaced_is_opened_again(self, path, tmp_path):
        events = SharedEventQueue(path)
        events.put(event("old"))
        other = SharedEventQueue(tmp_path / "other.sqlite")
        other.put(event("new"))
        other.close()
        os.replace(tmp_path / "other.sqlite", path)
        for ending in ("-wal", "-shm"):
            path.with_name(path.name + ending).unlink(missing_ok=True)
        assert events.get(block=False).name == "new"
        events.close()

    def test_other_files_are_refused(self, path):
        path.write_bytes(b"not a database at all, but long enough to be looked at" * 20)
        with pytest.raises(WrongUseError, match=r"events\.sqlite: not a queue"):
            SharedEventQueue(path)
        path.unlink()
        with sqlite3.connect(path) as db:
            db.execute("CREATE TABLE todolist (x)")
        db.close()
        with pytest.raises(WrongUseError, match="not a queue of events"):
            SharedEventQueue(path)

    def test_many_processes_open_a_new_file_at_the_same_moment(self, path):
        processes = [SPAWN.Process(target=put_five, args=(path,)) for _ in range(4)]
        for process in processes:
            process.start()
        for process in processes:
            process.join()
        events = SharedEventQueue(path)
        assert events.qsize() == 20
        events.close()

    def test_counts_and_workers_are_shown(self, path):
        events = SharedEventQueue(path)
        assert events.waiting_for() == "the next event"
        for name in "abcd":
            events.put(event(name))
        assert events.waiting_for() == "a worker to take 4 events"
        events.finish(events.get().id, OUTCOME.FAILED, "why")
        events.finish(events.get().id, OUTCOME.SKIPPED)
        events.finish(events.get().id)
        events.get()
        assert events.counts() == {"pending": 0, "running": 1, "done": 1, "skipped": 1, "failed": 1}
        assert events.counts(since=time.time() + 1) == {
            "pending": 0,
            "running": 1,
            "done": 0,
            "skipped": 0,
            "failed": 0,
        }
        assert [worker["pid"] for worker in events.workers()] == [os.getpid()]
        assert events.waiting_for().startswith("items in progress elsewhere: d on ")
        assert [failed.error for failed in events.find("failed")] == ["why"]
        events.close()


def test_file_of_version_1_is_taken_over(path):
    """As photometry wrote it before its queues stood on leases."""
    with sqlite3.connect(path) as db:
        db.executescript(VERSION_1)
    db.close()
    events = SharedEventQueue(path)
    assert events.counts() == {"pending": 2, "running": 0, "done": 1, "skipped": 0, "failed": 0}
    assert not events.put(Event("next_file", Arguments(name="f"), key="/data/f|1|2"))
    taken = events.get(), events.get()
    assert [(found.name, found.args.name, found.attempt) for found in taken] == [
        ("next_file", "b", 2),
        ("tick", "c", 1),
    ]
    assert taken[1]._recurrent
    events.close()
    again = SharedEventQueue(path)
    assert again.qsize() == 2
    again.close()


VERSION_1 = """
CREATE TABLE items (position INTEGER PRIMARY KEY, id TEXT, name TEXT, args TEXT, key TEXT,
    state TEXT, attempt INTEGER,
    worker TEXT, lease_until REAL, not_before REAL, recurrent INTEGER, repeats INTEGER, error TEXT,
    created REAL, taken REAL, finished REAL);
CREATE TABLE workers (id TEXT); CREATE TABLE control (stopping INTEGER);
INSERT INTO items VALUES (1, 'x1', 'next_file', '{"args": [], "kwargs": {"name": "a"}}',
    '/data/f|1|2',
    'done', 1, NULL, NULL, 0,
    0, 0, NULL, 1.0, 2.0, 3.0);
INSERT INTO items VALUES (2, 'x2', 'next_file', '{"args": [], "kwargs": {"name": "b"}}', NULL,
    'running', 1, 'w', 9.0, 0, 0, 0,
    NULL, 1.0, 2.0, NULL);
INSERT INTO items VALUES (3, 'x3', 'tick', '{"args": [], "kwargs": {"name": "c"}}', NULL,
    'pending', 0, NULL, NULL, 0, 1, 0, NULL,
    1.0, NULL, NULL);
PRAGMA application_id = 1346721361;
"""


def put_five(path):
    events = SharedEventQueue(path)
    for i in range(5):
        events.put(event(f"Item {i}"))
    events.close()


def take_and_hang(path):
    SharedEventQueue(path, lease=1000).get()
    time.sleep(1000)


def take_and_finish_when_asked(path, pipe):
    events = SharedEventQueue(path, lease=0.5)
    taken = events.get()
    pipe.send(taken.id)
    pipe.recv()
    pipe.send("refused" if events.finish(taken.id) is None else "accepted")


def take_and_die(path):
    SharedEventQueue(path).get()
    os.kill(os.getpid(), signal.SIGKILL)


def wait_for(condition, timeout=600):
    end = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


@pytest.mark.parametrize("server", ["postgresql", "mariadb"])
def test_each_event_comes_once_where_answers_of_the_server_are_lost(server):
    """What was taken as the connection broke is held by nobody: it must come again."""

    def patiently(call):
        end = time.monotonic() + 60
        while time.monotonic() < end:
            with contextlib.suppress(TryAgainError):
                return call()
        raise TimeoutError

    port = {"postgresql": 5432, "mariadb": 3306}[server]
    with temporary_database(server) as url, contextlib.closing(Proxy(port)) as proxy:
        through = url.replace(f":{port}/", f":{proxy.port}/")
        with contextlib.closing(SharedEventQueue(through)) as events:
            for i in range(30):
                events.put(event("test", i=i))
            proxy.loses_every = 3
            taken = []
            while (one := patiently(events.take)) is not None:
                taken.append(one.args.i)
                patiently(lambda one=one: events.finish(one.id))
            proxy.loses_every = None
            assert proxy.lost > 5
            assert sorted(taken) == list(range(30))
            assert patiently(events.counts)["done"] == 30
