"""STATUS: what became of a task."""

import enum


class STATUS(enum.IntEnum):
    """What became of a task. In the TODO-file NULL, not a member of this enum, means that it is
    still to do.

    ``UNKNOWN``: the work ended without saying how; never written by this package, but found in
    files of other tools.

    ``OK``: the light curve was made and nothing about it is in doubt.

    ``ERROR``: no light curve; the reason is in ``diagnostics.errors``. Opening the TODO-file again
    retries it.

    ``WARNING``: the light curve was made, but should be looked at before it is believed, e.g.
    because the target got a minimum mask.

    ``ABORT``: the work was stopped from outside before it ended. Opening the TODO-file again
    retries it.

    ``SKIPPED``: no light curve on purpose: the target lies in the mask of a brighter star, see
    ``photometry_skipped``.

    ``STARTED``: handed to a worker that has not reported back; after a crash, the trace of what was
    running.
    """

    UNKNOWN = 0
    OK = 1
    ERROR = 2
    WARNING = 3
    ABORT = 4
    SKIPPED = 5
    STARTED = 6
