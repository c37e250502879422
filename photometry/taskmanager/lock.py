"""`Lock`: one owner per TODO-file.

A file beside the TODO-file, ``todo.sqlite.lock``, says who owns it: host, process and since when,
as JSON that a person can read. It is made with "create only if it is not there", which is safe on
network file systems; no locks of the operating system are relied upon. The owner looks at it each
second and before it replaces the TODO-file, so a master whose lock was taken away cannot overwrite
the work of the new one. A lock that was only removed is made again.
"""

import contextlib
import datetime
import errno
import getpass
import json
import logging
import os
import socket
import sys
import threading
import uuid
from dataclasses import dataclass
from pathlib import Path

from ..errors import TodoFileError, TryAgainError
from ..processes import ProcessId, boot_id

log = logging.getLogger(__name__)

_LOOK_INTERVAL = 1.0  # s


class Lock:
    """Ownership of a TODO-file, from the constructor to `release`.

    Parameters
    ----------
    todo_file : Path
    steal : bool
        Take the lock away from a process that cannot be seen from here, because it runs (or ran) on
        another host.

    Attributes
    ----------
    was_left_behind : bool, it was taken over from a process that had ended without releasing it
    loss : TodoFileError that the look of each second has met with, or None

    Raises
    ------
    TodoFileError : another process owns the file, or the lock cannot be written
    TryAgainError : the disk is full
    """

    def __init__(self, todo_file, *, steal=False):
        self.todo_file = Path(todo_file)
        self.path = self.todo_file.with_name(self.todo_file.name + ".lock")
        self.was_left_behind = False
        self._token = uuid.uuid4().hex
        process = ProcessId.of()
        try:
            user = getpass.getuser()
        except (KeyError, OSError):  # a user number without a name, as in containers
            user = str(os.getuid())
        self._content = {
            "host": socket.gethostname(),
            "pid": process.pid,
            "since": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
            "user": user,
            "command": " ".join(sys.argv),
            "started": process.started,
            "boot": process.boot,
            "token": self._token,
        }
        self.loss = None
        self._released = threading.Event()
        # so that a lock is not made again while it is being released
        self._mutex = threading.Lock()
        while not self._create():
            self._remove(self._judge(steal))
        threading.Thread(target=self._watch, name="todo-file lock", daemon=True).start()

    def check(self):
        """Look whether this is our lock still; if it was removed and there is no other, it is
        made again.

        Raises
        ------
        TodoFileError : it is not
        """
        with self._mutex:
            owner = _read(self.path)
            if self._released.is_set():
                return
            if owner is None and self._create():
                log.warning("%s: the lock was removed during the run, and is made again", self.path)
                return
        owner = owner or _read(self.path) or {}
        if owner.get("token") != self._token:
            raise TodoFileError(
                f"{self.todo_file}: its lock was taken over by {_describe(owner)}; this run may "
                "not write to it any more"
            )

    def release(self):
        """Give the file free. Does nothing to the lock of another process."""
        with self._mutex:
            self._released.set()
            owner = _read(self.path)
            if owner is not None and owner.get("token") == self._token:
                self.path.unlink(missing_ok=True)

    def _watch(self):
        """Thread: look each second."""
        while not self._released.wait(_LOOK_INTERVAL):
            try:
                self.check()
            except TodoFileError as error:
                self.loss = error
                return
            except TryAgainError:  # the disk is full; the next change will say so
                continue

    def _create(self):
        """Make the lock file, with its content in it from the first moment; False if there is one
        already.
        """
        part = self.path.with_name(f".{self.path.name}-{self._token}")
        try:
            part.write_text(json.dumps(self._content, indent=1) + "\n", encoding="utf-8")
            try:
                os.link(part, self.path)
            except FileExistsError:
                # Over NFS the answer may be lost: the request is sent again, and finds the link
                # that the first one made.
                return part.stat().st_nlink == 2
            except OSError as error:
                if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK):
                    raise
                return self._copy(part)
            return True
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise TryAgainError(
                    f"{self.path}: the disk is full; make room and run again"
                ) from error
            raise TodoFileError(
                f"{self.todo_file}: its folder cannot be written to ({error.strerror}); copy the "
                "TODO-file to where it can be worked on, or only look at it: "
                "TaskManager(path, read_only=True)"
            ) from error
        finally:
            with contextlib.suppress(OSError):  # the first error is the one to report
                part.unlink(missing_ok=True)

    def _copy(self, part):
        """Make the lock file on a file system without hard links; False if there is one already."""
        try:
            file = open(self.path, "x", encoding="utf-8")  # noqa: SIM115 (only what we have made may be removed below)
        except FileExistsError:
            return False
        try:
            with file:
                file.write(part.read_text(encoding="utf-8"))
        except OSError:
            self.path.unlink(missing_ok=True)
            raise
        return True

    def _judge(self, steal):
        """The owner, if its lock may be taken away; else a TodoFileError."""
        owner = _read(self.path)
        if owner is None:
            return None
        may_be_stolen = owner.get("host") != socket.gethostname()
        if _is_dead(owner) or (steal and may_be_stolen):
            log.warning("%s: taking over the lock of %s", self.todo_file, _describe(owner))
            self.was_left_behind = True
            return owner
        message = f"{self.todo_file}: in use by {_describe(owner)}"
        if may_be_stolen:
            message += "; if that process has ended, take over with --steal-lock"
        raise TodoFileError(message)

    def _remove(self, owner):
        """Remove the lock of ``owner``, and none that was made in between."""
        if owner is None:
            return
        aside = self.path.with_name(f".{self.path.name}-{self._token}")
        with contextlib.suppress(FileNotFoundError):
            os.rename(self.path, aside)
            if (_read(aside) or {}).get("token") != owner.get("token"):
                with contextlib.suppress(FileExistsError):
                    os.link(aside, self.path)
            aside.unlink(missing_ok=True)


def _read(path):
    """Content of a lock file; None if there is none. A damaged one has an owner that nothing is
    known of.
    """
    try:
        owner = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (ValueError, OSError):
        owner = None
    return owner if isinstance(owner, dict) else {"host": "an unknown host", "token": None}


def _is_dead(owner):
    """True where the owner ran on this host and does not run any more.

    Of a lock that does not say in our way when its process started, only the process number counts.
    """
    if owner.get("host") != socket.gethostname():
        return False
    pid, started, boot = owner.get("pid"), owner.get("started"), owner.get("boot")
    if boot != boot_id():
        return True
    if type(pid) is not int:
        return False
    if isinstance(started, (int, float)):
        return not ProcessId(pid, started, boot).is_alive()
    return ProcessId.of(pid) is None


def _describe(owner):
    return (
        f"process {owner.get('pid', '?')} on {owner.get('host', '?')} since "
        f"{owner.get('since', '?')}"
    )


@dataclass(frozen=True)
class Owner:
    """Who a lock file names.

    Attributes
    ----------
    text : str, process, host and since when
    state : 'alive'; 'dead': ran on this host and does not any more; 'elsewhere': on a host that
        cannot be asked
    """

    text: str
    state: str


def owner_of(todo_file):
    """The `Owner` of a TODO-file; None where it has none. Looks only."""
    todo_file = Path(todo_file)
    owner = _read(todo_file.with_name(todo_file.name + ".lock"))
    if owner is None:
        return None
    here = owner.get("host") == socket.gethostname()
    return Owner(
        _describe(owner), "elsewhere" if not here else "dead" if _is_dead(owner) else "alive"
    )


@contextlib.contextmanager
def locked(todo_file, *, steal=False):
    """Keep runs away from a TODO-file while it is looked at; where nothing can be written, there
    are none to keep away.

    Parameters
    ----------
    todo_file : Path
    steal : bool, see `Lock`

    Raises
    ------
    TodoFileError : a run is working on it
    """
    if not is_writable(todo_file.parent):
        yield
        return
    lock = Lock(todo_file, steal=steal)
    try:
        yield
    finally:
        lock.release()


def is_writable(folder):
    """Whether files can be made in a folder; os.access says so of a read-only file system, too, as
    long as one is not root.
    """
    return os.access(folder, os.W_OK) and not os.statvfs(folder).f_flag & os.ST_RDONLY
