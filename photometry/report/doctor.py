"""`diagnose`: what would fail in hours, in seconds. Looks at everything a run needs, and leaves
nothing behind.

Here is what the run is given: settings; TODO-file, lock and journal; target pixel files, cubes,
catalogues. In `machine` is the computer.
"""

import contextlib
import random
import time
from dataclasses import dataclass
from importlib.util import find_spec

from ..catalog.ccd import find_star_table, open_catalog
from ..catalog.tables import catalog_path
from ..errors import (
    PhotometryError,
    SettingsError,
    TargetError,
    TodoFileError,
    TryAgainError,
    WrongUseError,
)
from ..methods import get_method
from ..methods.prf import open_prf
from ..notebook import counted
from ..pixels.cubestamp import cube_of
from ..pixels.find import INDEX_NAME, find_target_pixel_file
from ..pixels.imagecube import cube_path
from ..settings import Settings, load_settings
from ..target import StampSource
from ..taskmanager.lock import owner_of
from ..taskmanager.opening import check_file, has_unfinished_business
from ..taskmanager.view import open_view
from . import machine
from .machine import FAIL, OK, WARN, Check, size

MPI_TIMEOUT = 20.0  # s; two ranks start in one or two


def diagnose(
    todo_file, output, *, settings_file=None, mpi_timeout=MPI_TIMEOUT, method=None, plot=False
):
    """Look at everything that `photometry run` needs.

    Parameters
    ----------
    todo_file : absolute Path, which may be missing; its folder is there
    output : Path, the folder for the light curves, which may be missing
    settings_file : path, or None for ``photometry.toml`` beside the TODO-file where there is one
    mpi_timeout : float, s that the start of two ranks may take; None: leave MPI alone
    method : str or None, as ``photometry run --method``
    plot : bool, as ``photometry run --plot``

    Yields
    ------
    Check, each as soon as it is known
    """
    check, settings = check_settings(todo_file, settings_file)
    yield check
    yield from machine.check_folders(todo_file, output)
    with contextlib.ExitStack() as stack:
        checks, view, to_do = open_todo_file(todo_file, stack, settings.run.max_attempts)
        yield from checks
        work = work_to_do(view, to_do) if view is not None else None
        n_times = {}
        if work is not None and work.total:
            folder = todo_file.parent
            yield check_methods(view, to_do, settings, method=method, plot=plot)
            yield check_files(view, to_do, folder)
            yield check_sample(view, to_do, folder, settings, n_times)
            yield check_catalogues(view, to_do, folder)
    yield from machine.check_disk(todo_file, output, settings, work, n_times)
    yield machine.check_memory(todo_file, settings, work)
    yield machine.check_threads()
    yield machine.check_packages()
    yield machine.check_time_limit(settings)
    if mpi_timeout is not None:
        yield machine.check_mpi(mpi_timeout)


def check_settings(todo_file, path=None):
    """Whether the settings of a run are good, and the settings; the defaults where they are not.

    Parameters
    ----------
    todo_file : Path
    path : Path of the settings, or None for ``photometry.toml`` beside the TODO-file where there is
        one
    """
    path = path or todo_file.parent / "photometry.toml"
    beside = path if path.is_file() or path != todo_file.parent / "photometry.toml" else None
    try:
        settings = load_settings(beside)
    except SettingsError as error:
        try:  # a section may be that of a method of one's own
            _load_methods(todo_file)
            settings = load_settings(beside)
        except (PhotometryError, FileNotFoundError):
            return Check("settings", FAIL, str(error)), Settings.model_construct()
    return Check("settings", OK, _differences(settings, beside)), settings


def _load_methods(todo_file):
    """Import the methods ``'module:function'`` that a TODO-file names."""
    with open_view(todo_file) as view:
        for (name,) in view.query("SELECT DISTINCT method FROM todolist WHERE instr(method, ':')"):
            get_method(name)


def _differences(settings, path):
    """Message on what is not as by default."""
    differing = settings.model_dump(exclude_defaults=True)
    where = (
        f"{path} and the environment" if path else "no settings file; defaults and the environment"
    )
    changed = (
        ", ".join(f"{name}={value!r}" for name, value in _flat(differing))
        or "everything as by default"
    )
    return f"{where}: {changed}"


def _flat(values, prefix=""):
    for name, value in values.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


@dataclass(frozen=True)
class Work:
    """What a run would do.

    Attributes
    ----------
    kinds : tuple of (datasource without star, cadence [s], number of targets)
    n_folders : int, of light curves, about
    """

    kinds: tuple
    n_folders: int

    @property
    def total(self):
        """Number of targets to do"""
        return sum(number for _, _, number in self.kinds)


def open_todo_file(path, stack, max_attempts):
    """Look at a TODO-file.

    Parameters
    ----------
    path : absolute Path
    stack : contextlib.ExitStack, closes the view
    max_attempts : int, of the settings

    Returns
    -------
    checks : list of Check
    view : taskmanager.view.View, or None where there is nothing to be read
    to_do : str, SQL condition for the tasks that a run would do
    """
    if not path.is_file():
        why = f"{path}: no such file; make it with 'photometry todo'"
        return [Check("TODO-file", FAIL, why)], None, None
    owner = owner_of(path)
    if owner is not None and owner.state != "dead":
        return [_held(path, owner)], None, None
    checks = [_lock(path, owner)]
    try:
        view = stack.enter_context(open_view(path))
    except (TodoFileError, TryAgainError) as error:
        return [*checks, Check("TODO-file", FAIL, str(error))], None, None
    to_do = view.to_do(max_attempts=max_attempts)
    return [*checks, _journal(path, view), _contents(path, view, to_do)], view, to_do


def work_to_do(view, to_do):
    """The `Work` in an open TODO-file."""
    kinds = view.query(
        f"SELECT SUBSTR(datasource, 1, 3), cadence, COUNT(*) FROM todolist WHERE {to_do} GROUP BY "
        f"1, 2"
    )
    ((n_folders,),) = view.query(
        f"SELECT COUNT(*) FROM (SELECT DISTINCT cadence, starid / 1000 FROM todolist WHERE {to_do})"
    )
    return Work(tuple(kinds), n_folders)


def _held(path, owner):
    if owner.state == "alive":
        way_out = "wait for it, or stop it with kill -TERM: it saves everything first"
    else:
        way_out = "wait for it; if that process has ended, start the run with --steal-lock"
    return Check(
        "lock", FAIL, f"{path}: in use by {owner.text}; {way_out}. Nothing else of it was looked at"
    )


def _lock(path, owner):
    if owner is None:
        return Check("lock", OK, f"no process works on {path.name}")
    return Check(
        "lock", WARN, f"left behind by {owner.text}, which has died; the next run takes it over"
    )


def _journal(path, view):
    if view.problem:
        way_out = "the next run replays what is whole, keeps a copy, and does the others again"
        return Check("journal", WARN, f"a run was killed: {view.problem}; {way_out}")
    if view.pending:
        return Check(
            "journal",
            WARN,
            f"a run was killed: {view.pending} saved changes are in its journal; the next run "
            f"replays them",
        )
    if has_unfinished_business(path):
        return Check(
            "journal",
            WARN,
            "a run was killed: what it saved is in SQLite's own log; the next run folds it in",
        )
    return Check("journal", OK, "none pending")


def _contents(path, view, to_do):
    try:
        check_file(path, to_write=True)
    except TodoFileError as error:
        return Check("TODO-file", FAIL, str(error))
    ((total, n_to_do, n_again),) = view.query(
        f"SELECT COUNT(*), COUNT(*) FILTER (WHERE {to_do}), COUNT(*) FILTER (WHERE {to_do} AND "
        f"status IS NOT NULL)"
        " FROM todolist"
    )
    shown = f"{path}: {counted(total, 'target')}"
    if not n_to_do:
        way_out = (
            "make them anew with --overwrite, or put some back with 'photometry reset'"
            if total
            else "make it anew"
        )
        return Check("TODO-file", WARN, f"{shown}, none to do; {way_out}")
    again = f", {n_again} of them again (failed or stopped before)" if n_again else ""
    return Check("TODO-file", OK, f"{shown}, {n_to_do} to do{again}")


PRF_METHODS = ("psf", "linpsf")
N_LOOKED_FOR, N_OPENED = 5000, 8  # targets
SECONDS = 4.0  # for each of the two; at least one target is tried
ACCIDENT = 0.1  # fraction of bad inputs above which it is no accident
LARGE_TABLE = 50e6  # bytes of a star table that each process would read


def check_files(view, to_do, folder):
    """Look for the files of many targets, without opening them.

    Parameters
    ----------
    view : `taskmanager.view.View`
    to_do : str, SQL condition of the tasks
    folder : Path, the input folder
    """
    tasks, total = _sample(view, to_do, N_LOOKED_FOR)
    n_tried, problems, seconds = _try_all(tasks, lambda task: _find(folder, task))
    name = f"the files of {n_tried} of {counted(total, 'target')}"
    if problems:
        return _judge(
            "inputs", f"{name} were looked for, {len(problems)} are missing", n_tried, problems
        )
    if (
        not (folder / INDEX_NAME).exists()
        and seconds > 1
        and any(task["datasource"] != "ffi" for task in tasks)
    ):
        slow = f"{name} are there, but looking took {seconds:.0f} s, for each worker anew"
        return Check("inputs", WARN, f"{slow}; 'photometry todo' makes an index, {INDEX_NAME}")
    return Check("inputs", OK, f"{name} were looked for, and are there")


def check_sample(view, to_do, folder, settings, n_times):
    """Read the pixels of a few targets, as a run does.

    ``n_times``, a dict, gets the number of exposures for each (datasource without star, cadence)
    that was read.

    Parameters
    ----------
    view : `taskmanager.view.View`
    to_do : str, SQL condition of the tasks
    folder : Path, the input folder
    settings : Settings of the run
    n_times : dict of (kind, cadence [s]) to the number of exposures, which is filled
    """

    def read(task):
        stamp, _ = StampSource(task, folder, settings.photometry).make()
        n_times[task["datasource"][:3], task["cadence"]] = len(stamp.time)

    tasks, _ = _sample(view, to_do, N_OPENED)
    n_tried, problems, seconds = _try_all(tasks, read)
    if problems:
        return _judge(
            "pixels",
            f"{n_tried} targets were read, {len(problems)} of them cannot be",
            n_tried,
            problems,
        )
    return Check("pixels", OK, f"{n_tried} targets were read, {seconds / n_tried:.2g} s each")


def check_catalogues(view, to_do, folder):
    """Open the catalogue of each CCD that has something to do.

    Parameters
    ----------
    view : `taskmanager.view.View`
    to_do : str, SQL condition of the tasks
    folder : Path, the input folder
    """
    ccds = view.query(f"SELECT DISTINCT sector, camera, ccd FROM todolist WHERE {to_do}")
    try:
        table = find_star_table(folder)
        missing = [ccd for ccd in ccds if not catalog_path(folder, *ccd).is_file()]
        if table is not None and missing and table.stat().st_size > LARGE_TABLE:
            slow = f"{table.name} ({size(table.stat().st_size)}) is read by each worker"
            return Check("catalogue", WARN, f"{slow}; run 'photometry catalog {folder}' once")
        for ccd in ccds:
            if table is None and ccd in missing:
                continue
            open_catalog(folder, *ccd)
    except WrongUseError as error:
        return Check("catalogue", FAIL, str(error))
    if table is None and missing:
        return _no_catalogue(view, to_do, folder, missing, ccds)
    return Check(
        "catalogue",
        OK,
        f"stars for {len(ccds)} CCDs, from {table.name if missing else 'a file for each'}",
    )


def check_methods(view, to_do, settings, *, method=None, plot=False):
    """Whether the methods can be imported, and what they and the options of the run need is there.

    Parameters
    ----------
    view : taskmanager.view.View
    to_do : str, SQL condition
    settings : Settings
    method : str or None, method for all targets, as ``photometry run --method``
    plot : bool, as ``photometry run --plot``
    """
    sql = f"SELECT DISTINCT method, sector, camera, ccd FROM todolist WHERE {to_do}"
    rows = [(method or row[0] or "aperture", *row[1:]) for row in view.query(sql)]
    names = sorted({name for name, *_ in rows} | ({method} if method else set()))
    prf = settings.photometry.psf.prf
    try:
        for name in names:
            get_method(name)
        for name, sector, camera, ccd in rows:
            if prf is not None and name in PRF_METHODS:
                open_prf(prf, camera, ccd, sector)
    except WrongUseError as error:
        return Check("methods", FAIL, str(error))
    if plot and find_spec("matplotlib") is None:
        way_out = "pip install 'photometry[plots]', or run without --plot"
        return Check("methods", FAIL, f"--plot needs matplotlib, which is not installed; {way_out}")
    return Check("methods", OK, f"{', '.join(names)} can be used")


def _no_catalogue(view, to_do, folder, missing, ccds):
    ((needy,),) = view.query(
        f"SELECT COUNT(*) FROM todolist WHERE {to_do} AND datasource != 'tpf' AND (sector, camera, "
        f"ccd) IN "
        f"(VALUES {', '.join(['(?, ?, ?)'] * len(missing))})",
        [number for ccd in missing for number in ccd],
    )
    way_out = f"put catalog.ecsv, .csv, .fits, .vot or .parquet into {folder}"
    first = "sector {}, camera {}, CCD {}".format(*missing[0])
    if needy:
        return Check(
            "catalogue",
            FAIL,
            f"none for {len(missing)} of {len(ccds)} CCDs ({first}, …), but {needy} targets need "
            f"it: {way_out}",
        )
    return Check(
        "catalogue",
        WARN,
        f"none for {len(missing)} of {len(ccds)} CCDs: contamination will not be known; {way_out}",
    )


def _sample(view, to_do, n):
    """(tasks, total): some of the targets to do, of all kinds and magnitudes, and how many there
    are. Always the same.
    """
    rows = view.query(f"SELECT priority FROM todolist WHERE {to_do} ORDER BY priority")
    chosen = random.Random(0).sample([priority for (priority,) in rows], min(n, len(rows)))
    tasks = [view.tasks(f"priority = {priority}")[0] for priority in chosen]
    return tasks, len(rows)


def _find(folder, task):
    """Raise a TargetNotFoundError where the file of a task is not there."""
    if task["datasource"] != "ffi":
        find_target_pixel_file(folder, task)
    elif not cube_path(folder, task["sector"], task["camera"], task["ccd"]).is_file():
        cube_of(task, folder)  # says so


def _try_all(tasks, function):
    """(number of tasks tried, [(task, message) of those that failed], seconds)"""
    problems, start, n_tried = [], time.monotonic(), 0
    for task in tasks:
        n_tried += 1
        try:
            function(task)
        except (TargetError, WrongUseError, OSError) as error:
            problems.append((task, str(error)))
        if time.monotonic() - start > SECONDS:
            break
    return n_tried, problems, time.monotonic() - start


def _judge(name, message, n_tried, problems):
    task, why = problems[0]
    state = FAIL if len(problems) > ACCIDENT * n_tried else WARN
    return Check(
        name, state, f"{message}, e.g. priority {task['priority']}, star {task['starid']}: {why}"
    )
