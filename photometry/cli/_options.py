"""Options that several verbs share, declared once."""

import functools
import json
import logging
import math
import os

import click

FOLDER_VARIABLE = "TESSPHOT_INPUT"
MAX_RANGE = 10_000_000  # numbers
MOST_SHOWN = 20  # of the numbers of a filter, in a message


class Numbers(click.ParamType):
    """Whole numbers, separated by commas; ranges as in 3-7."""

    name = "N[,N...]"

    def convert(self, value, param, ctx):
        numbers = []
        for part in str(value).split(","):
            first, dash, last = part.strip().partition("-")
            if not first.isdigit() or (dash and not last.isdigit()):
                self.fail(
                    f"{part.strip()!r}: expected whole numbers like 5, 1,2,7 or 3-9", param, ctx
                )
            first, last = int(first), int(last if dash else first)
            if last < first:
                self.fail(f"{part.strip()!r}: expected the smaller number first", param, ctx)
            if last >= 2**63 or last - first >= MAX_RANGE:
                self.fail(
                    f"{part.strip()!r}: expected numbers below 2**63, at most {MAX_RANGE:,} in a "
                    "range",
                    param,
                    ctx,
                )
            numbers += range(first, last + 1)
        return numbers


class Cadence(Numbers):
    """Seconds, or 'ffi'."""

    name = "S[,S...]|ffi"

    def convert(self, value, param, ctx):
        return value if value == "ffi" else super().convert(value, param, ctx)


def folder_argument(name="folder", **kind):
    """DIR: the folder of the data and the TODO-file; where it is not given, TESSPHOT_INPUT, or this
    folder.

    Parameters
    ----------
    name : str, of the parameter that the command gets
    kind : options of click.Path
    """
    return click.argument(
        name, metavar="[DIR]", required=False, envvar=FOLDER_VARIABLE, default=".",
        type=click.Path(**kind),
    )  # fmt: skip


def json_option(help="As JSON, for programs."):
    """--json, which the command gets as ``as_json``."""
    return click.option("--json", "as_json", is_flag=True, help=help)


output_option = click.option(
    "--output",
    type=click.Path(file_okay=False),
    envvar="TESSPHOT_OUTPUT",
    help="Folder of the light curves [TESSPHOT_OUTPUT, or where the last run wrote].",
)
"""--output of what looks at light curves."""


new_output_option = click.option(
    "--output",
    type=click.Path(file_okay=False),
    envvar="TESSPHOT_OUTPUT",
    help="Folder for light curves [TESSPHOT_OUTPUT, or DIR/lightcurves].",
)
"""--output of what makes light curves, or prepares for it."""


settings_option = click.option(
    "--settings",
    "settings_file",
    type=click.Path(),
    help="Settings file [DIR/photometry.toml where there is one].",
)
"""--settings of what runs, plans or checks a run."""


steal_lock_option = click.option(
    "--steal-lock",
    is_flag=True,
    help="Take the TODO-file from a process on another host that has surely ended.",
)
"""--steal-lock of what changes a TODO-file."""


def folder_and_star(words):
    """DIR and the number of a star, in either order; DIR as of `folder_argument`.

    Parameters
    ----------
    words : tuple of str

    Returns
    -------
    folder : str
    star : int
    """
    stars = [word for word in words if word.isdigit()]
    folders = [word for word in words if not word.isdigit()]
    if len(stars) != 1 or len(folders) > 1:
        raise click.UsageError(
            f"{' '.join(words)!r}: expected one star number, and at most one folder"
        )
    return folders[0] if folders else default_folder(), int(stars[0])


def default_folder():
    """DIR where it is not given."""
    return os.environ.get(FOLDER_VARIABLE) or "."


def show_json(content, indent=1):
    """Print what --json asks for; NaN and infinities become null.

    Parameters
    ----------
    content : dicts, lists, numbers and text
    indent : int, or None: all on one line
    """
    click.echo(json.dumps(finite(content), indent=indent, default=str))


def finite(value):
    """A value that JSON can hold: NaN and infinities become null."""
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    value = value.item() if getattr(value, "ndim", None) == 0 else value  # a number of numpy
    return None if isinstance(value, float) and not math.isfinite(value) else value


def refuse_senseless(ctx, param, value):
    """Callback of every option: a number that no option of a verb can mean is refused by name."""
    for number in value if isinstance(value, tuple | list) else (value,):
        if isinstance(number, float) and not math.isfinite(number):
            raise click.BadParameter(f"{number}: expected a finite number", ctx, param)
        if type(number) is int and number >= 2**63:
            raise click.BadParameter(f"{number}: expected a number below 2**63", ctx, param)
    return value


FILTERS = (
    click.option("--priority", type=Numbers(), help="Only tasks of these priorities."),
    click.option("--starid", type=Numbers(), help="Only these stars (TIC, KIC or EPIC numbers)."),
    click.option("--sector", type=Numbers(), help="Only these sectors."),
    click.option(
        "--cadence",
        type=Cadence(),
        help="Only these cadences, in seconds; 'ffi': only full-frame images.",
    ),
    click.option("--camera", type=Numbers(), help="Only these cameras."),
    click.option("--ccd", type=Numbers(), help="Only these CCDs."),
    click.option("--cbv-area", type=Numbers(), help="Only these CBV areas."),
    click.option(
        "--datasource",
        type=click.Choice(["ffi", "tpf"]),
        help="Only full-frame images or target pixel files.",
    ),
    click.option(
        "--tmag-min",
        type=float,
        help="Only stars fainter than this [mag]; a secondary counts as its primary.",
    ),
    click.option(
        "--tmag-max",
        type=float,
        help="Only stars brighter than this [mag]; a secondary counts as its primary.",
    ),
)
FILTER_NAMES = (
    "priority",
    "starid",
    "sector",
    "cadence",
    "camera",
    "ccd",
    "cbv_area",
    "datasource",
    "tmag_min",
    "tmag_max",
)


def filters(command):
    """Add the filters of build_constraints to a command, which gets those that were given as one
    dict, ``constraints``.
    """

    @functools.wraps(command)
    def wrapped(**options):
        values = {name: options.pop(name) for name in FILTER_NAMES}
        return command(
            constraints={name: value for name, value in values.items() if value is not None},
            **options,
        )

    for option in reversed(FILTERS):
        wrapped = option(wrapped)
    return wrapped


def check_matches(tm, constraints):
    """Refuse constraints that no row of the TODO-file matches, whatever its status: they are a
    mistake.
    """
    from ..errors import WrongUseError

    if constraints and not tm.get_number_rows(**constraints):
        given = " ".join(
            f"--{name.replace('_', '-')} {_words(v)}" for name, v in constraints.items()
        )
        raise WrongUseError(f"{tm.todo_file}: has no target that matches {given}")


def _words(value):
    """A value of a filter as on the command line, in short."""
    if not isinstance(value, (list, tuple)):
        return str(value)
    words = ",".join(map(str, value[:MOST_SHOWN]))
    return words + (",…" if len(value) > MOST_SHOWN else "")


def logging_options(command):
    """Add --debug and --quiet, and set logging up: messages on standard error."""

    @functools.wraps(command)
    def wrapped(debug, quiet, **options):
        set_up_logging(logging.DEBUG if debug else logging.WARNING if quiet else logging.INFO)
        return command(quiet=quiet, **options)

    wrapped = click.option("--quiet", is_flag=True, help="Only warnings and errors.")(wrapped)
    return click.option("--debug", is_flag=True, help="Log every step.")(wrapped)


def set_up_logging(level):
    """Log messages to standard error; what libraries say only from warnings on."""
    from ..processes import stderr_handler

    logging.basicConfig(level=logging.WARNING, handlers=[stderr_handler()])
    logging.getLogger().handlers[0].setLevel(level)
    logging.getLogger("photometry").setLevel(min(level, logging.INFO))


def log_events():
    """Let the loggers of the event framework say as much as those of this package; of events and
    watch."""
    # --quiet is a level of the handler
    levels = [handler.level for handler in logging.getLogger().handlers]
    level = max([logging.getLogger("photometry").level, *levels])
    for name in ("DRPF", "pipeline"):
        logging.getLogger(name).setLevel(level)


def debugging():
    """Whether --debug was given: then the log has tracebacks."""
    return logging.getLogger("photometry").level == logging.DEBUG


def todo_path(path):
    """The TODO-file for a path that may be its folder."""
    from pathlib import Path

    path = Path(path)
    return path / "todo.sqlite" if path.is_dir() else path


class Bars:
    """One bar per stage of the work. A context manager, and a callable ``(stage, done, total)``.

    Bars are drawn when something was done, not by a thread, so that processes can be forked
    meanwhile.

    Parameters
    ----------
    quiet : bool, nothing on a terminal either
    """

    def __init__(self, quiet=False):
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
        )

        console = Console(stderr=True)
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
        )
        hidden = quiet or not console.is_terminal
        self._rich = (
            None
            if hidden
            else Progress(*columns, console=console, auto_refresh=False, transient=True)
        )
        self._bars = {}

    def __call__(self, stage, done, total):
        """``done`` of ``total`` steps of a stage are finished."""
        if self._rich is None:
            return
        if stage not in self._bars:
            self._bars[stage] = self._rich.add_task(stage, total=total)
        self._rich.update(self._bars[stage], completed=done, total=total, refresh=True)

    def stage(self, name):
        """The callable ``(done, total)`` of one stage."""
        return lambda done, total: self(name, done, total)

    def track(self, things, name, total=None):
        """Iterate over things with a bar; ``total`` of them, where they do not know themselves.
        None: not known.
        """
        total = len(things) if total is None and hasattr(things, "__len__") else total
        for done, thing in enumerate(things, start=1):
            yield thing
            self(name, done, total)

    def __enter__(self):
        if self._rich is not None:
            self._rich.start()
        return self

    def __exit__(self, *exc):
        if self._rich is not None:
            self._rich.stop()
