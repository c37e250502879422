"""What the verbs ``events`` and ``watch`` share."""

import logging


def log_level():
    """Let the loggers of the event framework say as much as those of this package."""
    # --quiet is a level of the handler
    levels = [handler.level for handler in logging.getLogger().handlers]
    level = max([logging.getLogger("photometry").level, *levels])
    for name in ("DRPF", "pipeline"):
        logging.getLogger(name).setLevel(level)


def debugging():
    """Whether --debug was given: then the log has tracebacks."""
    return logging.getLogger("photometry").level == logging.DEBUG
