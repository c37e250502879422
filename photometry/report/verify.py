"""`verify`: are the light curves that a TODO-file claims there, whole, and of their targets?

The files are taken apart here and not by astropy, which needs seven times as long; there may be a
million of them.
"""

import collections
import contextlib
import io
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
from astropy.io import fits

from ..constants import DAY, MISSIONS
from ..errors import BadInputError, TodoFileError, WrongUseError
from ..files import GZIP_ERRORS, GZIP_MAGIC, gzip_reader
from ..fitsstream import BLOCK, FitsStream
from ..lightcurve.fitsfiles import ones_complement_sum
from ..processes import Pool
from ..status import STATUS
from ..taskmanager import TaskManager, open_view
from ..taskmanager.lock import locked
from ..taskmanager.opening import find_todo_file
from .status import output_folder

EXTENSIONS = ("LIGHTCURVE", "SUMIMAGE", "APERTURE")
CADENCE_TOLERANCE = 0.03  # Kepler's nominal 1800 s and 60 s are 1765.5 s and 58.8 s
_SUM_IS_RIGHT = (0, 0xFFFFFFFF)  # of all words of an HDU: FITS standard 4.0, section 4.4.2.7


class Claim(NamedTuple):
    """What a row of the TODO-file says of its light curve; None: it does not say."""

    priority: int
    starid: int
    sector: int
    camera: int
    ccd: int
    cadence: int
    datasource: str
    status: int
    method_used: str
    lightcurve: str  # relative to the output folder


class Problem(NamedTuple):
    """Why a light-curve file is bad."""

    kind: str  # missing, unreadable, truncated, damaged, foreign, identity, length
    message: str


class _Bad(Exception):
    """Carries a Problem."""


def check_lightcurve(folder, claim):
    """Open a light curve and look at all of it.

    Parameters
    ----------
    folder : the output folder
    claim : Claim

    Returns
    -------
    Problem, or None where the file is good
    """
    try:
        hdus = _split(_read(Path(folder) / claim.lightcurve))
        _check_sums(hdus)
        headers = {header.get("EXTNAME", "PRIMARY"): (header, whole) for header, _, whole in hdus}
        missing = [name for name in EXTENSIONS if name not in headers]
        if missing:
            raise _Bad(
                "foreign",
                f"has no extension {' and no '.join(missing)}: it is no light curve of photometry",
            )
        _check_identity(hdus[0][0], headers["LIGHTCURVE"][0], claim)
        _check_length(*headers["LIGHTCURVE"])
    except _Bad as bad:
        return Problem(*bad.args)
    except (KeyError, TypeError, ValueError, fits.VerifyError, BadInputError) as error:
        return Problem("foreign", f"a header lacks a keyword or has one without sense ({error})")
    return None


def _read(path):
    """The whole content, decompressed: gzip's checksum and length are checked on the way."""
    try:
        with open(path, "rb") as file:
            is_gzipped = file.read(2) == GZIP_MAGIC
            file.seek(0)
            if not is_gzipped:
                content = file.read()
            else:
                with gzip_reader(file) as unzipped:
                    content = unzipped.read()
    except (FileNotFoundError, NotADirectoryError):
        raise _Bad("missing", "is not there") from None
    except EOFError:
        raise _Bad("truncated", "ends too early to be decompressed") from None
    except GZIP_ERRORS as error:
        raise _Bad("damaged", f"cannot be decompressed ({error})") from None
    except OSError as error:
        raise _Bad("unreadable", f"cannot be read ({error.strerror or error})") from None
    if not content:
        raise _Bad("truncated", "is empty (0 bytes)")
    if not content.startswith(b"SIMPLE  ="):
        raise _Bad("foreign", "is no FITS file: it does not begin with SIMPLE")
    if not is_gzipped and path.suffix == ".gz":
        raise _Bad("foreign", "is not compressed, as its name says it is")
    return content


def _split(content):
    """List of (header, data, whole HDU), each but the header as a memoryview."""
    content, hdus, start = memoryview(content), [], 0
    while start < len(content):
        data = _end_of_header(content, start)
        header = fits.Header.fromstring(bytes(content[start:data]))
        end = data + -(-_data_size(header) // BLOCK) * BLOCK
        if end > len(content):
            raise _Bad(
                "truncated",
                f"ends {end - len(content)} bytes too early, in {header.get('EXTNAME', 'PRIMARY')}",
            )
        hdus.append((header, content[data:end], content[start:end]))
        start = end
    return hdus


def _end_of_header(content, start):
    for end in range(start + BLOCK, len(content) + 1, BLOCK):
        block = bytes(content[end - BLOCK : end])
        if any(block[i : i + 8] == b"END     " for i in range(0, BLOCK, 80)):
            return end
    raise _Bad("truncated", "ends within a header")


def _data_size(header):
    """Bytes of the data without padding: FITS standard 4.0, equation 2, for HDUs without heap and
    groups.
    """
    axes = [header[f"NAXIS{i}"] for i in range(1, header["NAXIS"] + 1)]
    return abs(header["BITPIX"]) // 8 * int(np.prod(axes)) if axes else 0


def _check_sums(hdus):
    for header, data, whole in hdus:
        name = header.get("EXTNAME", "PRIMARY")
        for keyword in ("DATASUM", "CHECKSUM"):
            if keyword not in header:
                raise _Bad("foreign", f"carries no {keyword} in {name}")
        if ones_complement_sum(data) != int(header["DATASUM"]):
            raise _Bad("damaged", f"its data do not agree with DATASUM in {name}")
        if ones_complement_sum(whole) not in _SUM_IS_RIGHT:
            raise _Bad("damaged", f"its header does not agree with CHECKSUM in {name}")


def _check_identity(primary, table, claim):
    mission = primary.get("MISSION")
    if mission not in MISSIONS:
        raise _Bad("foreign", f"MISSION is {mission!r}; expected one of {', '.join(MISSIONS)}")
    camera, ccd = MISSIONS[mission].detector_keywords
    keywords = {
        "starid": MISSIONS[mission].id_keyword,
        "sector": MISSIONS[mission].period_keyword,
        "camera": camera,
        "ccd": ccd,
    }
    header = {name: primary.get(keyword) for name, keyword in keywords.items()}
    header |= {"datasource": primary.get("DATASRC"), "method_used": primary.get("PHOTMET")}
    header["cadence"] = _nominal(table["TIMEDEL"] * DAY, claim.cadence)
    wrong = [name for name in header if None not in (getattr(claim, name), header[name])]
    wrong = [name for name in wrong if getattr(claim, name) != header[name]]
    if wrong:
        said = ", ".join(
            f"{name} {header[name]} (expected {getattr(claim, name)})" for name in wrong
        )
        raise _Bad("identity", f"is of another target or made in another way: {said}")


def _nominal(seconds, expected):
    """The cadence under the name that the TODO-file gives it."""
    if expected is not None and abs(seconds - expected) <= CADENCE_TOLERANCE * expected:
        return expected
    return round(seconds)


def _check_length(header, hdu):
    """That there are as many rows as the header says, `_split` made sure of; here: are there any,
    with a time?
    """
    if header["NAXIS2"] == 0:
        raise _Bad("length", "has a table without rows")
    stream = FitsStream("", io.BytesIO(hdu))
    time = stream.read_columns(stream.next_header(), ["TIME"])["TIME"]
    if not np.isfinite(time).any():
        raise _Bad("length", f"none of its {len(time)} rows has a time")


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
    WHERE lightcurve IS NULL AND status IN ({", ".join(str(int(s)) for s in WITH_LIGHT_CURVE)})"""


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
        verified = Verified(str(todo_file), str(output), len(claims), bad, without)
        _refuse_other_folder(verified)
        verified.orphans, verified.parts = find_leftovers(output, todo_file.parent, claims)
        if manager is not None:
            manager.reset_tasks([problem["priority"] for problem in bad if problem["reset"]])
    return verified


@contextlib.contextmanager
def _open(todo_file, reset, steal_lock):
    """(connection, TaskManager or None): either way no other process changes the file meanwhile."""
    if reset:
        with TaskManager(todo_file, cleanup_constraints=["0"], steal_lock=steal_lock) as manager:
            yield manager.conn, manager
        return
    with locked(todo_file, steal=steal_lock), open_view(todo_file, is_ours=True) as view:
        if view.problem:
            raise TodoFileError(
                f"{todo_file}: the journal of a killed run can be replayed in part only "
                f"({view.problem}); the next run does"
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


def _refuse_other_folder(verified):
    """Where not one light curve is there, the folder is more likely wrong than everything lost."""
    if verified.checked and verified.kinds.get("missing") == verified.checked:
        raise WrongUseError(
            f"{verified.output}: none of the {verified.checked} light curves that "
            f"{verified.todo_file} claims is there; say with --output where they "
            "are. If they are lost, 'photometry reset' puts their targets back to do"
        )


def find_leftovers(output, folder, claims):
    """What no target claims.

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
