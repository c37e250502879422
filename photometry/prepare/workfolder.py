"""The hidden folder in which `prepare` keeps what is finished of a cube, until the cube is
complete.
"""

import fcntl
import json
import logging
import shutil
from pathlib import Path

import numpy as np

from ..errors import TryAgainError
from ..files import atomic_write, write_json
from ..pixels.imagecube import QUANTITIES
from .cubefile import write_skeleton

log = logging.getLogger(__name__)
GIB = 2**30
# to be counted up when results change: cubes begun by an older version are begun anew
PLAN_VERSION = 2


class WorkFolder:
    """The hidden folder beside a cube that holds what is finished of it. A context manager that
    locks it.
    """

    def __init__(self, path):
        self.path = Path(path)
        self.folder = self.path.with_name(f".{self.path.stem}.part")
        self.cube = self.folder / "cube.hdf5"
        self._bands = self.folder / "bands_on_disk.txt"
        self._plan = self.folder / "plan.json"
        self._lock = None

    def __getstate__(self):
        return self.__dict__ | {"_lock": None}

    def __enter__(self):
        self.folder.mkdir(parents=True, exist_ok=True)
        self._lock = open(self.folder / "lock", "w")
        try:
            fcntl.lockf(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._lock.close()
            raise TryAgainError(
                f"{self.path}: another process is preparing it; wait for it, or stop it"
            ) from error
        return self

    def __exit__(self, *_):
        self._lock.close()

    def begin(self, frames):
        """Keep what is finished if it is of the same images, otherwise start from nothing."""
        plan = {"version": PLAN_VERSION, "frames": [_identity(frame) for frame in frames]}
        plan = json.loads(json.dumps(plan))
        if self._read_plan() == plan:
            log.info("%s: going on where an earlier call stopped", self.path)
            return
        for old in self.folder.iterdir():
            if old.name != "lock":
                old.unlink()
        write_json(self._plan, plan, durable=True)

    def _read_plan(self):
        """What is kept here is of; None where that is not known, because nothing is kept or the
        file is damaged.
        """
        try:
            return json.loads(self._plan.read_text())
        except FileNotFoundError:
            return None
        except (ValueError, RecursionError):
            log.warning("%s: damaged; the cube is begun anew", self._plan)
            return None

    def measured(self, i):
        """Path of a batch of measured frames."""
        return self.folder / f"measured_{i:05d}.npz"

    def make_skeleton(self, frames, datasets, attributes):
        """Write the cube without its pixels, unless it is there.

        Parameters
        ----------
        frames : list of Frame
        datasets : dict of small arrays
        attributes : dict of numbers and texts
        """
        if self.cube.exists():
            return
        shape = (len(frames), *frames[0].shape)
        needed = np.prod(shape) * sum(np.dtype(kind).itemsize for kind in QUANTITIES.values())
        free = shutil.disk_usage(self.folder).free
        if free < 1.02 * needed:
            raise TryAgainError(
                f"{self.folder}: the cube needs {needed / GIB:.1f} GiB, the disk has "
                f"{free / GIB:.1f} GiB free"
            )
        self._bands.unlink(missing_ok=True)
        with atomic_write(self.cube) as part:
            write_skeleton(part, shape, datasets, attributes)

    def finished_bands(self):
        """Set of the bands that are on the disk. A last line that was cut short is removed."""
        if not self._bands.exists():
            return set()
        whole, newline, _ = self._bands.read_text(errors="replace").rpartition("\n")
        if not all(line.isascii() and line.isdigit() for line in whole.split()):
            log.warning("%s: damaged; all pixels are written anew", self._bands)
            self._bands.unlink()
            return set()
        with atomic_write(self._bands) as part:
            part.write_text(whole + newline)
        return {int(line) for line in whole.split()}

    def note_band(self, band):
        """Note that a band is on the disk."""
        with open(self._bands, "a") as file:
            file.write(f"{band}\n")

    def remove_leftovers(self):
        """Remove the folder if it is still there, because `finish` was killed in the middle."""
        if self.folder.exists():
            with self:
                shutil.rmtree(self.folder)

    def finish(self):
        """Give the cube its name and remove the folder."""
        self.cube.replace(self.path)
        shutil.rmtree(self.folder)


def _identity(frame):
    stat = Path(frame.flux.path).stat()
    return [frame.flux.path, frame.flux.offset, stat.st_size, stat.st_mtime_ns, *frame.flux.rows]
