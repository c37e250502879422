"""Rows, results and looks at files, for the tests of the TODO-file."""

import contextlib
import json
import sqlite3

from photometry import STATUS


def make_row(starid, **changes):
    row = dict(
        starid=starid,
        sector=1,
        datasource="ffi",
        camera=1,
        ccd=1,
        cadence=1800,
        tmag=10.0,
        cbv_area=111,
    )
    return row | {"method": None} | changes


def make_rows(n=12):
    """Targets ever fainter, on four cameras in turn."""
    return [make_row(100 + i, camera=1 + i % 4, tmag=5.0 + 0.5 * i) for i in range(n)]


def make_result(task, status=STATUS.OK, errors=None, **details):
    return task | {
        "status": status,
        "method_used": "aperture",
        "time": 2.0,
        "worker_wait_time": 0.5,
        "details": {"errors": errors or []} | details,
    }


def query(path, sql, *parameters):
    """Rows of a file on disk, read without disturbing it, as by another program."""
    with contextlib.closing(sqlite3.connect(f"file:{path}?immutable=1", uri=True)) as conn:
        return conn.execute(sql, parameters).fetchall()


def execute(path, sql, *parameters):
    with contextlib.closing(sqlite3.connect(path)) as conn:
        conn.execute(sql, parameters)
        conn.commit()


def statuses(tm):
    return dict(
        tm.conn.cursor()
        .execute("SELECT priority, status FROM todolist ORDER BY priority")
        .fetchall()
    )


def run_all(tm, status=STATUS.OK):
    """Do every task that is to do; returns their priorities in the order in which they came."""
    done = []
    while task := tm.get_task():
        tm.start_task(task["priority"])
        tm.save_result(make_result(task, status))
        done.append(task["priority"])
    return done


def die(tm):
    """Leave a TODO-file as if the process that has it open had been killed: with its journal and
    its lock.
    """
    if tm._store.journal is not None:
        tm._store.journal.close()
    lock = tm._lock.path.read_text()
    tm._give_up()
    tm.todo_file.with_name("todo.sqlite.lock").write_text(
        json.dumps(
            json.loads(lock) | {"started": -1.0}
        )  # the process number belongs to another one by now
    )
