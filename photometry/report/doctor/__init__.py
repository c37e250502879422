"""`diagnose`: what would fail in hours, in seconds. Looks at everything a run needs, and leaves
nothing behind.
"""

import contextlib

from ...errors import PhotometryError, SettingsError
from ...methods.registry import get_method
from ...settings import Settings, load_settings
from ...taskmanager import open_view
from . import inputs, machine
from .machine import FAIL, OK, Check

__all__ = ["FAIL", "MPI_TIMEOUT", "Check", "diagnose"]

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
        checks, view, to_do = inputs.open_todo_file(todo_file, stack, settings.run.max_attempts)
        yield from checks
        work = inputs.work_to_do(view, to_do) if view is not None else None
        n_times = {}
        if work is not None and work.total:
            folder = todo_file.parent
            yield inputs.check_methods(view, to_do, settings, method=method, plot=plot)
            yield inputs.check_files(view, to_do, folder)
            yield inputs.check_sample(view, to_do, folder, settings, n_times)
            yield inputs.check_catalogues(view, to_do, folder)
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
