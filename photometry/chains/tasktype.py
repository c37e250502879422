"""What a type of task is: its settings, its work, its quality control. One subclass of `TaskType`
per type.

Other packages add types through the entry-point group ``photometry.chain_tasks``; each entry names
a class.
"""

import difflib
import functools
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import entry_points
from numbers import Real
from pathlib import Path

from ..errors import WrongUseError
from .expressions import is_expression
from .filestore import check_filename, md5_of, repository_id

ENTRY_POINTS = "photometry.chain_tasks"

COMMON_KEYS = {
    "task": "type of the task",
    "name": "label, for requires_metadata_from and wait_for of later tasks of the list",
    "comment": "ignored",
    "inputs": "role -> name of a file that an earlier task makes",
    "outputs": "role -> name of a file that this task makes",
    "job_name": "label of this task and all below it",
    "working_directory": "folder of the outputs of this task and all below it",
    "requires_metadata_from": "names of earlier tasks of the list whose results are needed",
    "wait_for": "names of earlier tasks of the list that have to be over, with all below them",
    "priority": "tasks of higher priority go first",
    "max_attempts": "how often it is tried where it fails",
    "timeout": "s that it may take",
    "memory_gb": "GB that it may allocate",
}


@dataclass(frozen=True)
class Setting:
    """One setting of a task type.

    Attributes
    ----------
    kind : 'str', 'number', 'int', 'bool', 'list', 'dict', 'tasks' (a task list) or 'any'
    doc : str
    default : value where it is not given
    required : bool
    choices : accepted values, or ()
    keys : callable() -> accepted keys of a dict, or None
    """

    kind: str
    doc: str = ""
    default: object = None
    required: bool = False
    choices: tuple = ()
    keys: Callable | None = None

    def problem(self, value):
        """What is wrong with a value, or None. Expressions are not judged before they are
        evaluated."""
        if is_expression(value):
            return None
        if self.choices and value not in self.choices:
            return f"expected one of {', '.join(map(repr, self.choices))}"
        if not _KINDS[self.kind](value):
            return f"expected {_KIND_NAMES[self.kind]}"
        if self.keys is not None:
            accepted = list(self.keys())
            for key in value:
                if key not in accepted and not is_expression(key):
                    return f"unknown key {key!r}; {_nearest(key, accepted)}"
        return None


def _is_number(value):
    return isinstance(value, Real) and not isinstance(value, bool)


_KINDS = {
    "str": lambda value: isinstance(value, str),
    "number": _is_number,
    "int": lambda value: _is_number(value) and value == int(value),
    "bool": lambda value: isinstance(value, bool),
    "list": lambda value: isinstance(value, list),
    "tasks": lambda value: isinstance(value, list),
    "dict": lambda value: isinstance(value, dict),
    "any": lambda value: True,
}
_KIND_NAMES = {
    "str": "a string",
    "number": "a number",
    "int": "a whole number",
    "bool": "true or false",
    "list": "a list",
    "tasks": "a list of tasks",
    "dict": "an object",
    "any": "anything",
}


def _nearest(word, known):
    close = difflib.get_close_matches(str(word), list(known), 1)
    return f"did you mean {close[0]!r}?" if close else f"accepted are {', '.join(known)}"


class TaskType:
    """Base of all types.

    Attributes
    ----------
    name : str
    settings : dict, name -> `Setting`
    is_container : it only makes other tasks, see `expansion`
    collects : it gets the results of the tasks that it waits for, and of all below them
    runs_elsewhere : where it cannot run on this host, it may on others
    containers : names of the worker containers that run it, or ('all',)
    max_attempts : int or None
    """

    name = ""
    settings: dict = {}  # noqa: RUF012 - replaced by subclasses, never changed
    inputs: tuple = ()
    outputs: tuple = ()
    optional_outputs: tuple = ()
    is_container = False
    collects = False
    runs_elsewhere = False
    containers = ("all",)
    max_attempts = None

    def unavailable(self):
        """Why it cannot run here, in one message; None where it can."""
        return None

    def refusal(self, others_may=False):
        """Why a chain with it is refused, or None.

        Parameters
        ----------
        others_may : bool, whether workers on other hosts, which may be able to run it, take part
        """
        return None if others_may and self.runs_elsewhere else self.unavailable()

    def run(self, task):
        """Do the work of a `RunningTask`; returns a dict of plain results, the attempt's
        metadata."""
        raise NotImplementedError

    def qc(self, task, results):
        """What is wrong with the results of a task that ran through: a list of messages, empty
        where all is right."""
        return []

    def problems(self, description):
        """What is wrong with the settings of a description: list of (key, message)."""
        found = []
        for key, value in description.items():
            if key in self.settings:
                if problem := self.settings[key].problem(value):
                    found.append((key, f"{key}={_short(value)}: {problem}"))
            elif key not in COMMON_KEYS and not is_expression(key):
                known = [*COMMON_KEYS, *self.settings]
                found.append((key, f"unknown key {key!r}; {_nearest(key, known)}"))
        for key, setting in self.settings.items():
            if setting.required and key not in description:
                found.append((None, f"{self.name} needs the key {key!r}: {setting.doc}"))
        return found + self._role_problems(description)

    def _role_problems(self, description):
        found = []
        for kind, required, accepted in (
            ("inputs", self.inputs, self.inputs),
            ("outputs", self.outputs, (*self.outputs, *self.optional_outputs)),
        ):
            given = description.get(kind) or {}
            if not isinstance(given, dict):
                continue
            roles = [role for role in given if not is_expression(role)]
            has_expressions = len(roles) < len(given)
            for role in required:
                if role not in roles and not has_expressions:
                    found.append((None, f"{self.name} needs {kind}: {role!r}"))
            if kind == "inputs":
                for role in roles:
                    if role not in accepted:
                        known = _nearest(role, accepted) if accepted else "it takes none"
                        found.append((kind, f"{self.name} has no input {role!r}; {known}"))
        return found


def _short(value):
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


class RunningTask:
    """A task as its type sees it, in a worker: settings, inputs, and where outputs go. Knows
    nothing of the database.

    Parameters
    ----------
    task : dict, as `source.ChainSource` makes it
    store : FileStore
    input_folder : path, from which files may be taken in
    options : dict of settings of the run that concern types: ``null_sleep``
    """

    def __init__(self, task, store, input_folder, options=None):
        self.task = task
        self.store = store
        self.input_folder = Path(input_folder)
        self.options = options or {}
        self.description = task["description"]
        self.metadata = task["metadata"]
        self.requested_metadata = task["requested_metadata"]
        self.collected = task.get("collected") or []
        self.seed = task["seed"]
        self.products = {}  # role -> dict that the database records
        self._folder = None

    def setting(self, name):
        """A setting of the description, or its default."""
        kind = task_type(self.task["type"])
        return self.description.get(name, kind.settings[name].default)

    @property
    def folder(self):
        """A private folder, removed when the task ends."""
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="photometry-chain-"))
        return self._folder

    def input_path(self, role):
        """Path of an input in the store, to be read only; its checksum has been compared."""
        version = self._input(role)
        if not version.get("checked"):
            self.store.check(
                *(version[key] for key in ("directory", "repository_id", "size", "md5"))
            )
            version["checked"] = True
        return self.store.path(version["directory"], version["repository_id"])

    def input_metadata(self, role):
        """Metadata of the version that is the input."""
        return self._input(role)["metadata"]

    def _input(self, role):
        try:
            return self.task["inputs"][role]
        except KeyError:
            raise WrongUseError(f"{self.task['type']} needs inputs: {role!r}") from None

    def lightcurve(self, role="lightcurve"):
        """The light curve of an input."""
        from ..lightcurve.lightcurve import LightcurveArbitraryRaster

        return LightcurveArbitraryRaster.from_file(
            self.input_path(role), dict(self.input_metadata(role))
        )

    def has_output(self, role):
        """Whether the description names this output."""
        return role in self.task["outputs"]

    def write_lightcurve(self, lc, role="lightcurve"):
        """Write a light curve as an output, with its metadata."""
        path = self.folder / "lightcurve"
        form = lc.to_file(path)
        self.add_output(role, path, {**lc.metadata, **form})

    def add_output(self, role, path, metadata=None, *, preserve=False, filename=None):
        """Put a file into the store as an output.

        Parameters
        ----------
        role : str
        path : of the file
        metadata : dict of plain values
        preserve : bool, leave the file where it is
        filename : its name, for an output that was not planned
        """
        name = self.task["outputs"].get(role, filename)
        if name is None:
            raise WrongUseError(f"{self.task['type']} needs outputs: {role!r}")
        now = time.time()
        unique = (self.task["id"], role, now, tempfile.mktemp(dir="", prefix=""))
        stored = repository_id(now, check_filename(name), *unique)
        directory = self.task["directory"]
        size, md5 = self.store.add(directory, stored, path, preserve=preserve)
        self.products[role] = {
            "filename": name,
            "planned": role in self.task["outputs"],
            "directory": directory,
            "repository_id": stored,
            "size": size,
            "md5": md5,
            "created": now,
            "metadata": metadata or {},
        }

    def read_back(self, role="lightcurve"):
        """An output as light curve, for quality control."""
        from ..lightcurve.lightcurve import LightcurveArbitraryRaster

        product = self.products[role]
        path = self.store.path(product["directory"], product["repository_id"])
        return LightcurveArbitraryRaster.from_file(path, dict(product["metadata"]))

    def discard_products(self):
        """Delete what was written, as the attempt failed."""
        for product in self.products.values():
            self.store.delete(product["directory"], product["repository_id"])
        self.products.clear()

    def close(self):
        """Remove the private folder."""
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    def missing_outputs(self):
        """What the default quality control finds: outputs that must be there and are not, or are
        not what was written."""
        kind = task_type(self.task["type"])
        found = [
            f"the output {role!r} was not written"
            for role in kind.outputs
            if role not in self.products
        ]
        for role, product in self.products.items():
            path = self.store.path(product["directory"], product["repository_id"])
            if not path.is_file():
                found.append(f"the file of {role!r} is gone")
            elif path.stat().st_size != product["size"] or md5_of(path) != product["md5"]:
                found.append(f"the file of {role!r} is not what was written")
        return found


# --- the types that there are

BUILT_IN = {
    "null": "flow:Null",
    "error": "flow:Error",
    "execution_chain": "flow:ExecutionChain",
    "execution_conditional": "flow:ExecutionConditional",
    "execution_do_while_loop": "flow:ExecutionDoWhileLoop",
    "execution_for_loop": "flow:ExecutionForLoop",
    "multiply": "lightcurves:Multiply",
    "verify": "lightcurves:Verify",
    "binning": "lightcurves:Binning",
    "ingest_external_lcs": "lightcurves:IngestExternalLcs",
    "synthesis_batman": "synthesis:SynthesisBatman",
    "synthesis_psls": "synthesis:SynthesisPsls",
    "synthesis_simple": "synthesis:SynthesisSimple",
    "synthesis_platosim": "unavailable:SynthesisPlatosim",
    "transit_search_tls": "transit_search:TransitSearchTls",
    "transit_search_bls_reference": "transit_search:TransitSearchBlsReference",
    "transit_search_bls_kovacs": "transit_search:TransitSearchBlsKovacs",
    "transit_search_qats": "transit_search:TransitSearchQats",
    "transit_search_dst_v26": "unavailable:TransitSearchDst26",
    "transit_search_dst_v29": "unavailable:TransitSearchDst29",
    "transit_search_exotrans": "unavailable:TransitSearchExotrans",
    "photometry": "photometry:Photometry",
    "detrend": "lightcurves:Detrend",
    "completeness": "completeness:Completeness",
}


@functools.cache
def _installed():
    return {
        point.name: point
        for point in entry_points(group=ENTRY_POINTS)
        if point.name not in BUILT_IN
    }


def task_type_names():
    """Names of all types, ours and those of installed packages."""
    return [*BUILT_IN, *_installed()]


@functools.cache
def task_type(name):
    """The `TaskType` of a name.

    Raises
    ------
    WrongUseError : there is none, with the nearest name
    """
    if name in BUILT_IN:
        module, _, cls = BUILT_IN[name].partition(":")
        kind = getattr(import_module(f".tasks.{module}", __package__), cls)()
    elif name in _installed():
        kind = _load(_installed()[name])
    else:
        raise WrongUseError(f"there is no task type {name!r}; {_nearest(name, task_type_names())}")
    kind.name = name
    return kind


class Unloadable(TaskType):
    """A type of an installed package that cannot be loaded: only chains that name it suffer."""

    def __init__(self, reason):
        self._reason = reason

    def unavailable(self):
        return self._reason

    def problems(self, description):
        return []


def _load(point):
    """The type of an entry point."""
    package = f"{point.dist.name} {point.dist.version}" if point.dist else "a package"
    try:
        loaded = point.load()
        if isinstance(loaded, type) and issubclass(loaded, TaskType):
            return loaded()
        reason = f"is no subclass of TaskType, but {loaded!r:.100}"
    except Exception as error:  # noqa: BLE001 - code of others, which may raise anything
        reason = f"{type(error).__name__}: {error}"
    return Unloadable(f"{point.value} of {package} cannot be loaded: {reason}")
