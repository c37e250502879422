"""`Connection`: a connection to SQLite that can end what is being read through it."""

import sqlite3
import weakref


class Connection(sqlite3.Connection):
    """As `sqlite3.Connection`, but it knows its cursors.

    A cursor that was left in the middle of its rows keeps SQLite from leaving the write-ahead log. Closing the connection is
    no way out: as long as such a cursor lives, SQLite keeps the file open and locked behind the scenes.
    """

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self._cursors = weakref.WeakSet()

    def cursor(self, *args, **options):
        cursor = super().cursor(*args, **options)
        self._cursors.add(cursor)
        return cursor

    def execute(
        self, *args
    ):  # the method of sqlite3.Connection does not pass through `cursor`; nor does the next
        return self.cursor().execute(*args)

    def executemany(self, *args):
        return self.cursor().executemany(*args)

    def close_cursors(self):
        """Close all cursors, also those in the middle of their rows."""
        for cursor in list(self._cursors):
            cursor.close()

    def close(self):
        if self._cursors:
            self.close_cursors()
            self._cursors.clear()
        super().close()
