"""How fast is the TaskManager, beside the bare sqlite3 module doing the same with the same tables
in the same run?

    python benchmarks/bench_taskmanager.py [--rows 100000 1000000] [--json FILE]

"A task" is get + start + save. "Raw" is the shortest Python that does that on the same schema: one
SELECT, two transactions (start; save), no journal, no checks. "Raw batched" does 100 tasks in one
transaction. Rates are tasks per second; ratios are of rates measured within the same minute. Every
rate is the best stretch of many, because other processes on the machine only ever make it slower.
"""

import argparse
import contextlib
import gc
import shutil
import sqlite3
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil

from photometry import STATUS, TaskManager, build_constraints
from photometry.taskmanager import create_todo
from photometry.taskmanager.journal import Journal

N_TIMED = 10_000  # tasks per measurement
STRETCH = 500  # tasks that are timed together
GROUP = 100  # tasks per batch

CONSTRAINTS = {
    "none": {},
    "camera=2": {"camera": 2},
    "camera=2 ccd=3": {"camera": 2, "ccd": 3},
    "tmag 8-12": {"tmag_min": 8.0, "tmag_max": 12.0},
    "datasource=tpf": {"datasource": "tpf"},
    "cadence=120": {"cadence": 120},
    "sector=1": {"sector": 1},
    "20000 priorities": {"priority": None},  # filled in below
    "20000 stars": {"starid": None},
}
DETAILS = {
    "mean_flux": 1234.5678,
    "variance": 1.23e-6,
    "variability": 1.2345,
    "rms_hour": 1.234e-4,
    "ptp": 2.345e-4,
    "pos_centroid": (1024.123, 512.456),
    "contamination": 0.0123,
    "mask_size": 14,
    "edge_flux": 12.345,
    "stamp": (500, 515, 1000, 1015),
    "stamp_resizes": 0,
}


def make_todo(path, n_rows, seed=1):
    """Targets sorted by magnitude, on all cameras, a third of them secondary targets in target
    pixel files.
    """
    rng = np.random.default_rng(seed)
    kinds = [
        ("starid", "i8"),
        ("sector", "i2"),
        ("datasource", "U14"),
        ("camera", "i1"),
        ("ccd", "i1"),
    ]
    rows = np.zeros(n_rows, [*kinds, ("cadence", "i2"), ("tmag", "f8"), ("cbv_area", "i2")])
    rows["starid"] = rng.permutation(n_rows) + 100_000_000
    rows["sector"], rows["cbv_area"] = 1, 111
    rows["camera"], rows["ccd"] = rng.integers(1, 5, n_rows), rng.integers(1, 5, n_rows)
    rows["datasource"] = rng.choice(["ffi", "tpf"], n_rows)
    rows["cadence"] = np.where(rows["datasource"] == "ffi", 1800, 120)
    rows["tmag"] = np.sort(rng.uniform(2.0, 15.0, n_rows))
    create_todo(path, rows)


ATTEMPT = {
    "host": "node0123",
    "rank": 17,
    "start": 1.7e9,
    "end": 1.7e9 + 1,
    "seconds": 1.0,
    "peak_memory": 123456789.0,
}
RESULT = {
    "status": STATUS.OK,
    "method_used": "aperture",
    "time": 1.0,
    "worker_wait_time": 0.1,
    "details": {},
}


def lightcurve_name(starid, cadence):
    star = f"{starid:011d}"
    return f"c{cadence:04d}/{star[:8]}/tess{star}-s001-1-1-c0120-dr01-v01-tasoc_lc.fits.gz"


def as_result(task, full=False, attempt=False):
    """What a worker sends back; made in place, because that is not the work of the TaskManager."""
    task.update(RESULT)
    if full:
        task["details"] = DETAILS | {
            "filepath_lightcurve": lightcurve_name(task["starid"], task["cadence"])
        }
    if attempt:
        task["attempt"] = ATTEMPT
    return task


def do_tasks(tm, n, *, full=False, **constraints):
    for _ in range(n):
        task = tm.get_task(**constraints)
        tm.start_task(task["priority"])
        tm.save_result(as_result(task, full))


def do_random(tm, n):
    for _ in range(n):
        task = tm.get_random_task()
        tm.start_task(task["priority"])
        tm.save_result(as_result(task))


def do_groups(tm, n, *, full=False, attempt=False, **constraints):
    for _ in range(n // GROUP):
        tasks = tm.get_tasks(GROUP, **constraints)
        tm.start_tasks([task["priority"] for task in tasks])
        tm.save_results([as_result(task, full, attempt) for task in tasks])


def rate(work, n=N_TIMED, clock=time.perf_counter):
    """Tasks per second: the best of many short stretches."""
    best, done = 0.0, 0
    gc.collect()
    while done < n:
        begin = clock()
        work(STRETCH)
        best = max(best, STRETCH / (clock() - begin))
        done += STRETCH
    return best


# --- raw sqlite3
# --------------------------------------------------------------------------------------------------

_GET = """SELECT priority, starid, method, sector, camera, ccd, cadence, datasource, tmag
    FROM todolist WHERE status IS NULL ORDER BY priority LIMIT ?"""
_SET = "UPDATE todolist SET status = ? WHERE priority = ?"
_NAMES = """priority, lightcurve, method_used, elaptime, worker_wait_time, mean_flux, variance,
    variability, rms_hour, ptp, pos_row, pos_column, contamination, mask_size, edge_flux,
    stamp_width, stamp_height, stamp_resizes, errors"""
_SAVE = f"INSERT OR REPLACE INTO diagnostics ({_NAMES}) VALUES ({', '.join('?' * 19)})"
_NULL = float("nan")  # stored as NULL; sqlite3 binds it several times faster than None
_EMPTY = (_NULL, "aperture", 1.0, 0.1, *[_NULL] * 14)
_FULL = (
    "aperture",
    1.0,
    0.1,
    1234.5678,
    1.23e-6,
    1.2345,
    1.234e-4,
    2.345e-4,
    512.456,
    1024.123,
    0.0123,
    14,
    12.345,
    15,
    15,
    0,
)


def raw_connection(path):
    """In memory, with the tables, indices and foreign keys of the TODO-file."""
    with contextlib.closing(sqlite3.connect(path)) as disk:
        conn = sqlite3.connect(":memory:")
        disk.backup(conn)
    conn.execute("PRAGMA foreign_keys = ON")
    return conn


def raw_file_connection(path):
    """On disk, with a write-ahead log."""
    conn = sqlite3.connect(path)
    for pragma in (
        "foreign_keys = ON",
        "locking_mode = EXCLUSIVE",
        "journal_mode = WAL",
        "synchronous = NORMAL",
    ):
        conn.execute(f"PRAGMA {pragma}")
    return conn


def raw_row(row, full):
    return (row[0], lightcurve_name(row[1], row[6]), *_FULL, _NULL) if full else (row[0], *_EMPTY)


def raw_tasks(conn, n, full=False):
    cursor = conn.cursor()
    for _ in range(n):
        (row,) = cursor.execute(_GET, (1,)).fetchall()
        cursor.execute(_SET, (6, row[0]))
        conn.commit()
        cursor.execute(_SET, (1, row[0]))
        cursor.execute(_SAVE, raw_row(row, full))
        conn.commit()


def raw_groups(conn, n, full=False):
    cursor = conn.cursor()
    for _ in range(n // GROUP):
        rows = cursor.execute(_GET, (GROUP,)).fetchall()
        cursor.executemany(_SET, [(6, row[0]) for row in rows])
        cursor.executemany(_SET, [(1, row[0]) for row in rows])
        cursor.executemany(_SAVE, [raw_row(row, full) for row in rows])
        conn.commit()


def raw_rates(conn, where):
    """Rates of bare sqlite3, in tasks per second."""
    return {
        f"raw, {where}": rate(lambda n: raw_tasks(conn, n)),
        f"raw, {where}, full results": rate(lambda n: raw_tasks(conn, n, full=True)),
        f"raw, {where}, batched": rate(lambda n: raw_groups(conn, n)),
        f"raw, {where}, batched, full results": rate(lambda n: raw_groups(conn, n, full=True)),
    }


# --- what is measured
# --------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def no_journal():
    """As if there were no journal, to see what it costs."""
    append, Journal.append = Journal.append, lambda journal, changes: None
    try:
        yield
    finally:
        Journal.append = append


def finish(tm, leave, constraints):
    """Mark tasks as done, all but the last ones that match, as if the run had come so far. Only for
    benchmarks.
    """
    sql = (
        f"SELECT priority FROM todolist WHERE status IS NULL{build_constraints(**constraints)} "
        "ORDER BY priority DESC LIMIT ?"
    )
    first = tm.conn.execute(sql, [leave]).fetchall()[-1][0]
    tm.conn.execute("UPDATE todolist SET status = 1 WHERE priority < ? AND status IS NULL", [first])
    tm.conn.commit()


def measure_rates(path):
    """Rates by mode, in tasks per second."""
    with contextlib.closing(raw_connection(path)) as conn:
        rates = raw_rates(conn, "memory")
    with (
        tempfile.TemporaryDirectory(dir=path.parent) as folder,
        contextlib.closing(raw_file_connection(shutil.copy(path, folder))) as conn,
    ):
        rates |= raw_rates(conn, "file")
    for name, options in {
        "memory": {"load_into_memory": True, "backup_interval": None},
        "file": {"load_into_memory": False},
        "memory, each record fsynced": {
            "load_into_memory": True,
            "durability": "record",
            "backup_interval": None,
        },
    }.items():
        n = STRETCH if "fsync" in name else N_TIMED
        with open_copy(path, **options) as tm:
            rates[name] = rate(lambda n, tm=tm: do_tasks(tm, n), n)
            rates[name + ", full results"] = rate(lambda n, tm=tm: do_tasks(tm, n, full=True), n)
            rates[name + ", batched"] = rate(lambda n, tm=tm: do_groups(tm, n), n)
            rates[name + ", batched, full results"] = rate(
                lambda n, tm=tm: do_groups(tm, n, full=True), n
            )
            rates[name + ", batched, full results, attempts"] = rate(
                lambda n, tm=tm: do_groups(tm, n, full=True, attempt=True), n
            )
            tm.get_random_task()  # the first one reads all rows
            rates[name + ", random"] = rate(lambda n, tm=tm: do_random(tm, n), n)
    with no_journal(), open_copy(path, load_into_memory=True, backup_interval=None) as tm:
        rates["memory, no journal"] = rate(lambda n: do_tasks(tm, n))
        rates["memory, no journal, full results"] = rate(lambda n: do_tasks(tm, n, full=True))
    return rates


def measure_first_and_last(path, n_rows):
    """Microseconds of processor time per task at the first and at the last rows, for each set of
    constraints.
    """
    n = min(N_TIMED // 2, n_rows // 50 // STRETCH * STRETCH)
    rng = np.random.default_rng(2)
    chosen = np.sort(rng.choice(n_rows, min(20000, n_rows // 2), replace=False)) + 1
    cost = {}
    for name, constraints in CONSTRAINTS.items():
        with open_copy(path, load_into_memory=True, backup_interval=None) as tm:
            if "priority" in constraints:
                constraints = {"priority": chosen.tolist()}
            if "starid" in constraints:
                sql = (
                    f"SELECT starid FROM todolist WHERE priority IN ({', '.join(map(str, chosen))})"
                )
                constraints = {"starid": [row[0] for row in tm.conn.execute(sql)]}
            first = rate(lambda n, tm=tm, c=constraints: do_tasks(tm, n, **c), n, time.process_time)
            finish(tm, n, constraints)
            tm.get_task(**constraints)
            last = rate(lambda n, tm=tm, c=constraints: do_tasks(tm, n, **c), n, time.process_time)
        cost[name] = (1e6 / first, 1e6 / last)
    return cost


def measure_backups(path, n_rows):
    """Processor time of a whole run in memory mode in groups, with the backups that are made by
    default, over that without.
    """
    seconds = {}
    for options in ({}, {"backup_interval": None}) * 2:
        with open_copy(path, load_into_memory=True, **options) as tm:
            begin = time.process_time()
            do_groups(tm, n_rows, full=True)
            taken = time.process_time() - begin
        name = "without" if options else "with"
        seconds[name] = min(taken, seconds.get(name, taken))
    return seconds["with"] / seconds["without"]


def measure_stalls(path):
    """The longest single call, ms, with backups and summaries, and without."""
    longest = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, options in {
            "with": {"backup_interval": 2000, "summary": f"{folder}/summary.json"},
            "without": {"backup_interval": None},
        }.items():
            with open_copy(path, load_into_memory=True, **options) as tm:
                seconds = []
                end = time.perf_counter() + 6.0
                while time.perf_counter() < end and (task := tm.get_task()):
                    begin = time.perf_counter()
                    tm.start_task(task["priority"])
                    tm.save_result(as_result(task))
                    tm.get_task()
                    seconds.append(time.perf_counter() - begin)
            longest[name] = 1e3 * max(seconds)
    return longest


def measure_life(path, n_rows):
    """Seconds to open, back up and close; bytes of memory per row when opened, and when all rows
    are done.
    """
    gc.collect()
    process, life = psutil.Process(), {}
    before, begin = process.memory_info().rss, time.perf_counter()
    with open_copy(path, load_into_memory=True) as tm:
        life["open_seconds"] = time.perf_counter() - begin
        life["bytes_per_row"] = (process.memory_info().rss - before) / n_rows
        do_groups(tm, min(n_rows, 200_000) // GROUP * GROUP)
        life["bytes_per_row_after_200000_results"] = (process.memory_info().rss - before) / n_rows
        begin = time.perf_counter()
        tm.backup()
        life["backup_seconds"] = time.perf_counter() - begin
        begin = time.perf_counter()
    life["close_seconds"] = time.perf_counter() - begin
    begin = time.perf_counter()
    with open_copy(path, load_into_memory=False):
        life["open_seconds_file_mode"] = time.perf_counter() - begin
    return life


@contextlib.contextmanager
def open_copy(path, **options):
    """A TaskManager of a fresh copy of the file."""
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        copy = Path(folder) / "todo.sqlite"
        shutil.copy(path, copy)
        with TaskManager(copy, **options) as tm:
            yield tm


# --- tables
# --------------------------------------------------------------------------------------------------


def raw_name(name):
    """What a rate is compared with."""
    ends = ("batched", "full results")
    return ", ".join(
        ["raw", "file" if "file" in name else "memory", *[end for end in ends if end in name]]
    )


def report(n_rows, path):
    print(f"\n## {n_rows} rows\n")
    life = measure_life(path, n_rows)
    for name, value in life.items():
        print(f"{name:40} {value:10.3f}")
    rates = measure_rates(path)
    print(f"\n{'tasks per second':52} {'rate':>9} {'of raw':>7}")
    for name, value in rates.items():
        print(f"{name:52} {value:9.0f} {value / rates[raw_name(name)]:7.2f}")
    for end in ("", ", full results"):
        print(
            "journal costs "
            f"{1 - rates['memory' + end] / rates['memory, no journal' + end]:.0%}{end}"
        )
    print(f"\n{'CPU us per task':24} {'first rows':>10} {'last rows':>10} {'ratio':>6}")
    cost = measure_first_and_last(path, n_rows)
    for name, (first, last) in cost.items():
        print(f"{name:24} {first:10.1f} {last:10.1f} {last / first:6.2f}")
    # Also a moment without a processor, as others use the machine, looks like a stall: the better
    # of two counts.
    stalls = min((measure_stalls(path) for _ in range(2)), key=lambda stalls: stalls["with"])
    print(
        f"\nlongest start + save + get: {stalls['with']:.1f} ms with backups and summaries, "
        f"{stalls['without']:.1f} ms without"
    )
    backups = measure_backups(path, min(n_rows, 200_000))
    print(f"backups cost {backups - 1:.1%} of the processor time of a run")
    return {
        "rows": n_rows, "life": life, "rates": rates, "cost": cost, "stalls_ms": stalls,
        "backups": backups,
    }  # fmt: skip


def note(figures, found):
    """The figures that stand beside a limit."""
    rows, rates = f"{found['rows']:,} rows", found["rates"]
    for name, aim in (
        ("memory", "60 %"),
        ("file", ""),
        ("memory, batched", "70 %"),
        ("memory, batched, full results", ""),
    ):
        figures.add(
            f"get + start + save, {name}, {rows}", rates[name], "tasks/s",
            limit="bare sqlite3", bound=rates[raw_name(name)], aim=aim and f"{aim} of bare sqlite3",
        )  # fmt: skip
    journal = 100 * (1 - rates["memory"] / rates["memory, no journal"])
    figures.add(f"cost of the journal, {rows}", journal, "%", aim="at most 25 %")
    figures.add(
        f"cost of the backups, {rows}", 100 * (found["backups"] - 1), "%", aim="at most 5 %"
    )
    worst = max(last / first for first, last in found["cost"].values())
    figures.add(
        f"cost of the last rows over that of the first, worst constraints, {rows}",
        worst,
        "times",
        aim="at most 1.2",
    )
    figures.add(
        f"longest start + save + get, with backups, {rows}",
        found["stalls_ms"]["with"],
        "ms",
        aim="at most 50",
    )
    figures.add(
        f"memory when opened, {rows}",
        found["life"]["bytes_per_row"],
        "bytes/row",
        aim="less than 250",
    )


def draw(figures, images, sizes, folder):
    """Cost of a task against the number of rows, and of opening."""
    from figures import plot_costs

    costs = {
        "get + start + save, first rows": [],
        "get + start + save, last rows": [],
        "opening, for each row": [],
    }
    for n_rows in sizes:
        with tempfile.TemporaryDirectory(dir=folder) as name:
            make_todo(Path(name) / "todo.sqlite", n_rows)
            begin = time.process_time()
            with open_copy(
                Path(name) / "todo.sqlite", load_into_memory=True, backup_interval=None
            ) as tm:
                opening = time.process_time() - begin
                first = rate(lambda n, tm=tm: do_tasks(tm, n), STRETCH * 2, time.process_time)
                finish(tm, STRETCH * 2, {})
                tm.get_task()
                last = rate(lambda n, tm=tm: do_tasks(tm, n), STRETCH * 2, time.process_time)
        for label, cost in zip(costs, (1 / first, 1 / last, opening / n_rows), strict=True):
            costs[label].append(1e6 * cost)
    path = images / "taskmanager-cost.png"
    plot_costs(
        path,
        {label: (sizes, cost) for label, cost in costs.items()},
        xlabel="rows of the TODO-file",
        ylabel="processor time (us)",
        title="What a task costs the TaskManager, in memory, with its journal",
    )
    figures.plots.append(
        (path.name, "Processor time per task against the number of rows: constant means slope 0.")
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument(
        "--quick",
        action="store_true",
        help="100,000 rows, and only the rates, the costs and the plot",
    )
    parser.add_argument("--json", type=Path, help="write the figures there as well")
    parser.add_argument(
        "--images", type=Path, help="draw the cost against the number of rows into this folder"
    )
    parser.add_argument(
        "--folder", type=Path, help="where to work (default: the folder for temporary files)"
    )
    args = parser.parse_args()
    from figures import Figures, print_load

    print_load()
    figures = Figures("python benchmarks/bench_taskmanager.py --rows 100000 1000000 10000000")
    if args.quick:
        args.rows = [100_000]
    for n_rows in args.rows:
        with tempfile.TemporaryDirectory(dir=args.folder) as folder:
            path = Path(folder) / "todo.sqlite"
            begin = time.perf_counter()
            make_todo(path, n_rows)
            print(
                f"made {n_rows} rows in {time.perf_counter() - begin:.1f} s, "
                f"{path.stat().st_size / n_rows:.0f} bytes each"
            )
            note(figures, report(n_rows, path))
    if args.images is not None:
        draw(figures, args.images, (3_000, 10_000, 30_000, 100_000, 300_000), args.folder)
    figures.write(args.json)


if __name__ == "__main__":
    main()
