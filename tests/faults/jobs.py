"""Runs that are killed: starting them, finding their processes, and reading what is on disk
afterwards.
"""

import contextlib
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import time
from pathlib import Path

import psutil
from running import environment, pipeline_command, wait_for

from photometry import TaskManager

START_SECONDS = 120  # a run that has not begun by then hangs, however loaded the machine is


class Job:
    """A run of run_pipeline.py in a process group of its own."""

    def __init__(self, engine, folder, *words, env=None):
        self.folder = Path(folder)
        command = pipeline_command(engine, folder, "--handler", "faulty_work:work", *words)
        self.process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(**(env or {})),
            start_new_session=True,
        )
        self.out = self.err = ""

    def master(self):
        """The master's process, as the lock names it, once it assigns tasks."""
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end and self.process.poll() is None:
            with contextlib.suppress(FileNotFoundError, json.JSONDecodeError, psutil.Error):
                pid = json.loads((self.folder / "todo.sqlite.lock").read_text())["pid"]
                summary = self.summary()
                if summary.get("pid") == pid and summary.get("workers") and pid in self._pids():
                    return psutil.Process(pid)
            time.sleep(0.005)
        raise AssertionError(f"the run did not start: {self.process.communicate()}")

    def _pids(self):
        mine = psutil.Process(self.process.pid)
        return [mine.pid, *(child.pid for child in mine.children(recursive=True))]

    def summary(self):
        try:
            return json.loads((self.folder / "summary.json").read_text())
        except FileNotFoundError:
            return {}

    def journal_size(self):
        """Bytes in the journals beside the TODO-file."""
        size = 0
        for path in self.folder.glob("todo.sqlite.journal-*"):
            with contextlib.suppress(FileNotFoundError):
                size += path.stat().st_size
        return size

    def wait_for_progress(self, n_bytes):
        """Wait until as many bytes were saved since now, or the run has ended."""
        enough = self.journal_size() + n_bytes
        wait_for(lambda: self.journal_size() >= enough or self.process.poll() is not None)

    def workers(self):
        """Processes of the ranks that work, without children that do crash candidates for them."""
        ranks = {}
        for process in psutil.Process(self.process.pid).children(recursive=True):
            with contextlib.suppress(psutil.Error):
                if process.environ().get("PMI_RANK") not in (None, "0"):
                    ranks[process] = process.parent()
        return [process for process, parent in ranks.items() if parent not in ranks]

    def wait(self, timeout=600):
        """Exit code, once it has ended."""
        self.out, self.err = self.process.communicate(timeout=timeout)
        return self.process.returncode

    def end(self):
        """Leave nothing of it behind."""
        ranks = []
        with contextlib.suppress(psutil.Error):
            ranks = psutil.Process(self.process.pid).children(recursive=True)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        if self.process.returncode is None:
            self.wait()
        psutil.wait_procs(ranks, timeout=10)


def as_it_is(folder):
    """{priority: (status, number of diagnostics, number of attempts that ended well)}: what the
    next start would find.

    Looks at a copy, so that looking changes nothing.
    """
    copy = Path(folder) / "copy"
    shutil.rmtree(copy, ignore_errors=True)
    copy.mkdir()
    for path in Path(folder).glob("todo.sqlite*"):
        if not path.name.endswith(".lock"):
            shutil.copy(path, copy)
    with TaskManager(copy, cleanup_constraints=["0"]) as tm:
        rows = tm.cursor.execute(
            """SELECT priority, status,
                (SELECT COUNT(*) FROM diagnostics d WHERE d.priority = t.priority),
                (SELECT COUNT(*) FROM attempts a
                    WHERE a.priority = t.priority AND a.error_class IS NULL) FROM todolist t"""
        ).fetchall()
    shutil.rmtree(copy)
    return {row[0]: tuple(row)[1:] for row in rows}


def query(folder, sql):
    """Rows of a TODO-file that no run has open."""
    with contextlib.closing(sqlite3.connect(folder / "todo.sqlite")) as conn:
        return conn.execute(sql).fetchall()
