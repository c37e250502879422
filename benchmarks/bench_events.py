"""How many events a second the queues carry, how soon a file is acted upon, and what waiting costs.

    python benchmarks/bench_events.py [--number 20000] [--workers 4] [--settle 0.5] [--idle 10]

Where the original is installed (``pip install KeckDRPFramework``), its queues are measured in the
same rounds, one after the other with ours, and ours are shown as a multiple of them: in memory, and
through its manager process, which keeps nothing on disk. Where it is not, that is said. A rate is
the best of three rounds, since others may use the machine.
"""

import argparse
import queue
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar

from photometry.events import (
    Arguments,
    BasePipeline,
    ConfigClass,
    Event,
    Framework,
    SharedEventQueue,
    SimpleEventQueue,
)
from photometry.events.startup import WorkerPool

SECRET = b"only for this benchmark"
ROUNDS = 3
HEADER = (
    "SIMPLE  =                    T",
    "BITPIX  =                    8",
    "NAXIS   =                    0",
    "END",
)
PIPELINE = (
    "event_table = {'next_file': ('nothing', None, None)}\ndef nothing(action, context): "
    "return action.args\n"
)


def rate(number, function):
    """Calls per second of ``function(i)``."""
    start = time.perf_counter()
    for i in range(number):
        function(i)
    return number / (time.perf_counter() - start)


def queue_rates(events, finish, make_event, number):
    """Puts, and gets with their finishing, per second; a put includes the making of its event.

    Parameters
    ----------
    events : a queue, ours or the original's
    finish : callable(event id)
    make_event : callable()
    number : int

    Returns
    -------
    (puts, gets) : events per second
    """
    puts = rate(number, lambda i: events.put(make_event()))
    return puts, rate(number, lambda i: finish(events.get(block=False).id))


def our_event():
    """An event of ours."""
    return Event("next_file", Arguments(name="a.fits"))


class Queues:
    """All queues that are compared, ours and the original's where it is installed; a context
    manager.

    Parameters
    ----------
    folder : pathlib.Path, on a local disk
    """

    def __init__(self, folder):
        self.folder = folder
        self.original = find_spec("keckdrpframework") is not None
        self.processes = []

    def __enter__(self):
        from photometry.events import get_event_queue, start_queue_manager

        port, path = free_port(), self.folder / "served.sqlite"
        self.processes.append(start_queue_manager("localhost", port, SECRET, queue_file=path))
        self.served = get_event_queue("localhost", port, SECRET)
        if self.original:
            from keckdrpframework.core import queues

            port = free_port()
            self.processes.append(queues.start_queue_manager("localhost", port, SECRET, None))
            self.managed = queues.get_event_queue("localhost", port, SECRET)
        return self

    def __exit__(self, *_):
        self.served.close()
        for process in self.processes:
            process.terminate()

    def rates(self, number):
        """One round: dict of (whose, kind) -> (puts, gets) per second."""
        file = SharedEventQueue(self.folder / f"q-{time.monotonic_ns()}.sqlite")
        memory = SimpleEventQueue()
        found = {
            ("ours", "in memory"): queue_rates(memory, memory.finish, our_event, number),
            ("ours", "file"): queue_rates(file, file.finish, our_event, number),
            ("ours", "server"): queue_rates(self.served, self.served.finish, our_event, number),
        }
        file.close()
        if self.original:
            from keckdrpframework.core.queues import SimpleEventQueue as Theirs
            from keckdrpframework.models.arguments import Arguments as TheirArguments
            from keckdrpframework.models.event import Event as TheirEvent

            def make():
                return TheirEvent("next_file", TheirArguments(name="a.fits"))

            memory, managed = Theirs(), self.managed
            found["original", "in memory"] = queue_rates(memory, memory.discard, make, number)
            found["original", "manager"] = queue_rates(managed, managed.discard, make, number)
        return found


def free_port():
    """A port that nobody listens at."""
    with socket.create_server(("localhost", 0)) as server:
        return server.getsockname()[1]


def compare_queues(figures, folder, number):
    """Measure all queues in rounds, and note ours beside the original's."""
    with Queues(folder) as queues:
        if not queues.original:
            print(
                "the original is absent (pip install --no-deps KeckDRPFramework "
                "importlib_resources)"
            )
        rounds = [queues.rates(number) for _ in range(ROUNDS)]
    best = {key: [max(one[key][i] for one in rounds) for i in (0, 1)] for key in rounds[0]}
    for (whose, kind), rates in best.items():
        if whose != "ours":
            continue
        against = "in memory" if kind == "in memory" else "manager"
        bounds = best.get(("original", against), [None, None])
        for name, value, bound in zip(("put", "get and finish"), rates, bounds, strict=True):
            figures.add(
                f"events, {name}, {kind}",
                value,
                "events/s",
                limit=f"the original, {against}, in the same rounds" if bound else "",
                bound=bound,
            )


def framework_rate(folder, number, config):
    """Events per second through the whole loop, in one process."""
    framework = Framework(str(folder / "nothing_pipeline.py"), config)
    for _ in range(number):
        framework.append_event("next_file", Arguments(name="a.fits"))
    start = time.perf_counter()
    framework.main_loop()
    return number / (time.perf_counter() - start - config.event_timeout)


def pool_rate(folder, number, workers):
    """Events per second of several worker processes, from the first to the last one finished."""
    config = quiet(folder, queue_file=str(folder / f"pool-{time.monotonic_ns()}.sqlite"))
    events = SharedEventQueue(config.queue_file)
    for _ in range(number):
        events.put(Event("next_file", Arguments(name="a.fits")))
    WorkerPool(str(folder / "nothing_pipeline.py"), config, workers).run()
    items = events.leases.find("done")
    events.close()
    return number / (max(item.finished for item in items) - min(item.taken for item in items))


class TimesPipeline(BasePipeline):
    """Notes when each action began."""

    event_table: ClassVar = {"next_file": ("note", None, None)}

    def __init__(self, context=None):
        super().__init__(context)
        self.times = queue.Queue()

    def note(self, action, context):
        """The action."""
        self.times.put(time.monotonic())
        return action.args


def latencies(folder, settle, number=10, **values):
    """Seconds from the moment a file is complete until its first action begins, beyond the settle
    time.
    """
    data = folder / f"data-{time.monotonic_ns()}"
    data.mkdir()
    framework = Framework(TimesPipeline, quiet(folder, settle_time=settle, **values))
    framework.ingest_data(str(data), monitor=True)
    framework.wait_for_event = framework.config.no_event_event = Event("no_event")
    framework.start_action_loop()
    waits, content = [], b"".join(f"{card:80}".encode() for card in HEADER).ljust(2880)
    for i in range(number):
        (data / f"{i}.fits").write_bytes(content)
        complete = time.monotonic()
        waits.append(framework.pipeline.times.get(timeout=60) - complete - settle)
    framework.stop()
    framework.wait_for_ever()
    return waits


def idle_load(folder, seconds):
    """CPU time over wall time, in percent, of ``photometry watch`` on an empty folder."""
    import psutil

    data = folder / "idle"
    data.mkdir()
    command = [sys.executable, "-m", "photometry", "watch", str(data), "--quiet"]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    watched = psutil.Process(process.pid)
    # its start is not idling
    time.sleep(3)
    before = sum(watched.cpu_times()[:2])
    time.sleep(seconds)
    used = sum(watched.cpu_times()[:2]) - before
    process.terminate()
    process.wait()
    return 100 * used / seconds


def quiet(folder, **values):
    """A configuration for measuring."""
    return ConfigClass(
        output_directory=str(folder), event_timeout=0.1, logger_config_file=None, **values
    )


def main():
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--number", type=int, default=20000)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--settle", type=float, default=0.5)
    parser.add_argument("--idle", type=float, default=10)
    parser.add_argument("--quick", action="store_true", help="5,000 events, 3 s of idling")
    parser.add_argument("--json", type=Path, help="write the figures there as well")
    options = parser.parse_args()
    if options.quick:
        options.number, options.idle = 5000, 3.0
    import logging

    from figures import Figures, print_load

    print_load()
    figures = Figures("python benchmarks/bench_events.py")

    logging.basicConfig(level=logging.ERROR)
    with tempfile.TemporaryDirectory() as where:
        folder = Path(where)
        (folder / "nothing_pipeline.py").write_text(PIPELINE)
        compare_queues(figures, folder, options.number)
        loops = {
            "in memory": framework_rate(folder, options.number, quiet(folder)),
            "file, 1 process": framework_rate(
                folder, options.number, quiet(folder, queue_file=str(folder / "loop.sqlite"))
            ),
            f"file, {options.workers} processes": pool_rate(
                folder, options.number, options.workers
            ),
        }
        for name, value in loops.items():
            figures.add(f"events, whole loop, {name}", value, "events/s")
        for kind, file in (("in memory", None), ("shared", str(folder / "latency.sqlite"))):
            waits = latencies(folder, options.settle, queue_file=file)
            middle, worst = 1e3 * statistics.median(waits), 1e3 * max(waits)
            figures.add(
                f"file to first action beyond the settle time, {kind}, median", middle, "ms"
            )
            figures.add(f"file to first action beyond the settle time, {kind}, worst", worst, "ms")
        figures.add("idle `photometry watch`", idle_load(folder, options.idle), "% of a core")
    figures.write(options.json)


if __name__ == "__main__":
    main()
