"""One thread per worker unless the user says otherwise: libraries that start one per core slow each other down."""

import contextlib
import os

THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "NUMBA_NUM_THREADS",
)


def limit_threads(environ=None):
    """Set the thread variables that are not set to 1. Has an effect on libraries that are loaded afterwards."""
    environ = os.environ if environ is None else environ
    for name in THREAD_VARIABLES:
        environ.setdefault(name, "1")


@contextlib.contextmanager
def threads_limited():
    """Limit the threads of the processes that are started in this block, not those of this one."""
    added = [name for name in THREAD_VARIABLES if name not in os.environ]
    limit_threads()
    try:
        yield
    finally:
        for name in added:
            del os.environ[name]
