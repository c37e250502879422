"""What a container task makes: the children of chains, loops and conditionals, as plain objects.
Touches no database.

The engine stores what comes out of here, and `definition.validate` counts it, so both see the same
tasks.
"""

import functools
import hashlib
from dataclasses import dataclass, field, replace

import numpy as np

from ..errors import WrongUseError
from .expressions import TaskExpressionEvaluation, built_in_constants, nearest
from .filestore import check_directory, check_filename

MAX_VALUES = 1_000_000  # of one loop
MAX_ITERATIONS = 1000
NAME_LENGTH = 255

_check_directory = functools.lru_cache(1024)(check_directory)
_check_filename = functools.lru_cache(1024)(check_filename)


@dataclass(frozen=True)
class Scope:
    """What the tasks of one list share.

    Attributes
    ----------
    metadata : dict, loop variables and what ancestors set
    constants : dict, those of the chain besides the built-in ones
    job_name : str or None
    directory : str
    seed : int, of the container
    """

    metadata: dict = field(default_factory=dict)
    constants: dict = field(default_factory=dict)
    job_name: str | None = None
    directory: str = ""
    seed: int = 0

    def evaluation(self, seed, requested=None):
        """The evaluator of a task in this scope."""
        constants = (
            built_in_constants() | self.constants if self.constants else built_in_constants()
        )
        return TaskExpressionEvaluation(self.metadata, requested, constants=constants, seed=seed)


@dataclass
class Child:
    """A task to be made.

    Attributes
    ----------
    type, name, job_name, directory : str
    inputs, outputs : dict, role -> file name
    requires, waits : lists of positions in the same list
    description : dict, as it was given: expressions and all
    seed : int
    metadata : dict of what is added to the scope for the tasks below it, or None
    """

    type: str
    description: dict
    seed: int
    name: str | None = None
    job_name: str | None = None
    directory: str = ""
    inputs: dict = field(default_factory=dict)
    outputs: dict = field(default_factory=dict)
    requires: list = field(default_factory=list)
    waits: list = field(default_factory=list)
    metadata: dict | None = None
    priority: int = 0
    max_attempts: int | None = None
    timeout: float | None = None
    memory_gb: float | None = None


def child_seed(seed, position):
    """The seed of the child at a position: the same wherever and whenever it is made."""
    digest = hashlib.blake2b(f"{seed}:{position}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def children(kind, description, scope, requested=None):
    """The children that a container makes.

    Parameters
    ----------
    kind : str, type of the container
    description : dict, its settings are evaluated, those of its children are not
    scope : Scope in which it stands
    requested : dict, results of the tasks that it requires

    Returns
    -------
    list of Child

    Raises
    ------
    WrongUseError : what is wrong, in one message
    """
    return _MAKERS[kind](description, scope, requested or {})


# --- chains


def _chain(description, scope, requested):
    entries = description.get("task_list") or []
    if not isinstance(entries, list):
        raise WrongUseError(f"task_list is a {type(entries).__name__}, expected a list of tasks")
    positions, made = {}, []
    for position, entry in enumerate(entries):
        child = _entry(entry, scope, positions, child_seed(scope.seed, position), position)
        if child.name is not None:
            positions[child.name] = position
        made.append(child)
    return made


def _entry(entry, scope, positions, seed, position):
    where = f"task {position + 1} of the list"
    if not isinstance(entry, dict):
        raise WrongUseError(f"{where} is a {type(entry).__name__}, expected an object")
    if "task" not in entry:
        raise WrongUseError(f"{where} has no 'task', the type of the task")
    evaluate = scope.evaluation(seed).evaluate_in_structure
    child = Child(
        type=evaluate(entry["task"], ("task",)),
        description=entry,
        seed=seed,
        name=_name(evaluate(entry.get("name"), ("name",)), "name"),
        job_name=_name(evaluate(entry.get("job_name"), ("job_name",)), "job_name")
        or scope.job_name,
        directory=scope.directory,
    )
    if not isinstance(child.type, str):
        raise WrongUseError(f"{where}: task={child.type!r}, expected the name of a type")
    if "working_directory" in entry:
        directory = evaluate(entry["working_directory"], ("working_directory",))
        child.directory = _check_directory(directory)
    for key in ("inputs", "outputs"):
        if key in entry:
            setattr(child, key, _files(evaluate(entry[key], (key,)), key, where))
    for key, attribute in (("requires_metadata_from", "requires"), ("wait_for", "waits")):
        if key in entry:
            names = evaluate(entry[key], (key,))
            setattr(child, attribute, _positions(names, positions, key, where))
    for key in ("priority", "max_attempts", "timeout", "memory_gb"):
        if key in entry:
            setattr(child, key, _limit(key, evaluate(entry[key], (key,)), where))
    return child


def _name(value, key):
    if value is None:
        return None
    if not isinstance(value, str) or len(value) > NAME_LENGTH:
        raise WrongUseError(f"{key}={value!r:.60}: expected a string of at most {NAME_LENGTH}")
    return value


def _files(files, key, where):
    if not isinstance(files, dict):
        raise WrongUseError(f"{where}: {key}={files!r:.60}, expected an object: role -> file name")
    names = [_check_filename(name) for name in files.values()]
    if len(set(names)) < len(names) and key == "outputs":
        raise WrongUseError(f"{where}: two outputs have the same file name")
    return files


def _positions(names, positions, key, where):
    names = [names] if isinstance(names, str) else names
    if not isinstance(names, list):
        raise WrongUseError(f"{where}: {key}={names!r:.60}, expected a list of names")
    for name in names:
        if name not in positions:
            raise WrongUseError(
                f"{where}: {key} names {name!r}, but no earlier task of the list has that name; "
                f"{nearest(name, positions)}"
            )
    return sorted({positions[name] for name in names})


def _limit(key, value, where):
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    is_whole = is_number and _is_whole(value)
    if key == "priority" and is_whole and abs(value) < 2**31:
        return int(value)
    if key == "max_attempts" and is_whole and 1 <= value < 2**31:
        return int(value)
    if key in ("timeout", "memory_gb") and is_number and 0 < value < float("inf"):
        return float(value)
    expected = {
        "priority": "a whole number",
        "max_attempts": "a whole number, 1 or more",
        "timeout": "seconds, above 0",
        "memory_gb": "GB, above 0",
    }[key]
    raise WrongUseError(f"{where}: {key}={value!r}: expected {expected}")


def _is_whole(number):
    """Whether a number, perhaps an infinite one, is a whole one."""
    return isinstance(number, int) or number.is_integer()


# --- loops and conditionals


def _round(description, scope, metadata, position):
    """A chain of a loop or conditional."""
    return Child(
        type="execution_chain",
        description=description,
        seed=child_seed(scope.seed, position),
        job_name=scope.job_name,
        directory=scope.directory,
        metadata=metadata,
    )


def _for_loop(description, scope, requested):
    parameter = description.get("parameter")
    if not isinstance(parameter, str) or not parameter:
        raise WrongUseError(f"parameter={parameter!r}: expected the name of the loop variable")
    values = loop_values(description)
    body = {"task_list": description.get("task_list") or []}
    return [
        _round(body, scope, {parameter: value, f"{parameter}_index": number}, number)
        for number, value in enumerate(values)
    ]


def loop_values(description):
    """The values of a for loop.

    Raises
    ------
    WrongUseError : none or several of ``values``, ``linear_range``, ``log_range``, or one that is
        not accepted
    """
    given = [key for key in ("values", "linear_range", "log_range") if key in description]
    if len(given) != 1:
        raise WrongUseError(
            f"found {' and '.join(given) or 'none'} of values, linear_range and log_range: "
            "expected one"
        )
    (key,) = given
    value = description[key]
    if not isinstance(value, list):
        raise WrongUseError(f"{key}={value!r:.60}: expected a list")
    if key == "values":
        return value
    numbers = [isinstance(item, int | float) and not isinstance(item, bool) for item in value]
    if len(value) != 3 or not all(numbers) or not _is_whole(value[2]):
        raise WrongUseError(f"{key}={value!r:.60}: expected [start, end, number of values]")
    start, end, count = float(value[0]), float(value[1]), int(value[2])
    if not 0 <= count <= MAX_VALUES:
        raise WrongUseError(f"{key}: {count} values, expected 0 to {MAX_VALUES}")
    if key == "linear_range":
        return np.linspace(start, end, count).tolist()
    if not (start > 0 and end > 0):
        raise WrongUseError(f"{key}={value!r:.60}: the limits have to be above 0")
    return np.geomspace(start, end, count).tolist()


def _conditional(description, scope, requested):
    criterion = checked_criterion("criterion", description.get("criterion"))
    chosen = description.get("task_list" if criterion else "else_task_list")
    return [] if chosen is None else [_round({"task_list": chosen}, scope, None, 0)]


def checked_criterion(key, value):
    """The truth of a criterion; a string is refused, as it would always be true."""
    if isinstance(value, str):
        raise WrongUseError(
            f"{key}={value!r:.60}: is a string, which is always true; put an expression in brackets"
        )
    if value is None:
        raise WrongUseError(f"{key} is missing")
    return bool(value)


def _do_while(description, scope, requested):
    name = description.get("iteration_name")
    if not isinstance(name, str) or not name:
        raise WrongUseError(f"iteration_name={name!r}: expected the name of the loop variable")
    key = f"{name}_index"
    done = scope.metadata.get(key, 0)
    if done:
        evaluation = scope.evaluation(scope.seed, requested)
        value = evaluation.evaluate_expression(description.get("repeat_criterion"), ("repeat",))
        if not checked_criterion("repeat_criterion", value):
            return []
    else:
        # A string that is no expression would never end the loop: better known before the first
        # round than after.
        criterion = description.get("repeat_criterion")
        if not isinstance(criterion, str) or criterion.lstrip()[:1] not in ("(", "'", '"'):
            checked_criterion("repeat_criterion", criterion)
    limit = description.get("max_iterations", MAX_ITERATIONS)
    if done >= limit:
        raise WrongUseError(
            f"the loop {name!r} was to go on after {done} iterations; max_iterations is {limit}"
        )
    kept = ("iteration_name", "repeat_criterion", "requires_metadata_from_child", "task_list")
    check = {
        key: description[key] for key in (*kept, "name", "max_iterations") if key in description
    }
    check["task"] = "execution_do_while_loop"
    check["requires_metadata_from"] = description.get("requires_metadata_from_child") or []
    body = {"task_list": [*(description.get("task_list") or []), check]}
    return [_round(body, scope, {key: done + 1}, 0)]


_MAKERS = {
    "execution_chain": _chain,
    "execution_for_loop": _for_loop,
    "execution_conditional": _conditional,
    "execution_do_while_loop": _do_while,
}


def inner_scope(scope, child):
    """The scope of what stands below a child."""
    metadata = scope.metadata if child.metadata is None else {**scope.metadata, **child.metadata}
    return replace(
        scope,
        metadata=metadata,
        job_name=child.job_name,
        directory=child.directory,
        seed=child.seed,
    )


def chain_scope(description, seed):
    """The scope of the tasks of a chain's list.

    Parameters
    ----------
    description : dict of the chain
    seed : int of the root task
    """
    return Scope(
        metadata=dict(description.get("metadata") or {}),
        constants=dict(description.get("constants") or {}),
        job_name=description.get("job_name"),
        directory=check_directory(description.get("working_directory") or ""),
        seed=seed,
    )
