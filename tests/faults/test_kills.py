"""Processes of a run are killed; what was saved stays, and the same command continues."""

import contextlib
import json
import random
import signal
import subprocess
import time

import psutil
import pytest
from jobs import as_it_is, query
from running import run_pipeline, wait_for

from photometry import STATUS

pytestmark = pytest.mark.slow

OK, STARTED = int(STATUS.OK), int(STATUS.STARTED)
DONE = (OK, 1, 1)


def finished(state):
    return {priority for priority, (status, *_) in state.items() if status == OK}


def kill_again_and_again(start, folder, n_kills, victim, seed):
    """Start, kill at a random moment, look, start again; returns what was finished in the end."""
    rng = random.Random(seed)
    done = set()
    for _ in range(n_kills):
        job = start("mpi", folder, "--grace", "1")
        victim(job, rng)
        acknowledged = job.summary().get("OK", 0)
        job.end()
        now = finished(as_it_is(folder))
        assert done <= now, f"saved results were lost: {sorted(done - now)}"
        assert len(now) >= acknowledged
        done = now
    return done


def kill_master(job, rng):
    master = job.master()
    job.wait_for_progress(rng.randrange(4000))
    assert master.is_running(), job.process.communicate()
    master.kill()
    master.wait()


def kill_worker(job, rng):
    job.master()
    job.wait_for_progress(rng.randrange(4000))
    rng.choice(job.workers()).kill()
    assert job.wait() != 0


@pytest.mark.mpi
@pytest.mark.timeout(1200)
@pytest.mark.parametrize(("victim", "n_kills"), [(kill_master, 20), (kill_worker, 8)])
def test_after_many_kills_every_target_is_finished_exactly_once(
    todo, start, victim, n_kills, monkeypatch
):
    monkeypatch.setenv("FAULTY_WORK_SECONDS", "0.015")
    folder = todo(100 * n_kills)
    done = kill_again_and_again(start, folder, n_kills, victim, seed=n_kills)
    assert len(done) > n_kills, "the kills came before anything was done"
    last = run_pipeline("mpi", folder, "--handler", "faulty_work:work")
    assert last.returncode == 0, last.stderr
    state = as_it_is(folder)
    assert {priority: row for priority, row in state.items() if row != DONE} == {}


@pytest.mark.parametrize("engine", ["processes", "mpi"])
def test_kills_of_the_whole_job_are_no_evidence_against_what_was_running(
    todo, start, engine, monkeypatch
):
    folder = todo(2)
    for _ in range(4):
        job = start(engine, folder, "--max-attempts", "1", env={"FAULTY_WORK_SECONDS": "600"})
        job.master()
        wait_for(lambda: STARTED in {row[0] for row in as_it_is(folder).values()})
        job.end()
    assert query(folder, "SELECT COUNT(*) FROM attempts WHERE died = 1") == [(0,)]
    last = run_pipeline(engine, folder, "--handler", "faulty_work:work")
    assert last.returncode == 0, last.stderr
    assert {row[0] for row in as_it_is(folder).values()} == {OK}


@pytest.mark.mpi
def test_when_the_master_dies_the_job_ends_by_itself_with_an_error(todo, start, monkeypatch):
    monkeypatch.setenv("FAULTY_WORK_SECONDS", "0.05")
    job = start("mpi", todo(500))
    job.master().kill()
    assert job.wait() != 0


def test_local_workers_end_when_their_master_is_killed(todo, start, monkeypatch):
    monkeypatch.setenv("FAULTY_WORK_SECONDS", "0.05")
    job = start("processes", todo(500))
    master = job.master()
    workers = master.children(recursive=True)
    master.kill()
    job.wait()
    wait_for(lambda: not any(map(is_working, workers)))


def is_working(process):
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


@pytest.mark.parametrize("engine", ["serial", "processes", "mpi"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGINT])
def test_a_signal_to_the_master_drains_and_the_exit_code_says_run_again(
    todo, start, engine, number, monkeypatch
):
    monkeypatch.setenv("FAULTY_WORK_SECONDS", "0.02")
    folder = todo(2000)
    job = start(engine, folder)
    job.master().send_signal(number)
    assert job.wait() == 3, job.err
    assert f"unfinished, run again: received {number.name}" in job.err
    assert query(folder, "SELECT COUNT(*) FROM todolist WHERE status = 6") == [(0,)]
    assert query(folder, "SELECT COUNT(*) FROM attempts WHERE error_class IS NOT NULL") == [(0,)]
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["exit_code"] == 3
    assert summary["OK"] == query(folder, "SELECT COUNT(*) FROM diagnostics")[0][0]


@pytest.mark.mpi
def test_a_signal_to_a_worker_drains_the_run(todo, start, monkeypatch):
    monkeypatch.setenv("FAULTY_WORK_SECONDS", "0.02")
    job = start("mpi", todo(2000))
    job.master()
    job.workers()[0].send_signal(signal.SIGUSR1)
    assert job.wait() == 3, job.err
    assert "received SIGUSR1" in job.err


@pytest.mark.mpi
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_mpiexec_itself_loses_nothing(todo, start, number, monkeypatch):
    monkeypatch.setenv("FAULTY_WORK_SECONDS", "0.02")
    folder = todo(2000)
    job = start("mpi", folder)
    job.master()
    job.wait_for_progress(2000)
    acknowledged = job.summary()["OK"]
    job.process.send_signal(number)
    assert job.wait() != 0
    assert len(finished(as_it_is(folder))) >= acknowledged


def signalled_to_its_end(job, master):
    """Send a signal; True if the job ends. Two that come before the first is seen count as one."""
    master.send_signal(signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        job.wait(timeout=10)
    return job.process.poll() is not None


@pytest.mark.parametrize("engine", ["serial", "processes", "mpi"])
def test_a_second_signal_stops_at_once_and_loses_nothing_saved(
    todo, start, engine, monkeypatch, tmp_path
):
    monkeypatch.setenv("FAULTY_WORK_SECONDS", "0.02")
    hangs = tmp_path / "hangs"
    monkeypatch.setenv("FAULTY_WORK_HANGS", str(hangs))
    folder = todo(2000, {5: "hang"})
    job = start(engine, folder, "--grace", "600")
    master = job.master()
    wait_for(hangs.exists)  # that it is STARTED does not say that it is being done
    saved = finished(as_it_is(folder))
    master.send_signal(signal.SIGTERM)
    time.sleep(1.0)
    assert job.process.poll() is None, "the hanging task should still have its grace"
    wait_for(lambda: signalled_to_its_end(job, master))
    assert job.wait() == 3, job.err
    state = as_it_is(folder)
    assert state[5] == (None, 0, 0)
    assert finished(state) >= saved


@pytest.mark.parametrize("engine", ["serial", "processes", "mpi"])
def test_tasks_that_outlast_the_grace_are_given_back(todo, start, engine):
    folder = todo(20, {5: "hang"})
    job = start(engine, folder, "--grace", "0.5")
    master = job.master()
    wait_for(lambda: as_it_is(folder)[5][0] == STARTED)
    master.send_signal(signal.SIGTERM)
    assert job.wait() == 3, job.err
    state = as_it_is(folder)
    assert state[5] == (None, 0, 0)
    assert query(folder, "SELECT COUNT(*) FROM attempts WHERE error_class IS NOT NULL") == [(0,)]


@pytest.mark.parametrize("engine", ["serial", "processes", "mpi"])
def test_the_end_of_the_batch_job_ends_the_run_in_good_order(todo, start, engine, monkeypatch):
    monkeypatch.setenv("FAULTY_WORK_SECONDS", "0.05")
    folder = todo(2000)
    job = start(
        engine, folder, "--time-limit", "auto", env={"SLURM_JOB_END_TIME": str(time.time() + 6)}
    )
    assert job.wait() == 3, job.err
    assert "time limit" in job.err
    assert len(finished(as_it_is(folder))) < 2000
    assert query(folder, "SELECT COUNT(*) FROM todolist WHERE status = 6") == [(0,)]


@pytest.mark.parametrize("engine", ["processes", "mpi"])
def test_a_second_master_is_refused_with_who_works(todo, start, engine, monkeypatch):
    monkeypatch.setenv("FAULTY_WORK_SECONDS", "0.02")
    folder = todo(2000)
    job = start(engine, folder)
    master = job.master()
    second = run_pipeline(engine, folder, "--handler", "noop")
    assert second.returncode == 2
    assert str(master.pid) in second.stderr
    assert "since" in second.stderr
    master.terminate()
    assert job.wait() == 3, job.err


def test_the_lock_of_a_dead_process_is_taken_over(todo, start, monkeypatch):
    monkeypatch.setenv("FAULTY_WORK_SECONDS", "0.02")
    folder = todo(100)
    job = start("serial", folder)
    job.master().kill()
    job.wait()
    assert (folder / "todo.sqlite.lock").exists()
    done = run_pipeline("serial", folder, "--handler", "noop")
    assert done.returncode == 0, done.stderr


def test_another_hosts_lock_needs_steal_lock(todo):
    folder = todo(3)
    lock = {
        "host": "node17",
        "pid": 4711,
        "user": "night",
        "since": "2026-01-01T00:00:00Z",
        "token": "x",
    }
    (folder / "todo.sqlite.lock").write_text(json.dumps(lock))
    refused = run_pipeline("serial", folder, "--handler", "noop")
    assert refused.returncode == 2
    assert "node17" in refused.stderr
    assert "--steal-lock" in refused.stderr
    assert run_pipeline("serial", folder, "--handler", "noop", "--steal-lock").returncode == 0


def test_kill_of_a_process_is_seen_in_its_exit_code(todo, start, monkeypatch):
    monkeypatch.setenv("FAULTY_WORK_SECONDS", "0.02")
    job = start("serial", todo(100))
    job.master().kill()
    assert job.wait() == -signal.SIGKILL
