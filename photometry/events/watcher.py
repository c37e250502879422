"""`Watcher`: reports when a file has arrived in a directory, i.e. has not changed for a while.

Notifications of the system (watchdog) where they can be trusted, polling on network disks, where
the system does not hear what other hosts write. Files whose names begin with a dot are nobody's
business: programs write their parts there."""

import fnmatch
import logging
import os
import threading
import time

from ..errors import SettingsError, TryAgainError
from ..files import is_network_disk

log = logging.getLogger(__name__)

RESCAN = 60
"""s between looks at the whole directory, since notifications can be lost when too many come at
once."""

RETRY_DELAY = 1.0
"""s until a file is tried again which could not be taken in."""


def patterns_of(file_type):
    """The patterns of a configuration's ``file_type``: a text with blanks between them, or several
    texts."""
    return tuple(file_type.split()) if isinstance(file_type, str) else tuple(file_type)


def find_files(directory, patterns, *, recursive=False, exclude=()):
    """The files of a directory that match one of the patterns, sorted.

    Parameters
    ----------
    directory : path
    patterns : sequence of str, like ``*.fits``
    recursive : bool, also look into sub-directories, except those in ``exclude``

    Raises
    ------
    SettingsError : there is no such directory
    """
    if not os.path.isdir(directory):
        raise SettingsError(f"{directory}: there is no such directory to take files from")
    excluded = {os.path.realpath(path) for path in exclude}
    paths = []
    for folder, folders, names in os.walk(directory):
        below = [name for name in folders if not name.startswith(".")]
        folders[:] = [
            name
            for name in below
            if recursive and os.path.realpath(os.path.join(folder, name)) not in excluded
        ]
        paths += [os.path.join(folder, name) for name in names if _matches(name, patterns)]
    return sorted(paths)


def why_nothing(directory, patterns):
    """A message that says which patterns match nothing in a directory, and what is there
    instead."""
    names = sorted(
        entry.name
        for entry in os.scandir(directory)
        if entry.is_file() and not entry.name.startswith(".")
    )
    there = (
        f"there are {len(names)} other files, e.g. {names[0]}" if names else "there are no files"
    )
    return f"{directory}: nothing matches {' '.join(patterns)} (file_type); {there}"


def signature(path):
    """(mtime in ns, size in bytes) of a file, None if there is none: what changes while it is
    written."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size


class Settling:
    """Which files are still changing: a plain decision, without threads or clocks of its own.

    Parameters
    ----------
    settle : s for which a file must not have changed
    """

    def __init__(self, settle):
        self.settle = settle
        # path -> [signature, time from which on it has settled]
        self._waiting = {}

    def touch(self, path, now, wall=None):
        """Note that a file is there or has changed.

        Parameters
        ----------
        path : str
        now : s, time.monotonic
        wall : s since 1970 or None; with it, the file's age in the file system counts
        """
        current = signature(path)
        if current is None:
            self._waiting.pop(path, None)
            return
        age = 0 if wall is None else min(max(0, wall - current[0] / 1e9), self.settle)
        self._waiting[path] = [current, now + self.settle - age]

    def settled(self, now):
        """The files that have not changed for long enough by now, sorted; they are forgotten
        here."""
        ready = []
        for path, (before, when) in sorted(self._waiting.items()):
            if when <= now:
                current = signature(path)
                if current == before:
                    ready.append(path)
                    del self._waiting[path]
                else:
                    self.touch(path, now)
        return ready

    def next_time(self):
        """When to ask `settled` again; None if no file waits."""
        return min((when for _, when in self._waiting.values()), default=None)


def settled_files(paths, settle):
    """Yield files once they have settled, those that have already at once."""
    settling = Settling(settle)
    for path in paths:
        settling.touch(path, time.monotonic(), time.time())
    while (when := settling.next_time()) is not None:
        time.sleep(max(0, when - time.monotonic()))
        yield from settling.settled(time.monotonic())


class Watcher:
    """Calls ``on_file(path)`` in a thread of its own, once for every file that arrived or changed
    and has settled.

    Parameters
    ----------
    directory : str, or path
    on_file : callable; where it raises TryAgainError, it is called again later
    patterns : texts like ``*.fits``
    settle : s for which a file must not have changed
    recursive : bool, sub-directories too, except those in ``exclude``
    method : 'native', 'polling', or 'auto' for polling on network disks
    interval : s between looks when polling
    """

    def __init__(
        self,
        directory,
        on_file,
        *,
        patterns=("*",),
        settle=2.0,
        recursive=False,
        exclude=(),
        method="auto",
        interval=10,
    ):
        self.directory = str(directory)
        self.on_file = on_file
        self.patterns = patterns
        self.recursive = recursive
        below = os.path.join(os.path.realpath(directory), "")
        self.exclude = [real for real in map(os.path.realpath, exclude) if real.startswith(below)]
        self.polling = method == "polling" or (method == "auto" and is_network_disk(directory))
        self.interval = interval
        self._settling = Settling(settle)
        # path -> signature
        self._delivered = {}
        self._changed = threading.Condition()
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="watcher", daemon=True)
        self._observer = None

    def start(self):
        """Watch from now on; what is there already counts as having arrived."""
        self._observer = self._make_observer()
        self._observer.start()
        self._rescan()
        self._thread.start()

    def stop(self):
        """Watch no longer. Returns when `on_file` is not running any more."""
        with self._changed:
            self._stopped = True
            self._changed.notify()
        if self._observer is not None:
            self._observer.stop()
            self._observer.join()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join()

    def _make_observer(self):
        try:
            from watchdog.events import FileSystemEventHandler
            from watchdog.observers import Observer
            from watchdog.observers.polling import PollingObserver
        except ImportError as error:
            raise SettingsError(
                "watching a directory needs watchdog: pip install 'photometry[events]'"
            ) from error

        handler = FileSystemEventHandler()
        handler.on_any_event = self._on_event
        observer = PollingObserver(timeout=self.interval) if self.polling else Observer()
        observer.schedule(handler, self.directory, recursive=self.recursive)
        return observer

    def _on_event(self, event):
        if not event.is_directory and event.event_type in (
            "created",
            "modified",
            "moved",
            "closed",
        ):
            self._touch(os.fsdecode(event.dest_path or event.src_path))

    def _touch(self, path, wall=None):
        if _matches(os.path.basename(path), self.patterns) and not self._is_excluded(path):
            with self._changed:
                self._settling.touch(path, time.monotonic(), wall)
                self._changed.notify()

    def _is_excluded(self, path):
        return any(
            os.path.realpath(path).startswith(os.path.join(folder, "")) for folder in self.exclude
        )

    def _rescan(self):
        paths = find_files(
            self.directory, self.patterns, recursive=self.recursive, exclude=self.exclude
        )
        for path in paths:
            if self._delivered.get(path) != signature(path):
                self._touch(path, time.time())
        return paths

    def _run(self):
        rescan = time.monotonic() + RESCAN
        while not self._stopped:
            with self._changed:
                when = min(rescan, self._settling.next_time() or rescan)
                self._changed.wait(max(0, when - time.monotonic()))
                ready = [] if self._stopped else self._settling.settled(time.monotonic())
            for path in ready:
                self._deliver(path)
            if time.monotonic() >= rescan and not self._stopped:
                self._look_again()
                rescan = time.monotonic() + RESCAN

    def _look_again(self):
        try:
            self._rescan()
        except (SettingsError, OSError) as error:
            log.warning("%s; waiting for it to come back", error)

    def _deliver(self, path):
        current = signature(path)
        if self._delivered.get(path) == current:
            return
        try:
            self.on_file(path)
            self._delivered[path] = current
        except TryAgainError as error:
            log.warning("%s: %s; trying again", path, error)
            with self._changed:
                self._settling.touch(path, time.monotonic() + RETRY_DELAY)
        except Exception:
            # one file must not end the watch over all the others
            log.exception("%s: cannot be taken in", path)


def _matches(name, patterns):
    return not name.startswith(".") and any(fnmatch.fnmatch(name, pattern) for pattern in patterns)
