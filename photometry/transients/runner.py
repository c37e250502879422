"""Who does the image work: this process, local processes, or the ranks of an MPI job."""

import logging
import os
import traceback

from ..errors import BadInputError, PhotometryError
from . import tasks

log = logging.getLogger(__name__)

METHODS = ("serial", "multiproc", "mpi")


class Runner:
    """Maps functions of `tasks` over images; a context manager.

    Parameters
    ----------
    distributor : 'serial', 'multiproc' or 'mpi'
    cores : int, processes; 0: as many as there are cores
    executor : concurrent.futures.Executor, for 'mpi': that of ``mpi4py.futures``

    Raises
    ------
    NotImplementedError : no such distributor
    """

    def __init__(self, distributor="serial", cores=0, executor=None):
        if distributor not in METHODS:
            raise NotImplementedError(f"{distributor!r}: expected one of {', '.join(METHODS)}")
        self.distributor = distributor
        self._executor, self._pool = executor, None
        self.set_cores(cores)

    def set_cores(self, cores):
        """Use so many processes from now on; 0: as many as there are cores."""
        self.close()
        self.cores = int(cores) or len(os.sched_getaffinity(0))

    def map(self, func_name, iterable, args=()):
        """Call ``function(item, *args)`` for each item.

        Parameters
        ----------
        func_name : str, a function of `tasks`
        iterable : items that can be pickled
        args : further arguments, the same for all

        Returns
        -------
        list, in the order of the items

        Raises
        ------
        NotImplementedError : no such function
        BadInputError : the first item that failed
        """
        results = self.map_each(func_name, iterable, args)
        for result in results:
            if isinstance(result, BadInputError):
                raise result
        return results

    def map_each(self, func_name, iterable, args=()):
        """As `map`; what a bad item gives is its BadInputError, in its place.

        Parameters
        ----------
        func_name : str, a function of `tasks`
        iterable : items that can be pickled
        args : further arguments, the same for all
        """
        if not callable(getattr(tasks, func_name, None)):
            raise NotImplementedError(f"no task {func_name!r}")
        jobs = [(func_name, item, tuple(args)) for item in iterable]
        if self.distributor == "mpi" and self._executor is not None:
            return list(self._executor.map(call, jobs))
        if self.distributor == "multiproc" and self.cores > 1 and len(jobs) > 1:
            return list(self._processes().in_order(jobs))
        return [call(job) for job in jobs]

    def _processes(self):
        if self._pool is None:
            from ..processes import Pool

            self._pool = Pool(self.cores, _call_shared, None)
            self._pool.__enter__()
        return self._pool

    def close(self):
        """End the processes."""
        if getattr(self, "_pool", None) is not None:
            self._pool.__exit__(None, None, None)
        self._pool = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def call(job):
    """Do one piece of image work; whatever goes wrong with an image is a fact about the image, and
    is returned."""
    name, item, args = job
    try:
        return getattr(tasks, name)(item, *args)
    except BadInputError as error:
        return error
    except PhotometryError:
        raise
    except Exception as error:  # noqa: BLE001 - the worker's edge: one image must not stop a run
        log.debug("%s", traceback.format_exc())
        return BadInputError(f"{_name(item)}: {type(error).__name__}: {error}")


def _call_shared(_, job):
    return call(job)


def _name(item):
    first = item[0] if isinstance(item, tuple) else item
    return getattr(first, "url", "") or str(first)[:200]
