"""One contract for items with a lease, over SQLite by itself, SQLite through SQLAlchemy, PostgreSQL
and MariaDB."""

import concurrent.futures
import multiprocessing
import os
import signal
import sqlite3
import time

import pytest
from servers import temporary_database

from photometry.errors import ArgumentError, TryAgainError, WrongUseError
from photometry.leases import Holder, Leases, backoff
from photometry.processes import ProcessId

LONG = 3600.0
SHORT = 0.6
fork = multiprocessing.get_context("fork")


@pytest.fixture(scope="module", params=["file", "sqlite", "postgresql", "mariadb"])
def server(request, tmp_path_factory):
    if request.param in ("file", "sqlite"):
        path = tmp_path_factory.mktemp("leases") / "leases.sqlite"
        if request.param == "sqlite":
            pytest.importorskip("sqlalchemy")
        yield f"sqlite:///{path}" if request.param == "sqlite" else str(path)
    else:
        with temporary_database(request.param) as url:
            yield url


@pytest.fixture
def database(server):
    """An empty database of leases."""
    with Leases(server) as leases:
        for table in ("lease_items", "lease_holders"):
            leases.store.do(lambda db, table=table: db.run(f"DELETE FROM {table}"))
        leases.resume()
    return server


@pytest.fixture
def leases(database):
    with Leases(database, lease=LONG) as leases:
        yield leases


@pytest.fixture
def child(database):
    """Start a function in a process; it is killed at the end."""
    started = []

    def start(function, *arguments):
        process = fork.Process(target=function, args=(database, *arguments))
        process.start()
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.join()


def wait_until(condition, limit=60):
    deadline = time.monotonic() + limit
    while not (value := condition()):
        assert time.monotonic() < deadline, "waited for too long"
        time.sleep(0.02)
    return value


def payloads(items):
    return [item.payload for item in items]


class TestTaking:
    def test_items_come_by_priority_then_in_the_order_of_putting(self, leases):
        for number, priority in enumerate([5, 0, 5, -1, 0]):
            leases.put("a", number, priority=priority)
        assert payloads(leases.take("a", 10)) == [3, 1, 4, 0, 2]

    def test_one_look_takes_from_several_kinds_and_leaves_the_others(self, leases):
        for number, kind in enumerate("abcab"):
            leases.put(kind, number)
        assert payloads(leases.take(["a", "b"], 3)) == [0, 1, 3]
        assert payloads(leases.take(["b", "x"])) == [4]
        assert leases.take(["a", "b"]) == []
        assert payloads(leases.take("c")) == [2]

    def test_taken_item_says_who_holds_it_and_until_when(self, leases):
        leases.put("a", {"file": "x.fits"})
        (item,) = leases.take("a")
        assert item.state == "running"
        assert item.attempt == 1
        assert item.holder.split(":")[1] == str(os.getpid())
        assert item.lease_until - item.taken == pytest.approx(LONG, abs=1)
        assert [holder["id"] for holder in leases.holders()] == [item.holder]

    def test_payload_comes_back_as_it_went_in(self, leases):
        payload = {
            "name": "é\u2028\U0001f52d",
            "values": [1, 2.5, None, True],
            "long": "x" * 100_000,
        }
        leases.put("a", payload)
        assert leases.take("a")[0].payload == payload

    def test_kind_accepts_a_key_once_also_when_it_is_done(self, leases):
        assert leases.put("a", 1, key="file")
        assert leases.put("a", 2, key="file") is None
        assert leases.put("b", 3, key="file")
        leases.finish(leases.take("a")[0].id)
        assert leases.put("a", 4, key="file") is None
        assert leases.forget("a", "file")
        assert leases.put("a", 5, key="file")
        assert not leases.forget("a", "file"), "it is pending"

    def test_long_keys_that_differ_at_their_end_are_two(self, leases):
        assert leases.put("a", 1, key="x" * 5000 + "1")
        assert leases.put("a", 2, key="x" * 5000 + "2")
        assert leases.put("a", 3, key="x" * 5000 + "2") is None

    def test_delayed_item_waits_until_it_is_ripe(self, leases):
        assert leases.next_ripe("a") is None
        leases.put("a", 1, delay=LONG)
        assert leases.take("a") == []
        assert LONG - 60 < leases.next_ripe("a") <= LONG
        leases.put("a", 2, delay=0.2)
        assert payloads(wait_until(lambda: leases.take("a"))) == [2]
        assert leases.counts()["delayed"] == 1

    def test_thousands_that_are_ripe_at_once_all_come(self, leases):
        leases.put_many([{"kind": "a", "payload": i, "delay": 0.01} for i in range(1500)])
        wait_until(lambda: leases.next_ripe("a") == 0)
        time.sleep(0.02)
        taken = []
        wait_until(lambda: taken.extend(leases.take("a", 400)) or len(taken) == 1500)
        assert sorted(payloads(taken)) == list(range(1500))


def take_all(database, total, results):
    """Take one by one until everything is finished, by whomever."""
    done = []
    with Leases(database, lease=LONG) as leases:
        while sum(leases.counts()[state] for state in ("pending", "running")):
            for item in leases.take(["a", "b"], 2):
                done.append(item.payload)
                assert leases.finish(item.id) is not None
    results.put(done)


def hold(database, lease, taken, go_on=None):
    """Take one item, say so, and hold it; finish it when asked to."""
    leases = Leases(database, lease=lease)
    (item,) = leases.take("a")
    taken.put(item.id)
    if go_on is None:
        time.sleep(LONG)
    go_on.wait()
    taken.put(leases.finish(item.id) is not None)


class TestManyProcesses:
    def test_threads_of_one_holder_take_each_item_once(self, leases):
        leases.put_many([{"kind": "a", "payload": i} for i in range(60)])
        taken = []

        def take():
            while items := leases.take("a"):
                taken.append(items[0].payload)
                leases.finish(items[0].id)

        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            for thread in [pool.submit(take) for _ in range(4)]:
                thread.result()
        assert sorted(taken) == list(range(60))

    def test_each_item_is_taken_exactly_once(self, database, leases, child):
        leases.put_many([{"kind": "ab"[i % 2], "payload": i} for i in range(300)])
        results = fork.Queue()
        for _ in range(4):
            child(take_all, 300, results)
        taken = [number for _ in range(4) for number in results.get(timeout=600)]
        assert sorted(taken) == list(range(300))
        assert leases.counts()["done"] == 300
        assert leases.find("done")[0].attempt == 1

    def test_tables_are_made_once_by_many_that_start_at_once(self, tmp_path, server):
        if "sqlite" not in server:
            with Leases(server) as leases:
                for table in ("lease_control", "lease_holders", "lease_items"):
                    leases.store.do(lambda db, table=table: db.run(f"DROP TABLE {table}"))
            database = server
        else:
            database = server.replace("leases.sqlite", "at_once.sqlite")
        results = fork.Queue()
        starters = [fork.Process(target=put_one, args=(database, results)) for _ in range(4)]
        try:
            for process in starters:
                process.start()
            assert [results.get(timeout=600) for _ in starters] == ["put"] * 4
        finally:
            for process in starters:
                process.kill()
                process.join()

    def test_killed_holder_gives_its_item_back_at_once(self, leases, child):
        leases.put("a", 1)
        taken = fork.Queue()
        process = child(hold, LONG, taken)
        id = taken.get(timeout=600)
        assert leases.take("a") == []
        process.kill()
        process.join()
        assert len(leases.expire()) == 1
        (item,) = leases.take("a")
        assert (item.id, item.attempt) == (id, 2)

    def test_item_that_kills_its_holders_has_failed_after_max_attempts(self, leases, child):
        leases.put("a", 1, max_attempts=2)
        for _ in range(2):
            taken = fork.Queue()
            process = child(hold, LONG, taken)
            taken.get(timeout=600)
            process.kill()
            process.join()
            leases.expire()
        (item,) = leases.find("failed")
        assert item.attempt == 2
        assert "was lost" in item.error
        assert leases.is_over()

    def test_item_of_a_silent_process_is_given_to_another_whose_result_counts(
        self, database, child
    ):
        with Leases(database, lease=SHORT) as leases:
            leases.put("a", 1)
            taken, go_on = fork.Queue(), fork.Event()
            process = child(hold, SHORT, taken, go_on)
            id = taken.get(timeout=600)
            os.kill(process.pid, signal.SIGSTOP)
            (item,) = wait_until(lambda: leases.expire() and leases.take("a"))
            assert item.id == id
            os.kill(process.pid, signal.SIGCONT)
            go_on.set()
            assert taken.get(timeout=600) is False
            assert leases.finish(item.id).attempt == 2

    def test_clock_that_is_set_makes_nobody_lost(self, database, child):
        """A step of the clock shows as leases that ended long ago; their holders still renew
        them."""
        with Leases(database, lease=SHORT) as leases:
            leases.put("a", 1)
            taken = fork.Queue()
            child(hold, SHORT, taken)
            taken.get(timeout=600)
            deadline = time.monotonic() + 3 * SHORT
            while time.monotonic() < deadline:
                leases.store.do(
                    lambda db: db.run(
                        "UPDATE lease_holders SET seen=seen-1e6, lease_until=lease_until-1e6"
                    )
                )
                assert leases.expire() == []
                time.sleep(0.05)
            assert leases.counts()["running"] == 1

    def test_process_of_another_host_is_lost_when_its_lease_ends_not_before(self, database):
        here = ProcessId.of()
        elsewhere = Holder("elsewhere", ProcessId(2**22 + 1, here.started, "another boot"), "abc")
        with (
            Leases(database, lease=SHORT) as leases,
            Leases(database, lease=SHORT, holder=elsewhere) as other,
        ):
            leases.put("a", 1)
            other.take("a")
            for _ in range(8):
                other.renew()
                time.sleep(SHORT / 4)
                assert leases.expire() == []
            assert wait_until(leases.expire) == [elsewhere.name]
            assert leases.counts()["pending"] == 1

    def test_child_process_takes_by_its_own_name(self, leases):
        leases.put_many([{"kind": "a", "payload": i} for i in range(2)])
        mine = leases.take("a")[0].holder
        answer = fork.Queue()
        process = fork.Process(target=lambda: answer.put(leases.take("a")[0].holder))
        process.start()
        try:
            assert answer.get(timeout=600) != mine
        finally:
            process.kill()
            process.join()
        assert leases.counts()["running"] == 2


def put_one(database, results):
    with Leases(database) as leases:
        results.put("put" if leases.put("a", 1) else "known")


class TestFinishing:
    def test_result_and_error_stay(self, leases):
        leases.put("a", 1)
        leases.finish(leases.take("a")[0].id, "failed", "no flux")
        (item,) = leases.find("failed")
        assert item.error == "no flux"
        assert item.holder is None
        assert item.finished >= item.taken

    def test_finished_item_is_not_finished_again(self, leases):
        leases.put("a", 1)
        (item,) = leases.take("a")
        assert leases.finish(item.id).state == "done"
        assert leases.finish(item.id, "failed") is None
        assert leases.counts()["done"] == 1

    def test_item_of_another_holder_is_finished_only_by_anyone(self, database, leases):
        leases.put("a", 1)
        (item,) = leases.take("a")
        with Leases(database) as other:
            assert other.finish(item.id) is None
            assert other.retry(item.id) is None
            assert other.release(item.id) is None
            assert other.finish(item.id, anyone=True) is not None

    def test_retry_goes_to_the_end_and_counts(self, leases):
        for number in range(2):
            leases.put("a", number)
        first = leases.take("a")[0]
        assert leases.retry(first.id, delay=0, error="disk full").state == "pending"
        assert [(item.payload, item.attempt) for item in leases.take("a", 2)] == [(1, 1), (0, 2)]

    def test_retry_waits_ever_longer_and_ends(self, database):
        with Leases(database, max_attempts=3) as leases:
            id = leases.put("a", 1)
            for expected in (5.0, 10.0):
                leases.take("a")
                item = leases.retry(id)
                assert item.state == "delayed"
                assert leases.next_ripe("a") == pytest.approx(expected, abs=4)
                leases.store.do(lambda db: db.run("UPDATE lease_items SET not_before=1"))
            leases.take("a")
            assert leases.retry(id, error="again").state == "failed"
        assert [backoff(n) for n in (1, 2, 3, 100)] == [5, 10, 20, 3600]

    def test_released_item_is_as_if_it_had_never_been_taken(self, leases):
        for number in range(2):
            leases.put("a", number)
        leases.release(leases.take("a")[0].id)
        assert [(item.payload, item.attempt) for item in leases.take("a", 2)] == [(0, 1), (1, 1)]

    def test_closing_releases_what_is_held(self, database):
        with Leases(database) as leases:
            leases.put("a", 1)
            leases.take("a")
        with Leases(database) as leases:
            assert leases.counts()["pending"] == 1
            assert leases.holders() == []
            assert leases.take("a")[0].attempt == 1

    def test_cancelled_items_are_not_taken_and_their_results_refused(self, leases):
        ids = leases.put_many([{"kind": "a", "payload": i} for i in range(3)])
        (item,) = leases.take("a")
        assert leases.cancel(ids[:2]) == 2
        assert leases.finish(item.id) is None
        assert payloads(leases.take("a", 5)) == [2]
        assert leases.counts()["cancelled"] == 2
        assert leases.cancel(ids[0]) == 0

    def test_requeued_items_have_all_their_attempts(self, leases):
        ids = leases.put_many([{"kind": "ab"[i % 2], "payload": i} for i in range(4)])
        for item in leases.take(["a", "b"], 4):
            leases.finish(item.id, "failed")
        assert leases.requeue("failed", kinds="b") == 2
        assert leases.requeue("failed", ids=ids[0]) == 1
        assert sorted((item.payload, item.attempt) for item in leases.take(["a", "b"], 4)) == [
            (0, 1),
            (1, 1),
            (3, 1),
        ]

    def test_removed_item_leaves_no_row(self, leases):
        id = leases.put("a", 1)
        leases.take("a")
        assert leases.finish(id, remove=True).id == id
        assert leases.get(id) is None

    def test_words_that_are_no_outcome_are_refused(self, leases):
        with pytest.raises(ArgumentError, match="outcome='good': expected one of done"):
            leases.finish("x", "good")
        with pytest.raises(ArgumentError, match="running"):
            leases.requeue("running")


class TestLooking:
    def test_counts_are_by_kind_and_since(self, leases):
        leases.put_many([{"kind": "ab"[i % 2], "payload": i} for i in range(4)])
        leases.finish(leases.take("a")[0].id)
        assert leases.counts()["pending"] == 3
        assert leases.counts(kinds="a")["done"] == 1
        assert leases.counts_by_kind()["b"]["pending"] == 2
        assert leases.counts(since=time.time() + 1e6)["done"] == 0

    def test_first_is_what_would_be_taken(self, leases):
        assert leases.first("a") is None
        leases.put("a", 1, priority=3)
        leases.put("a", 2)
        assert leases.first("a").payload == 2
        assert leases.counts()["running"] == 0

    def test_stop_is_seen_by_others_until_it_is_taken_back(self, database, leases):
        with Leases(database) as other:
            assert not other.stopping
            leases.stop()
            assert other.stopping
            assert leases.stopping
            leases.resume()
            assert not other.stopping


@pytest.mark.parametrize("server", ["sqlite", "postgresql", "mariadb"], indirect=True)
class TestTransactionOfTheCaller:
    @pytest.fixture
    def engine(self, database):
        sqlalchemy = pytest.importorskip("sqlalchemy")
        engine = sqlalchemy.create_engine(database)
        with engine.begin() as connection:
            connection.exec_driver_sql(
                "CREATE TABLE attempts (id INTEGER PRIMARY KEY, worker VARCHAR(99))"
            )
        yield engine
        with engine.begin() as connection:
            connection.exec_driver_sql("DROP TABLE attempts")
        engine.dispose()

    def rows(self, engine):
        with engine.connect() as connection:
            return connection.exec_driver_sql("SELECT id, worker FROM attempts").fetchall()

    def test_rolled_back_put_and_row_are_both_gone(self, engine, leases):
        with pytest.raises(ZeroDivisionError), engine.begin() as connection:
            connection.exec_driver_sql("INSERT INTO attempts VALUES (7, NULL)")
            leases.put("a", 7, id=7, connection=connection)
            raise ZeroDivisionError
        assert self.rows(engine) == []
        assert leases.take("a") == []

    def test_committed_claim_and_row_are_both_there(self, engine, leases):
        with engine.begin() as connection:
            connection.exec_driver_sql("INSERT INTO attempts VALUES (7, NULL)")
            leases.put("a", 7, id=7, connection=connection)
        with engine.begin() as connection:
            (item,) = leases.take("a", connection=connection)
            connection.exec_driver_sql(
                f"UPDATE attempts SET worker='{item.holder}' WHERE id={item.id}"
            )
        assert self.rows(engine) == [(7, item.holder)]
        with pytest.raises(ZeroDivisionError), engine.begin() as connection:
            leases.finish(item.id, connection=connection)
            raise ZeroDivisionError
        assert leases.get("7").state == "running"


class TestThreads:
    """What another thread does through the same object while one looks is not overlooked."""

    def test_item_put_during_a_look_is_taken_next(self, tmp_path, monkeypatch):
        with Leases(tmp_path / "a.sqlite") as leases:
            look = leases.next_ripe

            def put_after_looking(kinds):
                ripe = look(kinds)
                leases.put("a", 1)
                return ripe

            monkeypatch.setattr(leases, "next_ripe", put_after_looking)
            assert leases.take("a") == []
            monkeypatch.undo()
            assert payloads(leases.take("a")) == [1]

    def test_stop_during_a_look_is_seen_next(self, tmp_path, monkeypatch):
        with Leases(tmp_path / "a.sqlite") as leases:
            read = leases._read

            def stop_after_reading(look, connection):
                value = read(look, connection)
                leases.stop()
                return value

            monkeypatch.setattr(leases, "_read", stop_after_reading)
            assert not leases.stopping
            monkeypatch.undo()
            assert leases.stopping


class TestCost:
    def test_look_with_nothing_to_do_does_not_grow_with_the_rows(self, tmp_path):
        """Counted in steps of SQLite's machine, which depend on no load."""

        def steps(n):
            with Leases(tmp_path / f"{n}.sqlite", lease=LONG) as leases:
                rows = [{"kind": "other", "payload": 1}] * n + [
                    {"kind": "a", "payload": 1, "delay": LONG}
                ] * n
                leases.put_many(rows)
                for item in leases.take("other", n // 2):
                    leases.finish(item.id)
                counted = []
                with leases.store.reading() as db:
                    db.raw.set_progress_handler(lambda: counted.append(1) and None, 1)
                assert leases.take(["a", "b", "c"]) == []
                with leases.store.reading() as db:
                    db.raw.set_progress_handler(None, 1)
                return len(counted)

        assert steps(4000) < 1.2 * steps(40) + 50

    @pytest.mark.parametrize("server", ["postgresql"], indirect=True)
    def test_server_looks_through_the_index(self, leases):
        leases.put_many([{"kind": kind, "payload": 1} for kind in ["a", "b"] * 1500])
        done = "UPDATE lease_items SET state='done' WHERE kind='a'"
        leases.store.do(lambda db: db.run(done))
        leases.store.do(lambda db: db.run("ANALYZE lease_items"))
        sql = (
            "SELECT position FROM lease_items WHERE state='pending' AND kind='a' ORDER BY "
            "priority, position LIMIT 1"
        )
        plan = leases.store.do(lambda db: [row["QUERY PLAN"] for row in db.rows(f"EXPLAIN {sql}")])
        assert any("lease_order" in line for line in plan)
        assert not any("Seq Scan" in line for line in plan)


class TestWrongDatabases:
    def test_text_file_is_refused(self, tmp_path):
        (tmp_path / "x.sqlite").write_text(
            "not a database, but long enough to be taken for one" * 20
        )
        with pytest.raises(WrongUseError, match=r"x\.sqlite: not a queue, or damaged"):
            Leases(tmp_path / "x.sqlite")

    def test_foreign_tables_are_refused_and_left_alone(self, tmp_path):
        path = tmp_path / "todo.sqlite"
        with sqlite3.connect(path) as db:
            db.execute("CREATE TABLE todolist (priority)")
        db.close()
        with pytest.raises(WrongUseError, match="an SQLite file, but not a queue"):
            Leases(path)
        with sqlite3.connect(path) as db:
            assert db.execute("SELECT name FROM sqlite_master").fetchall() == [("todolist",)]
        db.close()

    def test_newer_version_is_refused(self, leases, database):
        change = "UPDATE lease_control SET value={} WHERE name='version'"
        leases.store.do(lambda db: db.run(change.format(99)))
        try:
            with pytest.raises(WrongUseError, match="version 99, newer than this program"):
                Leases(database)
        finally:
            leases.store.do(lambda db: db.run(change.format(1)))

    def test_file_that_is_gone_or_replaced_is_noticed(self, tmp_path):
        path = tmp_path / "x.sqlite"
        with pytest.raises(TryAgainError, match="there is no such queue"):
            Leases(path, create=False)
        with Leases(path) as leases:
            leases.put("a", 1)
            for part in tmp_path.iterdir():
                part.unlink()
            with pytest.raises(TryAgainError, match="the queue is gone"):
                leases.take("a")
            Leases(path).close()
            assert leases.take("a") == []

    @pytest.mark.parametrize("url", ["nonsense://host/x", "oracle://host/x"])
    def test_databases_of_other_kinds_are_refused(self, url):
        pytest.importorskip("sqlalchemy")
        with pytest.raises(WrongUseError, match="database"):
            Leases(url)
