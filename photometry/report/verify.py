"""`verify`: are the light curves that a TODO-file claims there, whole, and those of their targets?"""

import collections
import contextlib
import os
import re
from dataclasses import dataclass, field

from ..errors import TodoFileError, WrongUseError
from ..processes import Pool
from ..status import STATUS
from ..taskmanager import TaskManager, open_view
from ..taskmanager.lock import locked
from ..taskmanager.opening import find_todo_file
from .lightcurvefile import Claim, check_lightcurve
from .status import output_folder

# as target.MADE, which takes half a second to import
WITH_LIGHT_CURVE = (
    STATUS.OK,
    STATUS.WARNING,
)
FILES_PER_JOB = 100
FEW_FILES = 500  # that one process checks faster than two are started
OUR_NAME = re.compile(
    r"(tess|kplr|ktwo)\d{11}-s\d{3}-\d+-\d+-c\d{4}-dr\d\d-v\d\d-tasoc_lc\.fits\.gz"
)
PART_NAME = re.compile(r"\..+\.part(\..+)?")  # see `atomic.atomic_write`

_CLAIMS = f"""SELECT {", ".join(Claim._fields)} FROM todolist JOIN diagnostics USING (priority)
    WHERE lightcurve IS NOT NULL ORDER BY lightcurve"""  # folder by folder, which disks like
_WITHOUT = f"""SELECT COUNT(*) FROM todolist LEFT JOIN diagnostics USING (priority)
    WHERE lightcurve IS NULL AND status IN ({", ".join(str(int(status)) for status in WITH_LIGHT_CURVE)})"""


@dataclass
class Verified:
    """What was found."""

    todo_file: str
    output: str
    checked: int  # light curves that the TODO-file claims
    bad: list = field(
        default_factory=list
    )  # of dict: priority, starid, lightcurve, status, kind, problem, reset
    without: int = 0  # tasks that are OK or WARNING and claim no light curve
    orphans: list = field(
        default_factory=list
    )  # light curves, relative to output, that no row claims
    parts: list = field(
        default_factory=list
    )  # of files that were being written when a run was killed

    @property
    def kinds(self):
        """{kind of problem: how many}"""
        return dict(collections.Counter(problem["kind"] for problem in self.bad).most_common())


def verify(todo_file, *, output=None, reset=False, steal_lock=False, workers=None, progress=None):
    """Check all light curves of a TODO-file. Without ``reset`` not one byte is changed.

    Parameters
    ----------
    todo_file : path of a TODO-file, or of its folder
    output : the folder of the light curves; default: where the last run says, else the folder
        "lightcurves" beside it
    reset : bool
        Put the tasks of bad light curves back to "to do". Those whose file exists but cannot be
        read (no permission, disk gone) are left alone, and those that are not OK or WARNING:
        another outcome holds for them by now.
    steal_lock : bool, as for TaskManager
    workers : int, local processes; default: one per core
    progress : function(done, total), called now and then

    Returns
    -------
    Verified

    Raises
    ------
    TodoFileError : it cannot be read, or a run is working on it
    WrongUseError : the output folder is missing, or is another one by the look of it
    """
    todo_file = find_todo_file(todo_file)
    output = output_folder(todo_file, output)
    with _open(todo_file, reset, steal_lock) as (conn, manager):
        claims = [Claim(*row) for row in conn.execute(_CLAIMS)]
        (without,) = conn.execute(_WITHOUT).fetchone()
        bad = sorted(
            _check_all(output, claims, workers, progress), key=lambda problem: problem["priority"]
        )
        found = Verified(str(todo_file), str(output), len(claims), bad, without)
        _refuse_other_folder(found)
        found.orphans, found.parts = find_leftovers(output, todo_file.parent, claims)
        if manager is not None:
            manager.reset_tasks([problem["priority"] for problem in bad if problem["reset"]])
    return found


@contextlib.contextmanager
def _open(todo_file, reset, steal_lock):
    """(connection, TaskManager or None): either way nobody else changes the file meanwhile."""
    if reset:
        with TaskManager(todo_file, cleanup_constraints=["0"], steal_lock=steal_lock) as manager:
            yield manager.conn, manager
        return
    with locked(todo_file, steal=steal_lock), open_view(todo_file, is_ours=True) as view:
        if view.problem:
            raise TodoFileError(
                f"{todo_file}: the journal of a killed run can be replayed in part only ({view.problem}); the next run does"
                " again what is lost, verify after it"
            )
        yield view.conn, None


def _check_all(output, claims, workers, progress):
    """Problems, as dicts, in any order."""
    workers = (os.cpu_count() or 1) if workers is None else workers
    jobs = [claims[i : i + FILES_PER_JOB] for i in range(0, len(claims), FILES_PER_JOB)]
    done = 0
    with Pool(workers if len(claims) > FEW_FILES else 1, check_some, str(output)) as pool:
        for number, problems in pool.as_done(jobs):
            done += number
            if progress is not None:
                progress(done, len(claims))
            yield from problems


def check_some(output, claims):
    """A worker's job: how many were checked, and the problems among them, as dicts."""
    problems = [
        (claim, problem) for claim in claims if (problem := check_lightcurve(output, claim))
    ]
    return len(claims), [_as_dict(claim, problem) for claim, problem in problems]


def _as_dict(claim, problem):
    return {
        "priority": claim.priority,
        "starid": claim.starid,
        "lightcurve": claim.lightcurve,
        "status": None if claim.status is None else STATUS(claim.status).name,
        "kind": problem.kind,
        "problem": problem.message,
        "reset": claim.status in WITH_LIGHT_CURVE and problem.kind != "unreadable",
    }


def _refuse_other_folder(found):
    """Where not one light curve is there, the folder is more likely wrong than everything lost."""
    if found.checked and found.kinds.get("missing") == found.checked:
        raise WrongUseError(
            f"{found.output}: none of the {found.checked} light curves that {found.todo_file} claims is there; say with "
            "--output where they are. If they are lost, 'photometry reset' puts their targets back to do"
        )


def find_leftovers(output, folder, claims):
    """What nobody claims.

    Parameters
    ----------
    output : Path, the folder of the light curves, searched with all below it
    folder : Path, that of the TODO-file, where half-written copies of it may lie
    claims : iterable of Claim

    Returns
    -------
    orphans : list of str, light curves relative to ``output``
    parts : list of str, half-written files, absolute
    """
    claimed = {os.path.normpath(claim.lightcurve) for claim in claims}
    orphans, parts = [], {str(path) for path in folder.iterdir() if PART_NAME.fullmatch(path.name)}
    for where, _, names in os.walk(output):
        for name in names:
            relative = os.path.normpath(os.path.join(os.path.relpath(where, output), name))
            if PART_NAME.fullmatch(name):
                parts.add(os.path.abspath(os.path.join(where, name)))
            elif OUR_NAME.fullmatch(name) and relative not in claimed:
                orphans.append(relative)
    return sorted(orphans), sorted(parts)
