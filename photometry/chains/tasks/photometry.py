"""``photometry``: the light curve of a target, from its target pixel file or from a row of a
TODO-file."""

import shutil
import sqlite3
from pathlib import Path

import numpy as np

from ...errors import BadInputError, TargetError, WrongUseError
from ...status import STATUS
from ..tasktype import Setting, TaskType

MADE = (STATUS.OK, STATUS.WARNING)


class Photometry(TaskType):
    """Runs `photometry.target.photometry`; the output is the light curve as FITS file, or ours
    where ``format`` asks for it."""

    outputs = ("lightcurve",)
    settings = {  # noqa: RUF012
        "input_folder": Setting(
            "str", "folder with the pixels, below the folder for inputs or absolute"
        ),
        "target_pixel_file": Setting("str", "path of a target pixel file, the same"),
        "todo_file": Setting("str", "path of a TODO-file, the same"),
        "priority_number": Setting("int", "row of the TODO-file"),
        "starid": Setting("int", "row of the TODO-file, by its star"),
        "method": Setting("str", "photometric method; none: the program chooses"),
        "settings": Setting("dict", "settings of the photometry", default={}),
        "format": Setting(
            "str", "form of the output", default="archive", choices=("archive", "fits")
        ),
    }

    def run(self, task):
        from ...lightcurve import Lightcurve
        from ...target import photometry

        row, folder = self._task(task)
        result = photometry(
            row,
            input_folder=folder,
            output_folder=task.folder,
            settings=task.setting("settings"),
            method=task.setting("method"),
        )
        details = result["details"]
        if result["status"] not in MADE:
            raise TargetError("; ".join(details.get("errors") or [f"status {result['status']!r}"]))
        path = task.folder / details["filepath_lightcurve"]
        plain = {
            key: value
            for key, value in details.items()
            if isinstance(value, int | float | str) and key != "filepath_lightcurve"
        }
        plain |= {"starid": row["starid"], "method_used": result["method_used"]}
        plain |= {"status": int(result["status"])}
        if task.setting("format") == "fits":
            task.add_output("lightcurve", path, plain)
        else:
            lc = Lightcurve.read(path)
            lc = lc.select(np.isfinite(lc.fluxes))
            lc.metadata = {**{k: v for k, v in lc.metadata.items() if _is_plain(v)}, **plain}
            task.write_lightcurve(lc)
        return plain

    def _task(self, task):
        """(task dict of the photometry, its input folder)"""
        if path := task.setting("target_pixel_file"):
            return self._from_file(task, self._path(task, path))
        if not (path := task.setting("todo_file")):
            raise WrongUseError("photometry needs target_pixel_file, or todo_file and a row of it")
        todo = self._path(task, path)
        if todo.is_dir():
            todo = todo / "todo.sqlite"
        folder = task.setting("input_folder")
        folder = self._path(task, folder) if folder else todo.parent
        key = "starid" if task.setting("starid") is not None else "priority"
        value = task.setting("starid") if key == "starid" else task.setting("priority_number")
        if value is None:
            raise WrongUseError(
                "photometry needs priority_number or starid, a row of the TODO-file"
            )
        try:
            db = sqlite3.connect(f"file:{todo}?mode=ro", uri=True)
        except sqlite3.Error as error:
            raise WrongUseError(f"{todo}: {error}") from None
        try:
            db.row_factory = sqlite3.Row
            row = db.execute(
                f"SELECT * FROM todolist WHERE {key}=? ORDER BY priority",
                (value,),
            ).fetchone()
        except sqlite3.Error as error:
            raise WrongUseError(f"{todo}: {error}") from None
        finally:
            db.close()
        if row is None:
            raise WrongUseError(f"{todo}: has no row with {key}={value}")
        return {key: row[key] for key in row.keys() if key != "status"}, folder  # noqa: SIM118

    @staticmethod
    def _path(task, text):
        path = Path(task.input_folder) / text
        if not path.exists():
            raise BadInputError(f"{path}: there is no such file or folder")
        return path

    def _from_file(self, task, path):
        """The task of one file, in a folder that holds nothing else."""
        from ...pixels.targetpixelfile import read_target_pixel_file

        stamp = read_target_pixel_file(path)
        target = stamp.target
        folder = task.folder / "pixels"
        folder.mkdir()
        try:
            (folder / path.name).symlink_to(path.resolve())
        except OSError:
            shutil.copyfile(path, folder / path.name)
        row = {
            "priority": 1,
            "starid": target.starid,
            "sector": stamp.sector,
            "camera": stamp.camera,
            "ccd": stamp.ccd,
            "cadence": stamp.cadence,
            "datasource": "tpf",
            "method": None,
            "tmag": target.tmag,
        }
        return row, folder

    def qc(self, task, results):
        """The light curve can be read and has flux."""
        from ...lightcurve import Lightcurve

        if task.setting("format") == "fits":
            product = task.products["lightcurve"]
            lc = Lightcurve.read(task.store.path(product["directory"], product["repository_id"]))
        else:
            lc = task.read_back()
        good = lc.fluxes[lc.good()]
        return [] if np.isfinite(good).any() else ["the light curve has no good flux"]


def _is_plain(value):
    return isinstance(value, int | float | str)
