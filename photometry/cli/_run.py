"""What ``photometry run`` does besides: its record, ``--changed`` and ``--inject``."""

import json
import os
import shlex
import sys
from collections import Counter, defaultdict
from pathlib import Path

import click

INPUT, SETTINGS, VERSION = "input", "settings", "version"
UNKNOWN, SKIPPER, GONE = "unknown", "skipper", "gone"
CAUSES = {
    INPUT: "other input: its pixels or its star catalogue have changed, or another file is used",
    SETTINGS: "other settings, or another method",
    VERSION: "made by another version of the program",
    UNKNOWN: "measured by a version that did not record what from",
    SKIPPER: "skipped by a target that is done again",
}
KEPT = "whose pixels are gone: left as they are"
_ROWS = """SELECT priority, starid, sector, camera, ccd, cadence, datasource, method, status,
    inputs, method_hash, version, overrides.settings AS own_settings,
    diagnostics.priority IS NULL AS is_bare
    FROM todolist LEFT JOIN diagnostics USING (priority) LEFT JOIN overrides USING (priority)
    WHERE status IN ({}){} ORDER BY priority"""


class Changes:
    """The finished targets of a TODO-file whose result would come out of other things now.

    Parameters
    ----------
    conn : connection of a TaskManager or of a view
    folder : Path, the input folder
    settings : PhotometrySettings of the run
    method : str or None, the method that the run uses for all targets
    conditions : str, SQL conditions on ``todolist``, each after AND

    Attributes
    ----------
    priorities : list of int, of the targets to do again
    causes : dict, cause -> number of targets; one target may have several causes
    n_gone : int, targets whose pixels are not there any more; their results are kept
    versions : Counter of the other versions
    """

    def __init__(self, conn, folder, settings, method=None, conditions=""):
        from ..provenance import program_version

        self._folder, self._settings, self._method = Path(folder), settings, method
        self._version = program_version()
        self._hashes, self._states, self._catalogs, self._index = {}, {}, {}, None
        self.versions, self.n_gone = Counter(), 0
        found = self._compare(conn, conditions)
        self.priorities = sorted(found)
        self.causes = Counter(cause for causes in found.values() for cause in causes)

    def lines(self):
        """What is to be said of them, as lines."""
        n = len(self.priorities)
        yield f"{n} {'target has' if n == 1 else 'targets have'} changed since measured"
        for cause, text in CAUSES.items():
            if self.causes[cause]:
                yield f"{self.causes[cause]:>9}  {text}{self._more(cause)}"
        if self.n_gone:
            yield f"{self.n_gone:>9}  {KEPT}"

    def _more(self, cause):
        if cause != VERSION:
            return ""
        return f" ({', '.join(sorted(self.versions))}; this is {self._version})"

    def _compare(self, conn, conditions):
        """{priority: list of causes}"""
        from ..status import STATUS

        finished = f"{STATUS.OK:d}, {STATUS.WARNING:d}, {STATUS.SKIPPED:d}"
        cursor = conn.own_cursor()
        cursor.row_factory = None
        cursor.execute(_ROWS.format(finished, conditions))
        names = [column[0] for column in cursor.description]
        found, bare = {}, set()
        for values in cursor.fetchall():
            row = dict(zip(names, values, strict=True))
            if row["is_bare"] and row["status"] == STATUS.SKIPPED:
                bare.add(row["priority"])
            elif causes := self._causes(row):
                found[row["priority"]] = causes
        # what such a target has made SKIPPED depends on it
        sql = "SELECT priority, skipped_by FROM photometry_skipped"
        skipped = defaultdict(set)
        for priority, skipped_by in cursor.execute(sql).fetchall():
            skipped[skipped_by].add(priority)
        for priority in list(found):
            for other in skipped[priority] & bare - set(found):
                found[other] = [SKIPPER]
        return found

    def _causes(self, row):
        if row["inputs"] is None:
            return [UNKNOWN]
        causes = []
        try:
            inputs = [self._state(path) for path in self._inputs(row)]
        except FileNotFoundError:
            self.n_gone += 1
            return []
        if json.loads(row["inputs"]) != inputs:
            causes.append(INPUT)
        if row["method_hash"] != self._hash(self._method or row["method"], row["own_settings"]):
            causes.append(SETTINGS)
        if row["version"] != self._version:
            causes.append(VERSION)
            self.versions[row["version"] or "unknown"] += 1
        return causes

    def _inputs(self, row):
        """The files that the target would be made from now."""
        from ..catalog.ccd import find_star_table
        from ..catalog.tables import catalog_path
        from ..pixels.imagecube import cube_path

        ccd = row["sector"], row["camera"], row["ccd"]
        if row["datasource"] == "ffi":
            pixels = cube_path(self._folder, *ccd)
        else:
            pixels = self._target_pixel_file(row)
        if ccd not in self._catalogs:
            path = catalog_path(self._folder, *ccd)
            self._catalogs[ccd] = path if path.is_file() else find_star_table(self._folder)
        return [path for path in (pixels, self._catalogs[ccd]) if path is not None]

    def _target_pixel_file(self, row):
        """As `find_target_pixel_file`, which would ask the index for each of a million stars."""
        from ..errors import TargetNotFoundError
        from ..pixels.find import find_target_pixel_file, primary_starid, read_index

        if self._index is None:
            self._index = read_index(self._folder)
        name = self._index.get((primary_starid(row), row["sector"], row["cadence"]))
        if name is not None and os.path.isfile(path := os.path.join(self._folder, name)):
            return path
        try:
            return find_target_pixel_file(self._folder, row)
        except TargetNotFoundError as error:
            raise FileNotFoundError(str(error)) from None

    def _state(self, path):
        """[path, size, time of change] as `provenance.made_from` records it."""
        from ..provenance import file_state

        if path not in self._states:
            name = os.path.relpath(path, self._folder)
            self._states[path] = [name, *file_state(path)]
        return self._states[path]

    def _hash(self, method, own_settings):
        from ..provenance import method_hash

        key = method, own_settings
        if key not in self._hashes:
            changes = json.loads(own_settings or "{}")
            changes.pop("task_timeout", None)
            self._hashes[key] = method_hash(self._settings, method, changes)
        return self._hashes[key]


def changes_of(conn, settings, options):
    """The `Changes` for the options of `photometry run`.

    Parameters
    ----------
    conn : connection of a TaskManager or of a view
    settings : Settings
    options : dict, of the command line
    """
    from ..taskmanager import build_constraints

    conditions = build_constraints(**options["constraints"])
    folder, method = options["input_folder"], options["method"]
    return Changes(conn, folder, settings.photometry, method, conditions)


def put_back_changed(manager, settings, options):
    """Put the targets back to do that have changed since they were measured."""
    changes = changes_of(manager.conn, settings, options)
    manager.retry_tasks(changes.priorities)
    if not options["quiet"]:
        click.echo("\n".join(changes.lines()), err=True)


def record_run(manager, todo_file, output, settings, options):
    """Say what runs: in the summary, in the table of runs, and in the record of the run.

    Parameters
    ----------
    manager : TaskManager
    todo_file : Path
    output : Path, of the light curves
    settings : Settings
    options : dict, of the command line
    """
    from ..processes import ProcessId
    from ..provenance import write_run_record
    from ..scheduler.limits import launched_ranks

    process, ranks = ProcessId.of(), launched_ranks()
    paths = {"todo_file": os.path.abspath(todo_file), "output": os.path.abspath(output)}
    manager.run_info.update(
        **paths, run_id=options["run_id"], process_started=process.started, boot=process.boot
    )
    flags = ("method", "randomly", "limit", "overwrite", "changed", "reproducible", "inject",
             "inject_seed")  # fmt: skip
    write_run_record(
        output,
        options["run_id"],
        settings,
        command=shlex.join(sys.argv),
        **paths,
        tasks=manager.get_number_tasks(**options["constraints"]),
        selection=options["constraints"],
        options={name: options[name] for name in flags},
        ranks=None if ranks is None else ranks[1],
        workers=options["workers"] if ranks is None or ranks[1] == 1 else None,
    )


def injection_paths(todo_file, options):
    """The TODO-file and the output folder of an injection, which are apart from the real ones."""
    from ..injection import LIGHTCURVES, TODO
    from ..injection.recovery import check_folder, default_folder, prepare_folder
    from ..scheduler.limits import is_master

    folder = Path(options["output"] or default_folder(todo_file.parent, options["method"]))
    what = options["inject"], options["inject_seed"]
    if is_master():
        check_folder(folder, *what, overwrite=options["overwrite"])
        if not options["dry_run"]:
            prepare_folder(folder, todo_file, *what)
    options["injection_folder"] = folder
    if options["dry_run"] and not (folder / TODO).is_file():
        options["overwrite"] = True  # nothing of it is done, whatever the real targets are
        return todo_file, folder / LIGHTCURVES
    return folder / TODO, folder / LIGHTCURVES


def refuse_injection(todo_file, output):
    """Refuse to put real results where those of an injection are."""
    from ..errors import WrongUseError
    from ..injection import TRUTH

    for folder in (todo_file.parent, output, output.parent):
        if (folder / TRUTH).is_file():
            raise WrongUseError(
                f"{folder}: holds an injection, not real targets; go on with it by the command in "
                "its lightcurves/run.json, or choose another folder"
            )
