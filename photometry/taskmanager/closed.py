"""`Closed`: what takes the place of the database in a TaskManager that was closed."""

from ..errors import TodoFileError


class Closed:
    """Refuses everything with one sentence."""

    def __init__(self, path):
        self._path = path

    def __getattr__(self, name):
        raise TodoFileError(
            f"{self._path}: this TaskManager is closed; open the file again with TaskManager({str(self._path)!r})"
        )
