"""Share the periods of a search among threads. The compiled kernels release the lock of the interpreter."""

import os
from concurrent.futures import ThreadPoolExecutor

FEWEST = 64  # periods that are worth a thread


def available_cores():
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def over_periods(work, periods, outputs, threads=None):
    """Call ``work(periods, *outputs)`` on interleaved shares of the periods, each in a thread of its own.

    Parameters
    ----------
    work : function that fills the arrays it is given
    periods : (n,) array
    outputs : sequence of (n,) arrays, filled
    threads : int, optional
        By default as many as there are cores, and never more
    """
    cores = available_cores()
    threads = min(threads or cores, cores, max(len(periods) // FEWEST, 1))
    if threads <= 1:
        work(periods, *outputs)
        return

    def share(k):
        mine = [out[k::threads].copy() for out in outputs]
        work(periods[k::threads].copy(), *mine)
        for out, values in zip(outputs, mine, strict=True):
            out[k::threads] = values

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(share, range(threads)))
