"""How far a run is, read from its summary; never touches the TODO-file, so it can be asked at any time."""

import contextlib
import json
import os
import platform
import time
from datetime import datetime, timedelta
from pathlib import Path

from ..errors import WrongUseError
from ..status import STATUS

SUMMARY_NAME = "summary.json"
NEWS_SECONDS = 120  # a running master tells something much more often than this


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
        summary = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise WrongUseError(
            f"{path}: there is no {SUMMARY_NAME}; expected a folder that 'photometry run' was started on or wrote to"
        ) from None
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise WrongUseError(f"{file}: is not a summary: {error}") from None
    if not isinstance(summary, dict) or "numtasks" not in summary:
        raise WrongUseError(f"{file}: is not a summary of a run: the key 'numtasks' is missing")
    return summary


def output_folder(todo_file, output=None):
    """Where the light curves of a TODO-file are: as given, else where the last run says, else beside it.

    Raises
    ------
    WrongUseError : the folder that was given is not there
    """
    if output is not None:
        if not Path(output).is_dir():
            raise WrongUseError(
                f"--output {output}: there is no such folder; expected the folder of the light curves"
            )
        return Path(output)
    last = _output_of_last_run(todo_file)
    return last if last is not None and last.is_dir() else todo_file.parent / "lightcurves"


def _output_of_last_run(todo_file):
    """The output folder that the summary of the last run names; if it lay below the TODO-file's, both may have moved."""
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
    found = {status.name: summary.get(status.name, 0) for status in STATUS}
    found["to do"] = summary["numtasks"] - sum(found.values())
    return {name: number for name, number in found.items() if number}


def state(summary, now=None):
    """One sentence: running, ended, or no news."""
    if summary.get("ended"):
        return f"ended {summary['ended']}: {summary.get('reason') or ''}"
    if not summary.get("updated"):
        return "not started"
    if _has_died(summary):
        return "died; what it had saved is safe, and the same command continues"
    age = (time.time() if now is None else now) - _seconds(summary["updated"])
    if age > NEWS_SECONDS:
        return f"no news for {timedelta(seconds=round(age))}: the run has died or hangs; the same command continues it"
    return "running"


def _has_died(summary):
    """Whether the master's process is gone; can be told on its own host only."""
    if summary.get("host") != platform.node() or not summary.get("pid"):
        return False
    import psutil

    try:
        process = psutil.Process(summary["pid"])
        return (
            process.status() == psutil.STATUS_ZOMBIE
            or process.create_time() > _seconds(summary["started"]) + 1
        )
    except psutil.NoSuchProcess:
        return True


def _seconds(stamp):
    return datetime.fromisoformat(stamp.replace("Z", "+00:00")).timestamp()


def print_status(summary):
    """Show a summary to a person, on standard output."""
    from rich.console import Console
    from rich.progress_bar import ProgressBar
    from rich.table import Table

    console = Console(highlight=False, soft_wrap=True)
    table = Table.grid(padding=(0, 2))
    for name, text in _lines(summary):
        table.add_row(f"[bold]{name}", text)
    console.print(table)
    left = counts(summary).get("to do", 0) + summary.get("STARTED", 0)
    if console.is_terminal and summary["numtasks"]:
        console.print(
            ProgressBar(total=summary["numtasks"], completed=summary["numtasks"] - left, width=60)
        )
        console.print()
    _print_failures(console, summary.get("failures") or [])


def _lines(summary):
    yield (
        "run",
        f"{summary.get('run', '-')} on {summary.get('host', '-')}, photometry {summary.get('version', '-')}, started {summary.get('started', '-')}",
    )
    yield "state", state(summary)
    for name in ("todo_file", "output"):
        if summary.get(name):
            yield {"todo_file": "TODO-file", "output": "output"}[name], summary[name]
    yield (
        "tasks",
        ", ".join(f"{number} {name}" for name, number in counts(summary).items())
        + f" of {summary['numtasks']}",
    )
    if summary.get("rate"):
        yield "speed", _speed(summary)
    if summary.get("workers_lost"):
        yield "lost", f"{summary['workers_lost']} workers"


def _speed(summary):
    text = f"{summary['rate']:.3g} targets/s"
    if summary.get("mean_elaptime") is not None:
        text += f", {summary['mean_elaptime']:.3g} s each"
    if summary.get("expected_end") and not summary.get("ended"):
        text += f", {summary.get('workers', '-')} workers, expected end {summary['expected_end']}"
    return text


def _print_failures(console, failures):
    if not failures:
        return
    from rich.markup import escape

    console.print("[bold]failures by cause")
    for group in failures[:20]:
        cause = (
            f"{group['error_class']}: {group['message']}"
            if group["error_class"]
            else group["message"]
        )
        where = f" ({group['where']})" if group["where"] else ""
        console.print(
            f"{group['count']:>7} × {escape(cause)}{escape(where)}, e.g. {escape(str(group['example']))}: {escape(_first_line(group['example_text']))}"
        )
    if len(failures) > 20:
        console.print(f"        and {len(failures) - 20} more causes")


def _first_line(text):
    with contextlib.suppress(IndexError):
        return text.strip().splitlines()[0]
    return ""
