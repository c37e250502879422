"""The engine of MPI: rank 0 is the master, the others work. The only module that imports mpi4py.

No rank blocks in MPI while waiting, as that burns a core on most builds; all poll and sleep
in between, longer the longer nothing comes.
"""

import logging
import sys
import time
import traceback
from collections import deque

from ..errors import WrongUseError
from .limits import MPICH_FAMILY, launched_ranks, launcher
from .protocol import BYE, FINISH, LOST, load_handler
from .reporting import collect_from_here
from .work import TaskRunner
from .worker import Worker

log = logging.getLogger(__name__)

SHORTEST_SLEEP = 20e-6  # s; a message between two nodes takes about this long
# s; what a rank wrote takes a while to reach the launcher, which drops it when the job is ended
ABORT_FLUSH_DELAY = 0.3
END_PATIENCE = 5.0  # s that a rank gets to end when asked to
# s that ranks get which have not started yet: imports from a network disk take long
START_PATIENCE = 60.0
# s; adds at most this to the answer after a long wait, and costs about 1 % of a core
LONGEST_SLEEP = 5e-3


def world():
    """All ranks, in a communicator of our own: messages of one run never meet those of another, or
    of the work itself.

    Every rank has to call this.

    Raises
    ------
    WrongUseError : where mpi4py is missing, or is built for another MPI than the one that started
        this process
    """
    MPI = _library()
    vendor = MPI.get_vendor()[0]
    if launcher() == "Open MPI" and vendor in MPICH_FAMILY:
        raise WrongUseError(
            f"started by the mpiexec of Open MPI, but mpi4py is built for {vendor}; "
            f"use the mpiexec of {vendor}, or install mpi4py against Open MPI"
        )
    if not MPI.Is_initialized():
        MPI.Init_thread()
    size = launched_ranks()[1]
    if MPI.COMM_WORLD.size != size:
        raise WrongUseError(
            f"the launcher started {size} ranks, but mpi4py sees {MPI.COMM_WORLD.size}: "
            f"it is built for another MPI ({MPI.Get_library_version().splitlines()[0].strip()}) "
            "than this launcher's; "
            "use the mpiexec of that MPI, or install mpi4py against this one"
        )
    return MPI.COMM_WORLD.Dup()


def _library():
    """The module of mpi4py, without starting MPI: under the launcher of another MPI that ends the
    process.
    """
    try:
        import mpi4py

        mpi4py.rc.initialize = False
        mpi4py.rc.finalize = True
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:
        raise WrongUseError(
            f"started by an MPI launcher, but mpi4py cannot be used ({error}); "
            "install it with pip install 'photometry[mpi]', or against your site's MPI with "
            "pip install mpi4py"
        ) from None
    return MPI


class _Mail:
    """Sends without waiting, receives without blocking."""

    def __init__(self, comm):
        from mpi4py import MPI

        self._comm = comm
        self._status = MPI.Status()
        self._sent = deque()
        self._sleep = SHORTEST_SLEEP

    def send(self, rank, message):
        """Send; MPI keeps the message until the other side takes it."""
        self._sent.append(self._comm.isend(message, rank))
        while self._sent and self._sent[0].Test():
            self._sent.popleft()

    def take(self):
        """List of (rank, message) for all that has arrived."""
        mail = []
        while (message := self._comm.improbe(status=self._status)) is not None:
            mail.append((self._status.source, message.recv()))
        return mail

    def take_within(self, timeout):
        """As `take`, but waits up to ``timeout`` seconds for something to arrive."""
        end = time.perf_counter() + timeout
        while not (mail := self.take()) and time.perf_counter() < end:
            time.sleep(self._sleep)
            self._sleep = min(2 * self._sleep, LONGEST_SLEEP)
        if mail:
            self._sleep = SHORTEST_SLEEP
        return mail

    def flush(self, timeout=10.0):
        """Wait until everything sent was taken."""
        end = time.perf_counter() + timeout
        while self._sent and time.perf_counter() < end:
            if self._sent[0].Test():
                self._sent.popleft()
            else:
                time.sleep(1e-3)


class _RankChannel:
    def __init__(self, comm):
        self._mail = _Mail(comm)

    def send(self, message):
        self._mail.send(0, message)

    def receive(self, wait):
        messages = self._mail.take()
        while wait and not messages:
            messages = self._mail.take_within(1.0)
        return [message for _, message in messages]

    def flush(self):
        self._mail.flush()


def run_worker(comm, handler, recycle=None):
    """What ranks 1, 2, ... do. An exception outside of a task would hang the other ranks: it ends
    the whole job.

    Parameters
    ----------
    comm : the communicator
    handler : `protocol.Handler`
    recycle : int or None, see `work.TaskRunner`
    """
    try:
        collect_from_here(only=True)
        channel = _RankChannel(comm)
        Worker(channel, TaskRunner(load_handler(handler), rank=comm.rank, recycle=recycle)).run()
        channel.flush()
    except BaseException:  # noqa: BLE001 - the edge of the rank
        sys.stderr.write(traceback.format_exc())
        abort(70)


def abort(code):
    """End all ranks at once."""
    sys.stdout.flush()
    sys.stderr.flush()
    time.sleep(ABORT_FLUSH_DELAY)
    _library().COMM_WORLD.Abort(code)  # of another communicator, launchers do not report the code


class MpiEngine:
    """The master's side.

    Parameters
    ----------
    comm : the communicator; all its ranks but 0 run `run_worker`
    """

    def __init__(self, comm):
        self._mail = _Mail(comm)
        self._working = set(range(1, comm.size))
        self._starting = set(self._working)
        self._given_up = []
        self.abandoned = set()  # ranks that hang: MPI cannot end them one by one
        # a second FINISH would find no receiver: MPI ends badly when a message is never received
        self._dismissed = set()

    def send(self, worker, message):
        """Send a message to a rank."""
        if message[0] == FINISH:
            self._dismissed.add(worker)
        self._mail.send(worker, message)

    def receive(self, timeout):
        """Wait up to ``timeout`` seconds; return (rank, message) for all that has arrived."""
        if self._given_up:
            events, self._given_up = self._given_up, []
            return events
        events = self._mail.take_within(timeout)
        self._starting -= {rank for rank, _ in events}
        self._working -= {rank for rank, message in events if message[0] == BYE}
        return events

    def kill(self, worker, why):
        """Give a rank up. It cannot be killed from here without ending the whole job, so it is left
        alone.
        """
        self._working.discard(worker)
        self.abandoned.add(worker)
        self._given_up.append((worker, (LOST, why, None)))

    def stop_within(self, seconds):
        """Called in the signal handler; workers are separate, the master's loop sees to it."""

    @property
    def alive(self):
        """Number of ranks that work."""
        return len(self._working)

    def close(self):
        """Have the ranks that still work end; `end_job` ends those that do not do so in time."""
        for rank in self._working - self._dismissed:
            self.send(rank, (FINISH,))
        end = time.monotonic() + (START_PATIENCE if self._starting else END_PATIENCE)
        while self._working and time.monotonic() < end:
            n_starting = len(self._starting)
            self.receive(0.1)  # what was not saved is done again
            if n_starting and not self._starting:  # the last one has just started
                end = time.monotonic() + END_PATIENCE
        self._mail.flush()
        self.abandoned |= self._working
        self._working = set()

    def end_job(self, code):
        """After everything is safe: where ranks hang, the only way to end is to end them all, with
        ``code``.
        """
        if self.abandoned:
            log.warning(
                "ranks %s did not end by themselves; the MPI job is ended", sorted(self.abandoned)
            )
            self.abort(code)

    def abort(self, code):
        """End all ranks at once."""
        abort(code)
