"""`DataSet`: the files of a run as a table, one row per file; a file that is added becomes an
event."""

import os
import threading
import warnings

from .event import Arguments, Event
from .watcher import Watcher, find_files, patterns_of, settled_files, signature, why_nothing


class FileTable(dict):
    """The rows of a `DataSet`: dict of file name -> row, which is a dict of keywords."""

    @property
    def index(self):
        """The names of the files, as a list."""
        return list(self)

    def to_pandas(self):
        """A pandas.DataFrame with a row per file and a column per keyword; needs pandas."""
        import pandas

        return pandas.DataFrame.from_dict(dict(self), orient="index")


class DataSet:
    """A table of files: row key = file name, columns = keywords of its FITS header.

    Parameters
    ----------
    dirname : directory that is looked through at once, or None
    logger, config : those of the run
    event_queue : gets ``config.default_ingestion_event`` for every file
    scan : bool, look through the directory now

    Attributes
    ----------
    data_table : FileTable
    clobber : bool, take files again that the queue on disk remembers as done
    known : int, files that were not taken again
    """

    def __init__(self, dirname, logger, config, event_queue, scan=True):
        self.dirname = dirname
        self.logger = logger
        self.config = config
        self.event_queue = event_queue
        self.data_table = FileTable()
        self.clobber = False
        self.known = 0
        self._signatures = {}
        self._lock = threading.RLock()
        self._watcher = None
        if dirname is not None and scan:
            self.update_data_set()

    def digest_new_item(self, filename):
        """The row for a file; None to leave the file out. Override this to read other kinds of
        files.

        A file that cannot be read as FITS gets an empty row: the primitive that reads it will say
        why."""
        if not any(part in filename.lower() for part in (".fits", ".fit", ".fts")):
            return {}
        from astropy.io import fits
        from astropy.utils.exceptions import AstropyWarning

        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", AstropyWarning)
                header = fits.getheader(filename)
        except (OSError, ValueError, IndexError, fits.VerifyError) as error:
            self.logger.debug("%s: no FITS header in it: %s", filename, error)
            return {}
        commentary = ("COMMENT", "HISTORY", "")
        return {key: value for key, value in header.items() if key not in commentary}

    def append_item(self, filename):
        """Add a file and put its event on the queue.

        None, what is not a regular file and what is known and unchanged only give a warning.
        """
        current = signature(filename) if filename is not None and os.path.isfile(filename) else None
        if current is None:
            self.logger.warning("%s: not a file, left out", filename)
            return
        with self._lock:
            if self._signatures.get(filename) == current:
                self.logger.warning("%s: known already, left out", filename)
                return
            row = self.digest_new_item(filename)
            if row is None:
                self.logger.info("%s: left out by digest_new_item", filename)
                return
            self._put_event(filename, current)
            self.data_table[filename] = dict(row)
            self._signatures[filename] = current

    def update_data_set(self):
        """Look through the directory again, and add the files that are new and have settled."""
        patterns = patterns_of(self.config.file_type)
        paths = find_files(
            self.dirname, patterns, recursive=self.config.recursive, exclude=self._own_folders()
        )
        if not paths:
            self.logger.warning(why_nothing(self.dirname, patterns))
        new = [path for path in paths if self._signatures.get(path) != signature(path)]
        before = self.known
        for path in settled_files(new, self.config.settle_time):
            self.append_item(path)
        if self.known > before:
            self.logger.info(
                "%d files were taken in an earlier run already, see the queue; clobber "
                "to do them again",
                self.known - before,
            )

    def change_directory(self, dirname):
        """Forget all files and take those of another directory."""
        watched = self._watcher is not None
        self.stop_monitor()
        self.remove_all()
        self.dirname = dirname
        if watched:
            self.start_monitor()
        else:
            self.update_data_set()

    def get_info(self, filename):
        """The row of a file, None with a warning if it is not known."""
        if filename not in self.data_table:
            self.logger.warning("%s: not in the data set", filename)
        return self.data_table.get(filename)

    def get_info_column(self, filename, key):
        """One value of the row of a file, None with a warning if there is none."""
        row = self.get_info(filename)
        if row is not None and key not in row:
            self.logger.warning("%s: has no %s", filename, key)
        return None if row is None else row.get(key)

    def set_info_value(self, filename, key, value):
        """Set one value in the row of a file.

        Parameters
        ----------
        filename : str, path of the file, a key of `data_table`
        key : str
        value : anything
        """
        self.data_table.setdefault(filename, {})[key] = value

    def get_size(self):
        """How many files there are."""
        return len(self.data_table)

    def remove_all(self):
        """Forget all files. Their events stay on the queue."""
        with self._lock:
            self.data_table.clear()
            self._signatures.clear()

    def start_monitor(self):
        """Add files as they arrive in the directory, and those that are there."""
        if self._watcher is not None:
            return
        # now rather than when the first file has arrived and waits
        import astropy.io.fits  # noqa: F401

        patterns = patterns_of(self.config.file_type)
        if not find_files(
            self.dirname, patterns, recursive=self.config.recursive, exclude=self._own_folders()
        ):
            self.logger.warning("%s yet; watching", why_nothing(self.dirname, patterns))
        self._watcher = Watcher(
            self.dirname,
            self.append_item,
            patterns=patterns,
            settle=self.config.settle_time,
            recursive=self.config.recursive,
            exclude=self._own_folders(),
            method=self.config.monitor_method,
            interval=self.config.monitor_interval,
        )
        self._watcher.start()

    def stop_monitor(self):
        """Watch the directory no longer."""
        if self._watcher is not None:
            self._watcher.stop()
            self._watcher = None

    def _own_folders(self):
        return [
            folder
            for folder in (self.config.output_directory, self.config.temp_directory)
            if folder
        ]

    def _put_event(self, filename, current):
        name = self.config.default_ingestion_event
        absolute = os.path.abspath(filename)
        event = Event(name, Arguments(name=absolute if self.event_queue.shared else filename))
        event.key = f"{absolute}|{current[0]}|{current[1]}|{name}"
        if self.clobber:
            self.event_queue.forget(event.key)
        if not self.event_queue.put(event):
            self.known += 1
            self.logger.debug("%s: taken in an earlier run already", filename)
