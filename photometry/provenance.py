"""What made a result: which code, which run, which settings, from which files.

Every light-curve file names the program's version and commit, the run and the hash of its settings.
Every row of a TODO-file keeps what its result was made from, `made_from`, so that it can be said
later what has changed since: `photometry run --changed`. Every run leaves a record of itself in its
output folder before it begins, see `write_run_record`.
"""

import datetime
import functools
import hashlib
import json
import os
import platform
import secrets
import socket
import subprocess
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as version_of
from pathlib import Path

from ._version import __version__
from .files import write_json
from .settings import PhotometrySettings, photometry_settings, settings_hash

PACKAGE = Path(__file__).parent
RECORDS = "runs"
"""Folder below the output folder with one record per run."""
LAST_RECORD = "run.json"
"""A copy of the record of the last run, in the output folder."""
_LIBRARIES = ("numpy", "scipy", "astropy", "scikit-image", "h5py", "photutils", "mpi4py")
_READ_NO_PSF = (None, "aperture", "halo")


@functools.lru_cache
def commit():
    """The git commit of the code that runs, with ``-dirty`` where it was changed since; None if it
    is no checkout of its own.
    """
    git = functools.partial(
        subprocess.run, capture_output=True, text=True, timeout=10, check=True, cwd=PACKAGE
    )
    try:  # fails where there is no repository, or one that somebody keeps other things in
        git(["git", "ls-files", "--error-unmatch", "__init__.py"])
        done = git(["git", "describe", "--always", "--abbrev=12", "--exclude=*", "--dirty"])
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None


def program_version():
    """Version of the program, in a checkout with the commit: ``'1.2.0+67f6d00ab12c'``."""
    return "+".join(filter(None, (__version__, commit())))


@functools.lru_cache
def installed(package):
    """The version of an installed package, None where there is none."""
    try:
        return version_of(package)
    except PackageNotFoundError:
        return None


def new_run_id():
    """An id that no other run has: when it began (UTC), and six random digits."""
    now = datetime.datetime.now(datetime.timezone.utc)
    return f"{now:%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"


# --- of a row


def made_from(states, folder, settings, method):
    """What a result was made from, as keys of ``details`` of a Result.

    Parameters
    ----------
    states : dict, path -> `file_state`, of the file with the pixels, and of the star catalogue
        where there is one
    folder : the input folder
    settings : PhotometrySettings of the target
    method : str or None, the method that was asked for

    Returns
    -------
    dict : ``inputs``, JSON, a list of [path relative to ``folder``, size in bytes, time of change
        in ns] of each file; ``method_hash``; ``version``
    """
    inputs = [[os.path.relpath(path, folder), *state] for path, state in states.items()]
    return {
        "inputs": json.dumps(inputs),
        "method_hash": method_hash(settings, method),
        "version": program_version(),
    }


def file_state(path):
    """(size in bytes, time of change in ns) of a file."""
    status = os.stat(path)
    return status.st_size, status.st_mtime_ns


def method_hash(settings, method, changes=None):
    """Hash of a method's name and of those settings that it reads.

    Parameters
    ----------
    settings : PhotometrySettings
    method : str, or None where the target chooses
    changes : nested dict or None, settings of the target's own

    Returns
    -------
    str, twelve hexadecimal digits
    """
    values = photometry_settings(settings, changes).model_dump(mode="json")
    if method in _READ_NO_PSF:
        del values["psf"]
    own = (method or "").rpartition(":")[2]
    for name in set(values) - {own, *PhotometrySettings.model_fields}:  # of other methods
        del values[name]
    text = json.dumps([method, values], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


# --- of a run


def write_run_record(output_folder, run_id, settings, **more):
    """Write what is known of a run before it begins: ``runs/ID.json``, which no other run touches,
    and ``run.json``, a copy of it until the next run begins. Each appears whole or not at all.

    Parameters
    ----------
    output_folder : path
    run_id : str
    settings : Settings
    **more : what else to record: the command line, the selection, the number of tasks, …
    """
    record = {
        "run_id": run_id,
        "start": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "folder": os.getcwd(),
        "version": __version__,
        "commit": commit(),
        "python": platform.python_version(),
        "libraries": {name: installed(name) for name in _LIBRARIES},
        "settings_hash": settings_hash(settings.photometry),
        "settings": settings.model_dump(mode="json"),
        **more,
    }
    folder = Path(output_folder, RECORDS)
    folder.mkdir(exist_ok=True)
    write_json(folder / f"{run_id}.json", record)
    write_json(Path(output_folder, LAST_RECORD), record)
