"""Kills, cuts and races: every task runs once, or once again, and nothing hangs. The tasks
themselves keep the record."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
import sqlalchemy as sa
from chain_runs import ROOT, command_line, look, own_queues, settings_for

from photometry.chains import jobs
from photometry.chains.connect import database_url
from photometry.chains.schema import TASKS
from photometry.processes import ProcessId

sys.path.insert(0, str(ROOT / "tests"))
from running import MPIEXEC
from servers import Proxy, temporary_database

PLUGIN = '''
import os, signal, time
from photometry.chains.tasktype import Setting, TaskType

class Record(TaskType):
    """Appends its number to a file, in one write, when it begins; then sleeps."""

    settings = {
        "sleep": Setting("number", default=0.0),
        "long_first": Setting("bool", default=False),
        "deaf": Setting("bool", default=False),
    }

    def run(self, task):
        if task.setting("deaf"):
            signal.pthread_sigmask(signal.SIG_BLOCK, set(signal.Signals))
        (task.folder / "begun").touch()
        path = os.environ["RECORD_FILE"]
        is_first = not os.path.exists(path)
        handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(handle, f"{task.task['id']} {os.getpid()}\\n".encode())
        os.close(handle)
        time.sleep(600 if is_first and task.setting("long_first") else task.setting("sleep"))
        return {"pid": os.getpid()}
'''


@pytest.fixture
def plugin(tmp_path):
    """Environment in which a package is installed that adds the task type ``record``."""
    folder = tmp_path / "site"
    info = folder / "record_tasks-1.0.dist-info"
    info.mkdir(parents=True)
    (folder / "record_tasks.py").write_text(PLUGIN)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: record-tasks\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[photometry.chain_tasks]\nrecord = record_tasks:Record\n"
    )
    path = os.pathsep.join([str(folder), str(ROOT), os.environ.get("PYTHONPATH", "")])
    return {
        "PYTHONPATH": path,
        "RECORD_FILE": str(tmp_path / "record.txt"),
        "PHOTOMETRY_CHAINS_HOME": str(tmp_path / "home"),
        "PHOTOMETRY_CHAINS_RETRY_DELAY": "0",
    }


def start(environment, *words, prefix=()):
    """``photometry chain ...`` as a process of its own session."""
    return subprocess.Popen(
        [*prefix, sys.executable, "-m", "photometry", "chain", *map(str, words)],
        env={**os.environ, **environment},
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@contextlib.contextmanager
def processes():
    """A list of processes that are ended, with their children, when the block is left."""
    started = []
    try:
        yield started
    finally:
        for process in started:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            process.stdout.close()


def kill(process):
    """End a process and its children by SIGKILL."""
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def wait_for(condition, seconds=120):
    """Wait until a condition holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "this did not happen in time"
        time.sleep(0.05)


def record(environment):
    """How often each task has begun."""
    path = Path(environment["RECORD_FILE"])
    lines = path.read_text().splitlines() if path.exists() else []
    return Counter(int(line.split()[0]) for line in lines)


def write_chain(path, n, **settings):
    task = {"task": "record", **settings}
    path.write_text(json.dumps({"job_name": "recorded", "task_list": [task] * n}))
    return path


def found_job(environment):
    home = environment["PHOTOMETRY_CHAINS_HOME"]
    settings = settings_for(home, database=environment.get("PHOTOMETRY_CHAINS_DATABASE"))
    database = jobs.existing_database(settings)
    try:
        return look(database, jobs.find_root(database, "recorded"))
    finally:
        database.close()


def assert_once_each(environment, n):
    found = found_job(environment)
    assert found["state"] == "PASSED"
    tasks = [task for task in found["tasks"] if task["type"] == "record"]
    assert len(tasks) == n
    assert record(environment) == {task["id"]: 1 for task in tasks}
    assert {task["attempts"] for task in tasks} == {1}


@pytest.mark.slow
def test_400_tasks_run_once_each_while_retry_is_called_in_a_loop(plugin, tmp_path):
    chain = write_chain(tmp_path / "chain.json", 400)
    assert command_line("submit", chain, env=plugin).returncode == 0
    settings = settings_for(plugin["PHOTOMETRY_CHAINS_HOME"])
    with processes() as started:
        started.append(start(plugin, "schedule", "--until-idle", "--interval", "0.05"))
        started += [start(plugin, "worker", "--until-idle", "--workers", "2") for _ in range(2)]
        database = jobs.existing_database(settings)
        calls = 0
        while any(process.poll() is None for process in started):
            jobs.retry(database)
            calls += 1
            time.sleep(0.01)
        database.close()
        assert [process.returncode for process in started] == [0, 0, 0]
    assert calls > 20
    assert_once_each(plugin, 400)


@pytest.mark.slow
def test_a_killed_worker_s_task_runs_again_once(plugin, tmp_path):
    chain = write_chain(tmp_path / "chain.json", 3, long_first=True)
    assert command_line("submit", chain, env=plugin).returncode == 0
    assert command_line("schedule", "--once", env=plugin).returncode == 0
    with processes() as started:
        started.append(start(plugin, "worker", "--workers", "1"))
        wait_for(lambda: record(plugin))
        kill(started[0])
        (killed,) = record(plugin)
        started.append(start(plugin, "schedule", "--until-idle", "--interval", "0.05"))
        started.append(start(plugin, "worker", "--until-idle", "--workers", "1"))
        for process in started[1:]:
            assert process.wait(600) == 0
    found = found_job(plugin)
    assert found["state"] == "PASSED"
    assert record(plugin)[killed] == 2
    assert sorted(record(plugin).values()) == [1, 1, 2]
    attempts = {task["id"]: task["attempts"] for task in found["tasks"] if task["type"] == "record"}
    assert attempts[killed] == 2


WAYS_TO_WORK = {
    "serial": [("run", "CHAIN", "--workers", "0")],
    "processes": [("run", "CHAIN", "--workers", "2")],
    "mpi": [("run", "CHAIN")],
    "sql": [("worker", "--until-idle", "--workers", "2")],
    "amqp": [("worker", "--until-idle", "--workers", "2")],
}


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS_TO_WORK)
def test_cancel_ends_the_processes_of_running_tasks(way, plugin, tmp_path):
    """One that can clean up behind itself, and one that hears no signal."""
    tasks = [{"task": "record", "sleep": 600, "deaf": deaf} for deaf in (False, True)]
    chain = tmp_path / "chain.json"
    chain.write_text(json.dumps({"job_name": "recorded", "task_list": tasks}))
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    environment = {**plugin, "TMPDIR": str(temporary)}
    n = 1 if way == "serial" else 2
    with contextlib.ExitStack() as stack:
        if way == "amqp":
            environment |= stack.enter_context(own_queues())
        started = stack.enter_context(processes())
        if way in ("sql", "amqp"):
            assert command_line("submit", chain, env=environment).returncode == 0
            assert command_line("schedule", "--once", env=environment).returncode == 0
        for words in WAYS_TO_WORK[way]:
            words = [str(chain) if word == "CHAIN" else word for word in words]
            prefix = [MPIEXEC, "-n", "3"] if way == "mpi" else []
            started.append(start(environment, *words, prefix=prefix))
        wait_for(lambda: len(record(environment)) == n)
        pids = [
            int(line.split()[1])
            for line in Path(plugin["RECORD_FILE"]).read_text().split("\n")[:-1]
        ]
        assert all(ProcessId.of(pid) for pid in pids)
        done = command_line("cancel", "recorded", "--json", env=environment)
        assert json.loads(done.stdout) == {"cancelled": 2}
        wait_for(lambda: not any(ProcessId.of(pid) for pid in pids), 60)
        code = started[0].wait(600)
        assert code == 1, started[0].stdout.read()
    found = found_job(environment)
    assert found["state"] == "CANCELLED"
    assert [task["attempts"] for task in found["tasks"]] == ([1, 1, 1] if n == 2 else [1, 1, 0])
    assert len(list(temporary.glob("photometry-chain-*"))) == (0 if n == 1 else 1)


@pytest.mark.slow
def test_a_killed_scheduler_is_started_again(plugin, tmp_path):
    chain = write_chain(tmp_path / "chain.json", 120, sleep=0.02)
    assert command_line("submit", chain, env=plugin).returncode == 0
    with processes() as started:
        started.append(start(plugin, "worker", "--until-idle", "--workers", "2"))
        started.append(start(plugin, "schedule"))
        wait_for(lambda: len(record(plugin)) > 5)
        kill(started[1])
        started.append(start(plugin, "schedule", "--until-idle"))
        assert started[2].wait(600) == 0
        assert started[0].wait(600) == 0
    assert_once_each(plugin, 120)


@pytest.mark.slow
def test_a_killed_run_goes_on_where_it_was(plugin, tmp_path):
    chain = write_chain(tmp_path / "chain.json", 60, sleep=0.05)
    with processes() as started:
        started.append(start(plugin, "run", chain, "--workers", "2"))
        wait_for(lambda: len(record(plugin)) > 10)
        kill(started[0])
    before = found_job(plugin)
    passed = {task["id"] for task in before["tasks"] if task["passed"]}
    done = command_line("run", chain, "--workers", "2", "--json", env=plugin)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["id"] == before["id"]
    counts = record(plugin)
    assert all(counts[id_] == 1 for id_ in passed & set(counts))
    assert set(counts.values()) <= {1, 2}
    assert found_job(plugin)["state"] == "PASSED"


@pytest.fixture
def make_proxy():
    """A function that makes a `Proxy` for a port."""
    made = []

    def make(port):
        made.append(Proxy(port))
        return made[-1]

    yield make
    for proxy in made:
        proxy.close()


@pytest.mark.slow
@pytest.mark.parametrize("server", ["mariadb", "postgresql"])
def test_a_database_that_goes_away_is_waited_for(server, plugin, tmp_path, make_proxy):
    chain = write_chain(tmp_path / "chain.json", 100, sleep=0.02)
    with temporary_database(server) as url:
        port = 3306 if server == "mariadb" else 5432
        proxy = make_proxy(port)
        environment = {
            **plugin,
            "PHOTOMETRY_CHAINS_DATABASE": url.replace(f":{port}/", f":{proxy.port}/"),
        }
        with processes() as started:
            started.append(start(environment, "run", chain, "--workers", "2"))
            for least in (5, 40):
                wait_for(lambda least=least: len(record(plugin)) > least)
                proxy.cut(1.0)
            assert started[0].wait(600) == 0, started[0].stdout.read()
        assert_once_each({**environment, "PHOTOMETRY_CHAINS_DATABASE": url}, 100)


@pytest.mark.slow
@pytest.mark.parametrize("server", ["mariadb", "postgresql"])
def test_a_change_takes_effect_once_where_the_answer_to_its_commit_is_lost(
    server, plugin, tmp_path, make_proxy
):
    chain = write_chain(tmp_path / "chain.json", 40)
    with temporary_database(server) as url:
        port = 3306 if server == "mariadb" else 5432
        proxy = make_proxy(port)
        environment = {
            **plugin,
            "PHOTOMETRY_CHAINS_DATABASE": url.replace(f":{port}/", f":{proxy.port}/"),
        }
        proxy.loses_every = 3
        with processes() as started:
            started.append(start(environment, "run", chain, "--workers", "2"))
            assert started[0].wait(600) == 0, started[0].stdout.read()
        assert proxy.lost > 5
        direct = {**environment, "PHOTOMETRY_CHAINS_DATABASE": url}
        assert_once_each(direct, 40)
        engine = sa.create_engine(database_url(url))
        with engine.connect() as db:
            count = sa.select(sa.func.count()).select_from(TASKS)
            assert db.execute(count.where(TASKS.c.parentTask.is_(None))).scalar() == 1
        engine.dispose()


@pytest.mark.slow
def test_a_broker_that_goes_away_is_connected_again(plugin, tmp_path, make_proxy):
    chain = write_chain(tmp_path / "chain.json", 150, sleep=0.02)
    proxy = make_proxy(5672)
    with own_queues() as queues, processes() as started:
        environment = {**plugin, **queues, "PHOTOMETRY_CHAINS_MQ_PORT": str(proxy.port)}
        assert command_line("submit", chain, env=environment).returncode == 0
        started.append(start(environment, "schedule", "--until-idle", "--interval", "0.1"))
        started.append(start(environment, "worker", "--until-idle", "--workers", "2"))
        for least in (5, 60):
            wait_for(lambda least=least: len(record(plugin)) > least)
            proxy.cut(1.0)
        for process in started:
            assert process.wait(600) == 0, process.stdout.read()
    assert_once_each(plugin, 150)
