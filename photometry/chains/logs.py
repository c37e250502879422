"""A handler of `logging` that writes messages of an attempt into the task database."""

import logging
import threading
import time

from sqlalchemy.exc import SQLAlchemyError

from ..errors import TryAgainError
from .connect import Database
from .finishing import shortened
from .rows import allocate
from .schema import LOG_MESSAGES
from .settings import load_chain_settings

log = logging.getLogger(__name__)

MOST_WAITING = 100  # messages that are written together
LONGEST_WAIT = 1.0  # s that one waits


class EasLoggingHandler(logging.StreamHandler):
    """Prints messages, and stores those of an attempt, several at once over one connection.

    What cannot be stored is reported with the messages of this module and dropped.

    Parameters
    ----------
    database : connect.Database, by default that of the settings
    """

    def __init__(self, database=None):
        super().__init__()
        settings = load_chain_settings()
        self._limit = settings.max_log_message_length
        self._database = database or Database(settings.database_url, patience=10.0)
        self._attempt_id = None
        self._waiting = []
        self._since = 0.0
        self._busy = threading.local()

    def set_task_attempt_id(self, attempt_id=None):
        """Whose messages come from now on; None: nobody's, they are only printed."""
        self.flush_to_database()
        self._attempt_id = attempt_id

    def emit(self, record):
        """Print a message and keep it to be stored."""
        super().emit(record)
        if self._attempt_id is None or getattr(self._busy, "now", False):
            return
        try:
            text = record.getMessage()
            if record.exc_info:
                text += "\n" + logging.Formatter().formatException(record.exc_info)
            self._waiting.append(
                {
                    "generatedByTaskExecution": self._attempt_id,
                    "timestamp": record.created,
                    "severity": record.levelno,
                    "message": shortened(text, self._limit),
                }
            )
            is_urgent = record.levelno >= logging.ERROR or len(self._waiting) >= MOST_WAITING
            if is_urgent or time.monotonic() - self._since > LONGEST_WAIT:
                self.flush_to_database()
        except Exception:  # noqa: BLE001 - as each handler of logging: an argument may raise anything
            self.handleError(record)

    def flush_to_database(self):
        """Store what waits."""
        self._since = time.monotonic()
        if not self._waiting:
            return
        rows, self._waiting = self._waiting, []
        self._busy.now = True  # what this logs itself is not stored
        try:
            self._database.change(lambda db: _insert(db, rows))
        except (SQLAlchemyError, TryAgainError) as error:
            reason = str(error).partition("\n")[0]
            log.warning(
                "%d messages of attempt %s are lost: %s", len(rows), self._attempt_id, reason
            )
        finally:
            self._busy.now = False

    def close(self):
        """Store what waits and end the connection."""
        try:
            self.flush_to_database()
        finally:
            self._database.close()
            super().close()


def _insert(db, rows):
    first = allocate(db, LOG_MESSAGES, len(rows))
    db.execute(
        LOG_MESSAGES.insert(), [{**row, "messageId": first + n} for n, row in enumerate(rows)]
    )
