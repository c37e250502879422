"""How far a run is, read from its summary; never touches the TODO-file, so it can be asked at any
time.
"""

import collections
import contextlib
import errno
import json
import os
import platform
import shlex
import time
from datetime import datetime, timedelta
from pathlib import Path

from ..errors import WrongUseError
from ..processes import ProcessId, is_alive
from ..status import STATUS

SUMMARY_NAME = "summary.json"
NEWS_SECONDS = 120  # a running master reports much more often than this
MAX_CAUSES, WIDTH = 20, 100


def read_summary(path):
    """The summary of a run as a dict.

    Parameters
    ----------
    path : the summary itself, or the folder of the TODO-file or of the light curves

    Raises
    ------
    WrongUseError : there is none, or it is not a summary
    """
    path = Path(path)
    file = path / SUMMARY_NAME if path.is_dir() else path
    try:
        if not file.stat().st_mode & 0o444:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        summary = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise WrongUseError(
            f"{path}: there is no {SUMMARY_NAME}; expected a folder that 'photometry run' was "
            f"started on or wrote to"
        ) from None
    except OSError as error:
        raise WrongUseError(f"{file}: cannot be read ({error.strerror})") from None
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise WrongUseError(f"{file}: is not a summary: {error}") from None
    try:
        json.dumps(summary, ensure_ascii=False).encode()
    except UnicodeEncodeError:  # half a character, which no terminal shows
        raise WrongUseError(f"{file}: is not a summary: it holds text that is no Unicode") from None
    if not isinstance(summary, dict) or "numtasks" not in summary:
        raise WrongUseError(f"{file}: is not a summary of a run: the key 'numtasks' is missing")
    _check_types(file, summary)
    return summary


def _check_types(file, summary):
    """Refuse a summary with values of another kind than we write."""
    kinds = {
        **dict.fromkeys(["numtasks", *STATUS.__members__], (int, "a whole number")),
        **dict.fromkeys(["rate", "mean_elaptime"], ((int, float, type(None)), "a number")),
        **dict.fromkeys(["workers", "workers_lost", "pid"], ((int, type(None)), "a whole number")),
        **dict.fromkeys(
            [
                "started",
                "updated",
                "ended",
                "expected_end",
                "host",
                "todo_file",
                "output",
                "reason",
            ],
            ((str, type(None)), "text"),
        ),
        **dict.fromkeys(["failures", "warnings"], ((list, type(None)), "a list")),
    }
    for key, (kind, expected) in kinds.items():
        value = summary.get(key, 0 if kind is int else None)
        if not isinstance(value, kind) or isinstance(value, bool):
            raise WrongUseError(
                f"{file}: is not a summary of a run: {key}={value!r:.100}: expected {expected}"
            )
    for key in ("started", "updated"):
        try:
            datetime.fromisoformat((summary.get(key) or "1970-01-01").replace("Z", "+00:00"))
        except ValueError:
            raise WrongUseError(
                f"{file}: is not a summary of a run: {key}={summary[key]!r:.100}: expected a time"
            ) from None
    for group in (summary.get("failures") or []) + (summary.get("warnings") or []):
        if not isinstance(group, dict) or not isinstance(group.get("count"), int):
            raise WrongUseError(
                f"{file}: is not a summary of a run: {group!r:.100} is no group of failures"
            )


def output_folder(todo_file, output=None):
    """Where the light curves of a TODO-file are: as given, else where the last run says, else
    beside it.

    Raises
    ------
    WrongUseError : the folder that was given is not there
    """
    if output is not None:
        if not Path(output).is_dir():
            raise WrongUseError(
                f"--output {output}: there is no such folder; expected the folder of the light "
                f"curves"
            )
        return Path(output)
    last = _output_of_last_run(todo_file)
    return last if last is not None and last.is_dir() else todo_file.parent / "lightcurves"


def _output_of_last_run(todo_file):
    """The output folder that the summary of the last run names; if it lay below the TODO-file's,
    both may have moved.
    """
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        summary = json.loads((todo_file.parent / SUMMARY_NAME).read_text(encoding="utf-8"))
        output, folder = Path(summary["output"]), Path(summary["todo_file"]).parent
        return (
            todo_file.parent / output.relative_to(folder)
            if output.is_relative_to(folder)
            else output
        )
    return None


def link_summary(summary, folders):
    """Make the summary of the last run appear in other folders too, as relative symbolic links."""
    summary = Path(os.path.abspath(summary))
    for folder in folders:
        link = Path(os.path.abspath(folder)) / SUMMARY_NAME
        if link == summary or (link.exists() and not link.is_symlink()):
            continue
        new = link.with_name(f".{SUMMARY_NAME}.{os.getpid()}")
        new.symlink_to(os.path.relpath(summary, link.parent))
        os.replace(new, link)


def counts(summary):
    """{STATUS name: number of tasks} of those that occur, and 'to do'."""
    numbers = {status.name: summary.get(status.name, 0) for status in STATUS}
    numbers["to do"] = summary["numtasks"] - sum(numbers.values())
    return {name: number for name, number in numbers.items() if number}


def state(summary, now=None):
    """One message: running, ended, or no news."""
    if summary.get("ended"):
        return f"ended {summary['ended']}: {summary.get('reason') or ''}".rstrip(" :")
    if not summary.get("updated"):
        return "not started"
    if _has_died(summary):
        return (
            "died, or could not write its last word (killed, disk full); what it had saved is "
            "safe, and the same"
            " command continues"
        )
    updated = datetime.fromisoformat(summary["updated"].replace("Z", "+00:00")).timestamp()
    age = (time.time() if now is None else now) - updated
    if age > NEWS_SECONDS:
        return (
            f"no news for {timedelta(seconds=round(age))}: the run has died or hangs; the same "
            f"command continues it"
        )
    return "running"


def is_running(summary):
    """Whether a run is going on, as far as is known."""
    return not summary.get("ended") and bool(summary.get("updated")) and not _has_died(summary)


def _has_died(summary):
    """Whether the master's process is gone; can be known on its own host only."""
    if summary.get("host") != platform.node() or not summary.get("pid"):
        return False
    if summary.get("boot"):
        return not is_alive(summary["pid"], summary.get("process_started"), summary["boot"])
    return ProcessId.of(summary["pid"]) is None


def print_status(summary):
    """Show a summary to a person, on standard output."""
    from rich.console import Console
    from rich.markup import escape
    from rich.progress_bar import ProgressBar

    console = Console(highlight=False, soft_wrap=True)
    for name, text in _lines(summary):
        console.print(f"[bold]{name:<9}[/]  {escape(text)}".rstrip())
    remaining = counts(summary).get("to do", 0) + summary.get("STARTED", 0)
    if console.is_terminal and summary["numtasks"]:
        done = summary["numtasks"] - remaining
        console.print(ProgressBar(total=summary["numtasks"], completed=done, width=60))
        console.print()
    for name in ("failures", "warnings"):
        if groups := summary.get(name):
            _print_causes(console, name, groups)
    if command := next_command(summary):
        console.print(f"next: {escape(command)}")


def as_typed(path):
    """A path relative to this folder where it lies in it, as people type it."""
    path, here = Path(path), Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def next_command(summary):
    """What to type next; None where nothing is known."""
    todo_file = summary.get("todo_file")
    if not todo_file:
        return None
    path = Path(todo_file)
    where = shlex.quote(as_typed(path.parent if path.name == "todo.sqlite" else path))
    code = summary.get("exit_code")
    if summary.get("ended") and code == 1:
        return f"photometry status {where} --failed"
    if summary.get("ended") and code == 0:
        if summary.get("WARNING"):
            return f"photometry status {where} --status WARNING"
        return f"photometry verify {where}"
    if is_running(summary):
        return f"photometry status {where} --watch"
    return f"photometry run {where}"


def _lines(summary):
    first = "run {run} on {host}, photometry {version}, started {started}"
    unknown = collections.defaultdict(lambda: "unknown")
    shown = unknown | {key: value for key, value in summary.items() if value is not None}
    yield "run", first.format_map(unknown | shown).removeprefix("run ")
    yield "state", state(summary)
    for key, name in (("todo_file", "TODO-file"), ("output", "output")):
        if summary.get(key):
            yield name, as_typed(summary[key])
    listed = ", ".join(f"{number} {name}" for name, number in counts(summary).items())
    yield "tasks", f"{listed} of {summary['numtasks']}"
    if summary.get("rate"):
        text = f"{summary['rate']:.3g} targets/s"
        if summary.get("mean_elaptime") is not None:
            text += f", {summary['mean_elaptime']:.3g} s each"
        if summary.get("expected_end") and is_running(summary):
            n_workers = summary.get("workers")
            workers = "1 worker" if n_workers == 1 else f"{n_workers} workers"
            text += f", {workers}, expected end {summary['expected_end']}"
        yield "speed", text
    if summary.get("workers_lost"):
        n_lost = summary["workers_lost"]
        yield "lost", "1 worker" if n_lost == 1 else f"{n_lost} workers"


def _print_causes(console, name, groups):
    """Count and cause, then an example: two lines each, of at most `WIDTH` columns."""
    from rich.markup import escape

    console.print(f"[bold]{name} by cause")
    for group in groups[:MAX_CAUSES]:
        message = group.get("message") or ""
        cause = f"{group['error_class']}: {message}" if group.get("error_class") else message
        where = f" ({group['where']})" if group.get("where") else ""
        console.print(escape(_cut(f"{group['count']:>7} × {cause}{where}")))
        example = f"e.g. {group.get('example', '')}"
        text = _first_line(group.get("example_text") or "")
        if text != message:  # it says more than the cause
            example += f": {text}"
        console.print(escape(_cut(f"{'':10}{example}")))
    if len(groups) > MAX_CAUSES:
        console.print(f"        and {len(groups) - MAX_CAUSES} more causes")


def _cut(text):
    return text if len(text) <= WIDTH else text[: WIDTH - 1] + "…"


def _first_line(text):
    with contextlib.suppress(IndexError):
        return str(text).strip().splitlines()[0]
    return ""
