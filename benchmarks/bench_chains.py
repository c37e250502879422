"""What a task chain costs: per task, per idle pass, per submission; beside snakemake for the same
three-level chain.

    python benchmarks/bench_chains.py [--tasks 2000] [--finished 100000] [--jobs 60] [--quick]

On SQLite. The time of a task is that of the run from the start of its first attempt to the end of
the last one, over the number of tasks, on 2 workers; starting the workers is printed apart. What is
compared alternates for some rounds, as others may use the machine; figures are medians, with the
least and the largest of the rounds in brackets.
"""

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import sqlalchemy as sa

from photometry.chains import jobs, running, states
from photometry.chains.claiming import Worker
from photometry.chains.definition import parse_definition
from photometry.chains.expanding import Expander
from photometry.chains.queues import TaskScheduler
from photometry.chains.rows import allocate
from photometry.chains.schema import ATTEMPTS, TASKS
from photometry.chains.settings import load_chain_settings

ROUNDS = 3
WORKERS = 2
T, A = TASKS.c, ATTEMPTS.c
# 3 x 24 x 24 x 12 rounds of five tasks each, and what makes them: the grid of the EAS pipeline
GRID = (("a", 3), ("b", 24), ("c", 24), ("d", 12))
SMALL_GRID = (("a", 1), ("b", 24), ("c", 24), ("d", 4))


def spread(values, unit=1.0):
    """``'(1.2–1.4)'``: the least and the largest of some rounds."""
    return f"({min(values) * unit:.2f}–{max(values) * unit:.2f})"


def settings_of(folder):
    """Settings of a database in a folder."""
    return load_chain_settings({"home": str(folder)}, environ={})


def nulls(n, name):
    """A chain of ``n`` tasks that do nothing."""
    loop = {"task": "execution_for_loop", "parameter": "i", "linear_range": [1, n, n]}
    return {"job_name": name, "task_list": [{**loop, "task_list": [{"task": "null"}]}]}


def grid(loops=GRID):
    """The chain with 124,000 tasks and more, or one with fewer rounds."""
    name = "'lc_{a_index}_{b_index}_{c_index}_{d_index}.lc'.format(**metadata)"
    search = {"inputs": {"lightcurve": name}, "lc_duration": "(90 * (1 + metadata['a']))"}
    body = [
        {"task": "synthesis_batman", "outputs": {"lightcurve": name}},
        {"task": "verify", "inputs": {"lightcurve": name}},
        {"task": "transit_search_tls", "name": "tls", **search},
        {"task": "transit_search_bls_reference", **search},
        {"task": "null", "requires_metadata_from": ["tls"]},
    ]
    for parameter, n in reversed(loops):
        loop = {"task": "execution_for_loop", "parameter": parameter, "linear_range": [0, 1, n]}
        body = [{**loop, "task_list": body}]
    return {"job_name": "grid", "working_directory": "grid", "task_list": body}


def submit(settings, chain):
    """Submit a chain; returns the id of its root task."""
    database = jobs.open_database(settings)
    try:
        return jobs.submit(parse_definition(json.dumps(chain)), database, settings).root
    finally:
        database.close()


def fill(settings, n):
    """Make ``n`` tasks and mark them as passed, each with an attempt, as if they had been done."""
    root = submit(settings, nulls(n, "finished"))
    database = jobs.open_database(settings)
    expander = Expander(database)
    while expander.expand(root):
        pass

    def finish(db):
        ids = list(db.execute(sa.select(T.taskId).where(T.state == states.READY)).scalars())
        first = allocate(db, ATTEMPTS, len(ids))
        db.execute(
            ATTEMPTS.insert(),
            [
                {"schedulingAttemptId": first + i, "taskId": id_, "state": states.PASSED,
                 "queuedTime": 1.0,
                 "startTime": 1.0, "endTime": 1.0, "errorFail": False, "allProductsPassedQc": True}
                for i, id_ in enumerate(ids)
            ],
        )  # fmt: skip
        db.execute(sa.update(TASKS).where(T.state == states.READY).values(state=states.PASSED))
        states.settle(db, ids)

    database.change(finish)
    database.close()


def time_tasks(settings, n, name):
    """(s per task, s of starting) of ``n`` null tasks."""
    root = submit(settings, nulls(n, name))
    begin = time.time()
    code = running.run_job(settings, lambda: root, workers=WORKERS, quiet=True)
    assert code == 0, code
    database = jobs.existing_database(settings)
    query = (
        sa.select(sa.func.min(A.startTime), sa.func.max(A.endTime), sa.func.count())
        .join(TASKS, T.taskId == A.taskId)
        .where(T.rootTask == root, A.workerId.is_not(None))
    )
    first, last, count = database.read(lambda db: db.execute(query).one())
    database.close()
    assert count == n, count
    return (last - first) / n, first - begin


def compare_fill(figures, folder, n, finished):
    """Time of a task with few and with many finished ones in the database."""
    homes = {1000: folder / "few", finished: folder / "many"}
    for count, home in homes.items():
        fill(settings_of(home), count)
    found, starts = {count: [] for count in homes}, []
    for number in range(ROUNDS):
        for count, home in homes.items():
            seconds, start = time_tasks(settings_of(home), n, f"round_{number}")
            found[count].append(seconds)
            starts.append(start)
    few, many = found.values()
    for count, seconds in found.items():
        name = f"null task, {WORKERS} workers, {count:,d} finished {spread(seconds, 1e3)}"
        aim = "<= 3 ms; the original: 330 ms"
        figures.add(name, 1e3 * statistics.median(seconds), "ms/task", aim=aim)
    ratios = [b / a for a, b in zip(few, many, strict=True)]
    name = f"  ratio of the two, round by round {spread(ratios)}"
    figures.add(name, statistics.median(ratios), "", aim="1")
    figures.add("starting the workers", statistics.median(starts), "s")


def time_idle(figures, home):
    """Passes with nothing to do: of the scheduler, and of a run."""
    settings = settings_of(home)
    with TaskScheduler(settings=settings) as scheduler:
        scheduler.schedule_all_waiting_jobs()
        worker = Worker(scheduler.database, scheduler.registries, settings.lease)
        seconds = []
        for _ in range(50):
            begin = time.perf_counter()
            scheduler._worker._recovered = worker._recovered = float(
                "-inf"
            )  # look for lost workers, too
            scheduler.schedule_all_waiting_jobs()
            seconds.append(time.perf_counter() - begin)
        total = scheduler.database.read(
            lambda db: db.execute(sa.select(sa.func.count()).select_from(TASKS)).scalar()
        )
        worker.leases.close()
    milliseconds = 1e3 * statistics.median(seconds)
    figures.add(f"idle pass of the scheduler, {total:,d} tasks", milliseconds, "ms", aim="< 5 ms")


SUBMISSION = """
import json, resource, sys, time
sys.path.insert(0, sys.argv[1])
from bench_chains import GRID, SMALL_GRID, grid, settings_of
from photometry.chains import jobs
from photometry.chains.definition import parse_definition
from photometry.chains.expanding import Expander
begin = time.perf_counter()
settings = settings_of(sys.argv[2])
database = jobs.open_database(settings)
chain = json.dumps(grid(SMALL_GRID if sys.argv[3] == "small" else GRID))
done = jobs.submit(parse_definition(chain), database, settings)
checked = time.perf_counter()
expander = Expander(database)
while expander.expand(done.root):
    pass
count = len(jobs.job_tasks(database, done.root))
print(json.dumps([count, done.outline.count, checked - begin, time.perf_counter() - begin,
    resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024]))
"""


def time_submission(figures, folder, size):
    """A chain with 124,000 tasks, checked, stored and expanded, in a process of its own.

    Parameters
    ----------
    figures : Figures
    folder : Path
    size : 'large' or 'small'
    """
    command = [sys.executable, "-c", SUBMISSION, str(Path(__file__).parent)]
    command += [str(folder / "grid"), size]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    count, counted, checked, seconds, memory = json.loads(done.stdout)
    assert count == counted, (count, counted)
    aim = "< 60 s for 124,000"
    figures.add(f"submission of {count:,d} tasks", seconds, "s", aim=aim)
    figures.add("  of which checking", checked, "s")
    figures.add("  peak memory", memory, "MiB", aim="< 1024 MiB")


SNAKEFILE = """
N = {n}
rule all:
    input: expand("c_{{i}}.txt", i=range(N))
rule first:
    output: "a_{{i}}.txt"
    shell: "touch {{output}}"
rule second:
    input: "a_{{i}}.txt"
    output: "b_{{i}}.txt"
    shell: "touch {{output}}"
rule third:
    input: "b_{{i}}.txt"
    output: "c_{{i}}.txt"
    shell: "touch {{output}}"
"""


def three_levels(n):
    """``n`` chains of three tasks, each of which needs the one before."""
    tasks = [
        {"task": "null", "name": "first"},
        {"task": "null", "name": "second", "requires_metadata_from": ["first"]},
        {"task": "null", "requires_metadata_from": ["second"]},
    ]
    loop = {"task": "execution_for_loop", "parameter": "i", "linear_range": [1, n, n]}
    return {"job_name": "levels", "task_list": [{**loop, "task_list": tasks}]}


def compare_snakemake(figures, folder, n):
    """The same three-level chain by snakemake on 2 cores, whole commands."""
    snakemake = shutil.which("snakemake")
    if snakemake is None:
        print("snakemake is not on the search path: pip install snakemake; no comparison")
        return
    seconds = {"snakemake": [], "photometry chain": []}
    for number in range(ROUNDS):
        theirs = folder / f"snakemake_{number}"
        theirs.mkdir()
        (theirs / "Snakefile").write_text(SNAKEFILE.format(n=n))
        chain = folder / "levels.json"
        chain.write_text(json.dumps(three_levels(n)))
        commands = {
            "snakemake": [snakemake, "--cores", WORKERS, "--quiet", "all", "-d", theirs,
                          "-s", theirs / "Snakefile"],
            "photometry chain": [sys.executable, "-m", "photometry", "chain", "run", chain,
                                 "--home", folder / f"levels_{number}", "--workers", WORKERS,
                                 "--quiet"],
        }  # fmt: skip
        for name, command in commands.items():
            begin = time.perf_counter()
            subprocess.run(list(map(str, command)), check=True, capture_output=True)
            seconds[name].append(time.perf_counter() - begin)
    for name, values in seconds.items():
        shown = f"{3 * n} tasks on three levels, whole command, {name} {spread(values)}"
        figures.add(shown, statistics.median(values), "s")
    theirs, ours = seconds.values()
    ratios = [a / b for a, b in zip(theirs, ours, strict=True)]
    name = f"  snakemake / photometry chain, round by round {spread(ratios)}"
    figures.add(name, statistics.median(ratios), "")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", type=int, default=2000)
    parser.add_argument("--finished", type=int, default=100_000)
    parser.add_argument("--jobs", type=int, default=60, help="three-level chains")
    parser.add_argument("--quick", action="store_true", help="a tenth of all")
    parser.add_argument("--json", type=Path, help="write the figures there as well")
    options = parser.parse_args()
    if options.quick:
        options.tasks, options.finished, options.jobs = 500, 10_000, 20
    from figures import Figures, print_load

    print_load()
    figures = Figures("python benchmarks/bench_chains.py")
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        time_submission(figures, folder, "small" if options.quick else "large")
        compare_fill(figures, folder, options.tasks, options.finished)
        time_idle(figures, folder / "many")
        compare_snakemake(figures, folder, options.jobs)
    figures.write(options.json)


if __name__ == "__main__":
    main()
