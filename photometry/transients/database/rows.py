"""Rows of a table in memory: columns that grow, written through by whole arrays."""

import numpy as np

_INTEGERS = {
    "id",
    "xtrsrc",
    "dataset",
    "datapoints",
    "zone",
    "forcedfits_count",
    "runcat",
    "band",
    "stokes",
    "f_datapoints",
}
_BOOLEANS = {"inactive", "mon_src"}


class Rows:
    """Columns that grow, with the rows that are new or changed since they were last written.

    Parameters
    ----------
    table : sqlalchemy.Table
    extra : names of further columns of floats that stay in memory
    """

    def __init__(self, table, extra=()):
        self._table, self._n, self._written = table, 0, 0
        self._extra = tuple(extra)
        self._names = [column.name for column in table.c]
        self._arrays = {name: np.zeros(0, _dtype(name)) for name in (*self._names, *extra)}
        self._changed, self._changed_names = [], set()

    def __len__(self):
        return self._n

    def __getitem__(self, name):
        return self._arrays[name][: self._n]

    def append(self, columns):
        """Add rows; returns their indices. ``columns``: dict of arrays or values; those not given
        are 0."""
        n = max(len(v) for v in columns.values() if np.ndim(v))
        rows = np.arange(self._n, self._n + n)
        if self._n + n > len(self._arrays["id"]):
            capacity = max(2 * len(self._arrays["id"]), self._n + n, 64)
            for name, old in self._arrays.items():
                self._arrays[name] = np.zeros(capacity, old.dtype)
                self._arrays[name][: self._n] = old[: self._n]
        self._n += n
        for name, values in columns.items():
            self._arrays[name][rows] = values
        return rows

    def set(self, rows, columns):
        """Change rows; ``columns``: dict of arrays as long as ``rows``, or values."""
        for name, values in columns.items():
            self._arrays[name][rows] = values
        self._changed.append(np.asarray(rows))
        self._changed_names.update(columns)

    def take(self, rows):
        """Rows as a dict of arrays."""
        return {name: values[rows] for name, values in self._arrays.items()}

    def loaded(self):
        """All rows are in the database already."""
        self._written, self._changed, self._changed_names = self._n, [], set()

    def write(self, database, alive):
        """Insert new rows and update changed ones; ``alive``: (n,) bool array, False for rows not
        to be written."""
        new = np.arange(self._written, self._n)
        new = new[alive[new]]
        if len(new):
            database.insert(self._table, {name: self[name][new] for name in self._names})
        if self._changed:
            changed = np.unique(np.concatenate(self._changed))
            changed = changed[(changed < self._written) & alive[changed]]
            names = [n for n in self._names if n == "id" or n in self._changed_names]
            database.update(self._table, {name: self[name][changed] for name in names})
        self.loaded()


def _dtype(name):
    return bool if name in _BOOLEANS else np.int64 if name in _INTEGERS else float
