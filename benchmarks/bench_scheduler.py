"""How many tasks a second the scheduler carries, how busy it keeps its workers, where one master
ends; and its peers.

    python benchmarks/bench_scheduler.py [--quick] [--json FILE] [--images DIR]

- No-op tasks from a real TODO-file in memory, with its journal, each result saved: ``photometry run
  --handler noop`` under ``mpiexec -n 3``. Limit: what the master's processor time per task allows,
  measured through the same classes.
- Tasks of 10 ms (they sleep): the fraction of the time that two workers work, from the TODO-file
  and from the wall clock.
- The no-op tasks after a kill -9 of all processes in the middle of a run: what of the second run's
  time goes into the tasks that were running in the kill, which are done last, in child processes.
- What the last tasks of a list cost against the first ones.
- The dispatch alone with 1,000 simulated workers, and 100 to 10,000 workers with tasks of 10 ms to
  100 s (plot).
- The peers on the same no-op and 10-ms tasks, in the same run; those that are not installed are
  said so.
"""

import argparse
import contextlib
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

HERE = Path(__file__).parent
NAP = 0.01  # s, of the 10-ms tasks
WORKERS = 2


def nap(task):
    """A handler: 10 ms in which nothing happens."""
    from photometry import STATUS

    time.sleep(NAP)
    return {**task, "status": STATUS.OK, "method_used": "nap", "details": {}}


def main():
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--quick", action="store_true", help="fewer tasks and rounds; a minute and a half"
    )
    parser.add_argument("--json", type=Path, help="write the figures there as well")
    parser.add_argument("--images", type=Path, help="draw the plot into this folder")
    options = parser.parse_args()
    from figures import Figures, print_load

    print_load()
    figures = Figures("python benchmarks/bench_scheduler.py")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        costs = measure_costs(figures, folder, options.quick)
        ours = measure_runs(figures, folder, options.quick, costs)
        measure_kill(figures, folder, options.quick)
        measure_dispatch(figures, options.quick)
        draw(figures, costs, options.images, options.quick)
        compare(figures, ours, folder, options.quick)
    figures.write(options.json)


def measure_costs(figures, folder, quick):
    """Processor time of the master: (s per pair of messages, s per task)."""
    from bench_taskmanager import make_todo
    from simulated_workers import master_costs

    make_todo(folder / "costs.sqlite", 100_000)
    per_message, per_task = master_costs(folder / "costs.sqlite", rounds=3 if quick else 6)
    figures.add("master's processor time per task, in large messages", 1e6 * per_task, "us")
    figures.add("master's processor time per pair of messages", 1e6 * per_message, "us")
    return per_message, per_task


# --- whole runs
# --------------------------------------------------------------------------------------------------


def measure_runs(figures, folder, quick, costs):
    """Whole runs of our own; returns {name: (no-op tasks/s, fraction of two workers with 10-ms
    tasks)}.
    """
    ours = {}
    for name, mpi, aim in (
        ("MPI", True, ("100,000", "98 %")),
        ("local processes", False, ("", "")),
    ):
        rounds = [
            run(folder, 150_000 if quick else 1_000_000, "noop", mpi=mpi)
            for _ in range(3 if mpi else 1)
        ]
        rate = max(one["rate"] for one in rounds)
        limit = {"limit": "the master's processor time alone", "bound": 1 / costs[1]}
        figures.add(
            f"no-op tasks end to end, {name}, 2 workers", rate, "tasks/s", **limit, aim=aim[0]
        )
        if mpi:
            ratio = min(one["drift"] for one in rounds)
            figures.add("the last tasks of a list against the first", ratio, "x", aim="1.5 x")
        used = min(one["cpu"] for one in rounds)
        figures.add(f"processor time of all processes per no-op task, {name}", 1e6 * used, "us")
        rounds = [
            run(folder, 600 if quick else 2000, "bench_scheduler:nap", mpi=mpi) for _ in range(2)
        ]
        busy = 100 * max(one["busy"] for one in rounds)
        figures.add(
            f"10-ms tasks, time that 2 workers work, {name}",
            busy,
            "%",
            limit="all of it",
            bound=100,
            aim=aim[1],
        )
        wall = 100 * max(one["rate"] for one in rounds) * NAP / WORKERS
        figures.add(
            f"10-ms tasks, of the tasks that fit into the time, {name}",
            wall,
            "%",
            limit="all",
            bound=100,
        )
        ours[f"photometry, {name}"] = rate, wall / 100
    return ours


def new_run(folder, n_tasks, handler, *, mpi):
    """A folder with a new TODO-file, and the command that runs it."""
    from bench_taskmanager import make_todo

    where = folder / "run"
    shutil.rmtree(where, ignore_errors=True)
    where.mkdir()
    make_todo(where / "todo.sqlite", n_tasks)
    command = [sys.executable, "-m", "photometry", "run", str(where), "--handler", handler]
    command.append("--quiet")
    if mpi:
        return where, ["mpiexec", "-n", str(WORKERS + 1), *command]
    return where, [*command, "--workers", str(WORKERS)]


def run(folder, n_tasks, handler, *, mpi):
    """One ``photometry run`` of a new TODO-file: tasks/s, fraction of time that workers worked,
    processor time per task.
    """
    where, launch = new_run(folder, n_tasks, handler, mpi=mpi)
    before = os.times()
    subprocess.run(launch, check=True, env=os.environ | {"PYTHONPATH": str(HERE)})
    after = os.times()
    summary = json.loads((where / "lightcurves/summary.json").read_text(encoding="utf-8"))
    assert summary["OK"] == n_tasks
    used = (
        after.children_user + after.children_system - before.children_user - before.children_system
    )
    return {
        "drift": drift(where / "todo.sqlite"),
        "rate": summary["rate"],
        "busy": fraction_of_work(where / "todo.sqlite"),
        "cpu": used / n_tasks,
    }


def drift(todo_file):
    """Time for 10 % of the tasks near the end over that near the begin."""
    with contextlib.closing(sqlite3.connect(todo_file)) as connection:
        starts = sorted(start for (start,) in connection.execute("SELECT start FROM attempts"))
    times = [starts[int(part * (len(starts) - 1))] for part in (0.05, 0.15, 0.85, 0.95)]
    return (times[3] - times[2]) / (times[1] - times[0])


def fraction_of_work(todo_file):
    """Time of work over time of work and waiting, of all tasks but the first of each worker, who
    waited for the start.
    """
    sql = """SELECT SUM(elaptime), SUM(worker_wait_time) FROM diagnostics WHERE priority NOT IN (
        SELECT priority FROM (SELECT priority, MIN(start) FROM attempts GROUP BY rank))"""
    connection = sqlite3.connect(todo_file)
    work, waiting = connection.execute(sql).fetchone()
    connection.close()
    return work / (work + waiting)


# --- a kill in the middle
# -------------------------------------------------------------------------------------------------


def measure_kill(figures, folder, quick):
    """Kill a run in its middle, run again."""
    n_tasks = 200_000 if quick else 1_000_000
    where, command = new_run(folder, n_tasks, "noop", mpi=True)
    summary = where / "lightcurves/summary.json"
    process = subprocess.Popen(command, start_new_session=True)
    while process.poll() is None and progress_of(summary).get("tasks_run", 0) < n_tasks // 3:
        time.sleep(0.05)
    assert process.poll() is None, "it was done before it could be killed"
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    # the ranks are in sessions of their own, and end when their launcher has ended
    master = progress_of(summary).get("pid")
    while master and psutil.pid_exists(master):
        time.sleep(0.05)
    from photometry.taskmanager import open_view

    with open_view(where) as view:
        running = {row[0] for row in view.query("SELECT priority FROM todolist WHERE status = 6")}
        (n_saved,) = view.query("SELECT COUNT(*) FROM todolist WHERE status = 1")[0]
    begin = time.perf_counter()
    subprocess.run(command, check=True)
    seconds = time.perf_counter() - begin
    again = progress_of(summary)
    assert again["OK"] == n_tasks
    alone = seconds_of(where / "todo.sqlite", running)
    figures.add("a run killed with tasks saved", n_saved, f"of {n_tasks:,}")
    figures.add("its tasks that were running, done in child processes", len(running), "tasks")
    figures.add("the second run, start and closing included", seconds, "s")
    figures.add("no-op tasks of the second run", again["rate"], "tasks/s")
    of_work = again["tasks_this_run"] / again["rate"]
    figures.add("of its time, tasks done in child processes", 100 * alone / of_work, "%", aim="5 %")


def progress_of(summary):
    """The content of a summary file; empty where there is none yet."""
    try:
        return json.loads(summary.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}


def seconds_of(todo_file, priorities):
    """From the begin of the first to the end of the last attempt of tasks, in the last run."""
    with contextlib.closing(sqlite3.connect(todo_file)) as connection:
        sql = """SELECT priority, start, "end" FROM attempts
            WHERE run = (SELECT MAX(run) FROM runs) AND died = 0"""
        rows = [row for row in connection.execute(sql) if row[0] in priorities]
    if not rows:
        return 0.0
    return max(row[2] for row in rows) - min(row[1] for row in rows)


# --- many workers
# --------------------------------------------------------------------------------------------------


def measure_dispatch(figures, quick):
    """1,000 simulated workers, tasks of 100 ms, nothing but the dispatch."""
    from simulated_workers import simulate

    outcomes = [simulate(1000, 0.1, 30_000 if quick else 100_000) for _ in range(3)]
    busy = max(outcome.busy for outcome in outcomes)
    figures.add(
        "dispatch alone, 1,000 workers, 100-ms tasks: workers busy",
        100 * busy,
        "%",
        limit="all",
        bound=100,
    )
    cpu = min(outcome.cpu for outcome in outcomes)
    figures.add(
        "dispatch alone, its processor time per task",
        1e6 * cpu,
        "us",
        limit="what feeds them",
        bound=100.0,
    )


def draw(figures, costs, images, quick):
    """Workers against tasks/s for several task times, with the master's measured cost; where it
    keeps 95 % busy.
    """
    from figures import plot_costs
    from simulated_workers import simulate

    numbers = [100, 300, 1000, 3000, 10_000]
    curves = {}
    for seconds in (0.01, 0.1, 1.0, 10.0, 100.0):
        rates, fed = [], 0
        for n in numbers:
            n_tasks = (
                max((20 if quick else 50) * n, 20_000) if seconds > 0.05 else max(60 * n, 100_000)
            )
            outcome = simulate(n, seconds, n_tasks, per_message=costs[0], per_task=costs[1])
            rates.append(outcome.rate)
            fed = n if outcome.busy >= 0.95 else fed
        curves[f"tasks of {seconds:g} s"] = (numbers, rates)
        figures.add(
            f"workers that one master keeps 95 % busy, tasks of {seconds:g} s", fed, "of 10,000"
        )
    if images is not None:
        path = images / "one-master.png"
        limit = ([numbers[0], numbers[-1]], [1 / costs[1]] * 2)
        plot_costs(
            path,
            curves | {"the master's processor time": limit},
            ideals=["the master's processor time"],
            xlabel="workers",
            ylabel="tasks per second",
            title="How far one master goes (simulated workers, measured master)",
        )
        figures.plots.append(
            (path.name, "Tasks per second against workers; where a line bends, one master ends.")
        )


# --- peers
# --------------------------------------------------------------------------------------------------


def compare(figures, ours, folder, quick):
    """The table of the peers."""
    from scheduler_peers import PEERS

    rows = [(name, noop, busy, "yes, every saved result") for name, (noop, busy) in ours.items()]
    for peer in PEERS:
        found = ask(peer.name, folder, quick)
        if found is None:
            rows.append((peer.name, None, None, "not installed"))
        else:
            rows.append((f"{peer.name} ({peer.how})", *found, peer.survives))
    reference = rows[0][1]
    print(f"\n{'':58}{'no-op/s':>10}{'ratio':>9}{'10 ms':>7}  state survives a kill")
    for name, noop, busy, survives in rows:
        if noop is None:
            print(f"{name:58}{'':26}  {survives}")
            continue
        print(f"{name:58}{noop:10,.0f}{reference / noop:8.1f}x{100 * busy:6.1f}%  {survives}")
    print()
    for name, noop, busy, survives in rows[1:]:
        if noop is not None:
            figures.add(
                f"no-op tasks, {name}", noop, "tasks/s", limit="ours with MPI", bound=reference
            )
            figures.add(
                f"10-ms tasks, of those that fit into the time, {name}",
                100 * busy,
                "%",
                limit=f"survives a kill: {survives}",
            )
        else:
            figures.add(f"no-op tasks, {name}", float("nan"), survives)


def ask(name, folder, quick):
    """(no-op tasks/s, fraction of two workers) of a peer, in a process of its own; None where it is
    not installed.
    """
    answer = folder / "answer.json"
    answer.unlink(missing_ok=True)
    command = [
        sys.executable,
        str(HERE / "scheduler_peers.py"),
        name,
        str(answer),
        *(["--quick"] if quick else []),
    ]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    done = subprocess.run(command, timeout=300, cwd=folder, **quiet)
    if answer.exists():
        return json.loads(answer.read_text(encoding="utf-8"))
    if "ModuleNotFoundError" in done.stderr:
        return None
    raise RuntimeError(f"{name} failed:\n{done.stderr}")


if __name__ == "__main__":
    main()
