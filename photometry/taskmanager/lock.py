"""`Lock`: one owner per TODO-file.

A file beside the TODO-file, ``todo.sqlite.lock``, says who owns it: host, process and since when, as JSON that a person
can read. It is made with "create only if it is not there", which is safe on network file systems; no locks of the
operating system are relied upon. The owner looks at it again before it replaces the TODO-file, so a master whose lock
was taken away cannot overwrite the work of the new one.
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
import uuid
from dataclasses import dataclass
from pathlib import Path

import psutil

from ..errors import TodoFileError, TryAgainError

log = logging.getLogger(__name__)


class Lock:
    """Ownership of a TODO-file, from the constructor to `release`.

    Parameters
    ----------
    todo_file : Path
    steal : bool
        Take the lock away from a process that cannot be seen from here, because it runs (or ran) on another host.

    Raises
    ------
    TodoFileError : somebody else owns the file, or the lock cannot be written
    TryAgainError : the disk is full
    """

    def __init__(self, todo_file, *, steal=False):
        self.todo_file = Path(todo_file)
        self.path = self.todo_file.with_name(self.todo_file.name + ".lock")
        self._token = uuid.uuid4().hex
        while not self._create():
            self._remove(self._judge(steal))

    def check(self):
        """Raise a TodoFileError if this is not our lock any more."""
        owner = _read(self.path)
        if owner is None or owner.get("token") != self._token:
            by = f"taken over by {_describe(owner)}" if owner else "removed"
            raise TodoFileError(
                f"{self.todo_file}: its lock was {by}; this run may not write to it any more"
            )

    def release(self):
        """Give the file free. Does nothing to the lock of somebody else."""
        owner = _read(self.path)
        if owner is not None and owner.get("token") == self._token:
            self.path.unlink(missing_ok=True)

    def _create(self):
        """Make the lock file, with its content in it from the first moment; False if there is one already."""
        part = self.path.with_name(f".{self.path.name}-{self._token}")
        try:
            part.write_text(
                json.dumps(_ourselves() | {"token": self._token}, indent=1) + "\n", encoding="utf-8"
            )
            return self._link(part)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise TryAgainError(
                    f"{self.path}: the disk is full; make room and run again"
                ) from error
            raise TodoFileError(f"{self.path}: cannot be written ({error.strerror})") from error
        finally:
            part.unlink(missing_ok=True)

    def _link(self, part):
        try:
            os.link(part, self.path)
        except FileExistsError:
            # Over NFS the answer may be lost: the request is sent again, and finds the link that the first one made.
            return part.stat().st_nlink == 2
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK):
                raise
            return self._copy(part)
        return True

    def _copy(self, part):
        """As `_link`, on a file system without hard links."""
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
        if steal or _is_dead(owner):
            log.warning("%s: taking over the lock of %s", self.todo_file, _describe(owner))
            return owner
        message = f"{self.todo_file}: in use by {_describe(owner)}"
        if owner.get("host") != socket.gethostname():
            message += "; if that process has ended, take over with --steal-lock"
        raise TodoFileError(message)

    def _remove(self, owner):
        """Remove the lock of ``owner``, and of nobody who may have come in between."""
        if owner is None:
            return
        aside = self.path.with_name(f".{self.path.name}-{self._token}")
        with contextlib.suppress(FileNotFoundError):
            os.rename(self.path, aside)
            if (_read(aside) or {}).get("token") != owner.get("token"):
                with contextlib.suppress(FileExistsError):
                    os.link(aside, self.path)
            aside.unlink(missing_ok=True)


def _ourselves():
    return {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "since": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "user": _user(),
        "command": " ".join(sys.argv),
        "process_start": psutil.Process().create_time(),
        "boot": _boot(),
    }


def _user():
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user number without a name, as in containers
        return str(os.getuid())


def _boot():
    """Changes whenever this machine is started anew; process numbers mean nothing across that."""
    with contextlib.suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return str(int(psutil.boot_time()))


def _read(path):
    """Content of a lock file; None if there is none. A damaged one has an owner that nothing is known of."""
    try:
        owner = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (ValueError, OSError):
        return {"host": "an unknown host", "token": None}
    return owner if isinstance(owner, dict) else {"host": "an unknown host", "token": None}


def _is_dead(owner):
    """True where the owner ran on this host and does not run any more."""
    if owner.get("host") != socket.gethostname():
        return False
    if owner.get("boot") != _boot():
        return True
    try:
        process = psutil.Process(owner["pid"])
        if (
            process.status() == psutil.STATUS_ZOMBIE
        ):  # dead, but nobody has asked for its exit code yet
            return True
        started = process.create_time()
    except (psutil.NoSuchProcess, KeyError, TypeError, ValueError):
        return True
    except psutil.AccessDenied:
        return False
    return (
        abs(started - owner.get("process_start", started)) > 1.0
    )  # s; the number belongs to another process by now


def _describe(owner):
    return f"process {owner.get('pid', '?')} on {owner.get('host', '?')} since {owner.get('since', '?')}"


@dataclass(frozen=True)
class Owner:
    """Who a lock file names."""

    text: str  # process, host and since when
    state: str  # 'alive'; 'dead': ran on this host and does not any more; 'elsewhere': on a host that cannot be asked


def owner_of(todo_file):
    """The `Owner` of a TODO-file; None where nobody has it. Looks only."""
    todo_file = Path(todo_file)
    owner = _read(todo_file.with_name(todo_file.name + ".lock"))
    if owner is None:
        return None
    here = owner.get("host") == socket.gethostname()
    return Owner(
        _describe(owner), "elsewhere" if not here else "dead" if _is_dead(owner) else "alive"
    )
