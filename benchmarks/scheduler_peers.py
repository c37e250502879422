"""Schedulers of others on our no-op and 10-ms tasks, each as its documentation shows it; used by
`bench_scheduler.py`.

python benchmarks/scheduler_peers.py NAME ANSWER.json [--quick]
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

WORKERS = 2
NAP = 0.01  # s
TASK = {
    "priority": 0,
    "starid": 25155310,
    "sector": 1,
    "camera": 4,
    "ccd": 1,
    "cadence": 120,
    "datasource": "tpf",
    "method": None,
    "tmag": 10.5,
}


@dataclass(frozen=True)
class Peer:
    """A scheduler to compare with."""

    name: str
    how: str
    survives: str
    n_noop: int
    measure: Callable  # (n_noop, n_nap) -> (no-op tasks/s, share of two workers with 10-ms tasks)


def noop(task):
    return {**task, "status": 1, "method_used": "noop", "details": {}}


def nap(task):
    time.sleep(NAP)
    return noop(task)


def tasks(n):
    return [dict(TASK, priority=number) for number in range(n)]


def rates(do, n_noop, n_nap):
    """``do(function, tasks)`` returns when all is done: (no-op tasks/s, share of the 10-ms tasks
    that fit in).
    """
    do(noop, tasks(20))  # workers are up
    start = time.perf_counter()
    do(noop, tasks(n_noop))
    between = time.perf_counter()
    do(nap, tasks(n_nap))
    return n_noop / (between - start), n_nap * NAP / WORKERS / (time.perf_counter() - between)


def futures_processes(chunk):
    def measure(n_noop, n_nap):
        from concurrent.futures import ProcessPoolExecutor

        with ProcessPoolExecutor(WORKERS) as pool:
            return rates(
                lambda function, todo: list(pool.map(function, todo, chunksize=chunk)),
                n_noop,
                n_nap,
            )

    return measure


def futures_mpi(chunk):
    """Started once more, under mpiexec; rank 0 measures."""

    def measure(n_noop, n_nap):
        import mpi4py.futures  # noqa: F401 - to say early where it is missing

        answer = Path("mpi-answer.json")
        inside = [__file__, "--inside-mpi", str(answer), str(chunk), str(n_noop), str(n_nap)]
        command = [
            "mpiexec",
            "-n",
            str(WORKERS + 1),
            sys.executable,
            "-m",
            "mpi4py.futures",
            *inside,
        ]
        subprocess.run(command, check=True)
        return json.loads(answer.read_text(encoding="utf-8"))

    return measure


def inside_mpi(answer, chunk, n_noop, n_nap):
    from mpi4py.futures import MPIPoolExecutor

    with MPIPoolExecutor() as pool:
        found = rates(
            lambda function, todo: list(pool.map(function, todo, chunksize=int(chunk))),
            int(n_noop),
            int(n_nap),
        )
    Path(answer).write_text(json.dumps(found), encoding="utf-8")


def dask(n_noop, n_nap):
    from dask.distributed import Client, LocalCluster

    with (
        LocalCluster(n_workers=WORKERS, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        return rates(
            lambda function, todo: client.gather(client.map(function, todo, pure=False)),
            n_noop,
            n_nap,
        )


def parsl(n_noop, n_nap):
    import parsl
    from parsl.config import Config
    from parsl.executors import HighThroughputExecutor
    from parsl.providers import LocalProvider

    provider = LocalProvider(init_blocks=1, max_blocks=1)
    executor = HighThroughputExecutor(
        max_workers_per_node=WORKERS, address="127.0.0.1", provider=provider
    )
    with parsl.load(Config(executors=[executor], run_dir="parsl", usage_tracking=0)):
        apps = {
            function: parsl.python_app(function)
            for function in (self_contained_noop, self_contained_nap)
        }
        named = {noop: apps[self_contained_noop], nap: apps[self_contained_nap]}

        def do(function, todo):
            for future in [named[function](task) for task in todo]:
                future.result()

        return rates(do, n_noop, n_nap)


def self_contained_noop(task):
    return {**task, "status": 1, "method_used": "noop", "details": {}}


def self_contained_nap(task):
    import time

    time.sleep(0.01)
    return {**task, "status": 1, "method_used": "nap", "details": {}}


def hyperqueue(n_noop, n_nap):
    """Its tasks are programs: `true` and `sleep`; a Python function would start an interpreter for
    each (10 tasks/s).
    """
    from hyperqueue import Job
    from hyperqueue.cluster import LocalCluster, WorkerConfig

    programs = {noop: ["true"], nap: ["sleep", str(NAP)]}
    with LocalCluster() as cluster:
        cluster.start_worker(WorkerConfig(cores=WORKERS))
        client = cluster.client()

        def do(function, todo):
            job = Job()
            for _ in todo:
                job.program(programs[function], stdout=None, stderr=None)
            client.wait_for_jobs([client.submit(job)])

        return rates(do, n_noop, n_nap)


PEERS = (
    Peer("mpi4py.futures", "task by task", "no", 10_000, futures_mpi(1)),
    Peer("mpi4py.futures, chunks", "of 100, chosen by hand", "no", 100_000, futures_mpi(100)),
    Peer("concurrent.futures", "task by task", "no", 10_000, futures_processes(1)),
    Peer(
        "concurrent.futures, chunks",
        "of 100, chosen by hand",
        "no",
        100_000,
        futures_processes(100),
    ),
    Peer("dask.distributed", "map", "no", 4000, dask),
    Peer("parsl", "high-throughput executor", "only with checkpoints, off by default", 3000, parsl),
    Peer("HyperQueue", "programs", "only with a journal, off by default", 1000, hyperqueue),
)


def main():
    if sys.argv[1] == "--inside-mpi":
        return inside_mpi(*sys.argv[2:])
    (peer,) = (peer for peer in PEERS if peer.name == sys.argv[1])
    quick = "--quick" in sys.argv
    found = peer.measure(peer.n_noop // (2 if quick else 1), 200 if quick else 1000)
    return Path(sys.argv[2]).write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main()
