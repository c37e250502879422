"""How many events a second the queues carry, how soon a file is acted upon, and what waiting costs.

    python benchmarks/bench_events.py [--number 20000] [--workers 4] [--settle 0.5] [--idle 10]

The original's figures, beside which ours are printed, are those of the specification: measured with its queue in memory
and through its manager process, which keeps nothing on disk. A rate is the best of three rounds, since others may use the machine.
"""

import argparse
import queue
import statistics
import subprocess
import sys
import tempfile
import time
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
from photometry.events.workers import WorkerPool

ORIGINAL = {"put, in memory": 214e3, "put, shared": 4.9e3, "get and finish, shared": 11e3}
ROUNDS = 3
HEADER = (
    "SIMPLE  =                    T",
    "BITPIX  =                    8",
    "NAXIS   =                    0",
    "END",
)
PIPELINE = "event_table = {'next_file': ('nothing', None, None)}\ndef nothing(action, context): return action.args\n"


def rate(number, function):
    """Calls per second of ``function(i)``."""
    start = time.perf_counter()
    for i in range(number):
        function(i)
    return number / (time.perf_counter() - start)


def queue_rates(make_queue, number, kind):
    """Puts, and gets with their finishing, per second; a put includes the making of its event."""
    events = make_queue()
    puts = rate(number, lambda i: events.put(Event("next_file", Arguments(name="a.fits"))))
    gets = rate(number, lambda i: events.finish(events.get(block=False).id))
    events.close()
    return {f"put, {kind}": puts, f"get and finish, {kind}": gets}


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
    with events._reading() as db:
        first, last = db.execute("SELECT MIN(taken), MAX(finished) FROM items").fetchone()
    events.close()
    return number / (last - first)


class TimesPipeline(BasePipeline):
    """Tells when each action began."""

    event_table: ClassVar = {"next_file": ("tell", None, None)}

    def __init__(self, context=None):
        super().__init__(context)
        self.times = queue.Queue()

    def tell(self, action, context):
        """The action."""
        self.times.put(time.monotonic())
        return action.args


def latencies(folder, settle, number=10, **values):
    """Seconds from the moment a file is complete until its first action begins, beyond the settle time."""
    data = folder / f"data-{time.monotonic_ns()}"
    data.mkdir()
    framework = Framework(TimesPipeline, quiet(folder, settle_time=settle, **values))
    framework.ingest_data(str(data), monitor=True)
    framework.wait_for_event = framework.config.no_event_event = Event("no_event")
    framework.start_action_loop()
    found, content = [], b"".join(f"{card:80}".encode() for card in HEADER).ljust(2880)
    for i in range(number):
        (data / f"{i}.fits").write_bytes(content)
        complete = time.monotonic()
        found.append(framework.pipeline.times.get(timeout=60) - complete - settle)
    framework.stop()
    framework.wait_for_ever()
    return found


def idle_load(folder, seconds):
    """CPU time over wall time, in percent, of ``photometry watch`` on an empty folder."""
    import psutil

    data = folder / "idle"
    data.mkdir()
    command = [sys.executable, "-m", "photometry", "watch", str(data), "--quiet"]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    watched = psutil.Process(process.pid)
    time.sleep(3)  # its start is not idling
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


def show(figures, name, value):
    """One line: ours, and the original's where there is one."""
    figures.add(
        f"events, {name}",
        value,
        "events/s",
        limit="the original, as specified",
        bound=ORIGINAL.get(name),
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
        shared = lambda: SharedEventQueue(folder / f"q-{time.monotonic_ns()}.sqlite")  # noqa: E731
        rounds = [
            queue_rates(SimpleEventQueue, options.number, "in memory")
            | queue_rates(shared, options.number, "shared")
            for _ in range(ROUNDS)
        ]
        for name in rounds[0]:
            show(figures, name, max(found[name] for found in rounds))
        show(
            figures, "whole loop, in memory", framework_rate(folder, options.number, quiet(folder))
        )
        config = quiet(folder, queue_file=str(folder / "loop.sqlite"))
        show(
            figures, "whole loop, shared, 1 process", framework_rate(folder, options.number, config)
        )
        pool = pool_rate(folder, options.number, options.workers)
        show(figures, f"whole loop, shared, {options.workers} processes", pool)
        for kind, file in (("in memory", None), ("shared", str(folder / "latency.sqlite"))):
            found = latencies(folder, options.settle, queue_file=file)
            middle, worst = 1e3 * statistics.median(found), 1e3 * max(found)
            figures.add(
                f"file to first action beyond the settle time, {kind}, median", middle, "ms"
            )
            figures.add(f"file to first action beyond the settle time, {kind}, worst", worst, "ms")
        figures.add("idle `photometry watch`", idle_load(folder, options.idle), "% of a core")
    figures.write(options.json)


if __name__ == "__main__":
    main()
