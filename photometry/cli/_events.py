"""What the verbs ``events`` and ``watch`` share."""

import logging


def log_level():
    """Let the loggers of the event framework say as much as those of this package."""
    level = logging.getLogger("photometry").level
    for name in ("DRPF", "pipeline"):
        logging.getLogger(name).setLevel(level)
