"""Files as they arrive: the verbs events and watch."""

import functools
import logging
import os
import sys
from pathlib import Path

import click

from ..errors import TryAgainError, WrongUseError
from . import EXIT_FAILED, EXIT_OK
from ._options import (
    debugging,
    folder_argument,
    json_option,
    log_events,
    logging_options,
    set_up_logging,
    show_json,
)

# --- events

PATHS = click.Path(path_type=Path)
SECRET = "PHOTOMETRY_EVENTS_SECRET"
QUEUE_OPTIONS = (
    click.option("-c", "--config", type=PATHS, help="Configuration file (INI)."),
    click.option(
        "-q",
        "--queue",
        "queue_file",
        help="SQLite file of the queue, or URL of a database [that of the config].",
    ),
    click.option("-H", "--host", help="Host of the queue's server [that of the config]."),
    click.option(
        "-p", "--port", type=click.IntRange(1, 65535), help="Its port [that of the config]."
    ),
)


def queue_options(function):
    """Which queue: --config, --queue, --host and --port; the command gets a ConfigClass as
    ``settings``."""

    @functools.wraps(function)
    def wrapped(config, queue_file, host, port, **options):
        settings = settings_of(config, queue_file)
        settings.queue_manager_hostname = host or settings.queue_manager_hostname
        settings.queue_manager_portnr = port or settings.queue_manager_portnr
        if host or port:
            _refuse_without_secret(settings)
            settings.want_multiprocessing = True
        return function(settings=settings, **options)

    for option in reversed(QUEUE_OPTIONS):
        wrapped = option(wrapped)
    return wrapped


def _refuse_without_secret(settings):
    if settings.queue_manager_auth_code is None:
        raise WrongUseError(
            f"--host and --port need a secret: set {SECRET}, or queue_manager_auth_code in the "
            "configuration; there is no default"
        )


def settings_of(config, queue_file):
    """The configuration in a file, with another queue where one is given, and the secret of the
    environment."""
    from ..events.config import ConfigClass

    settings = ConfigClass(config, print_trace=debugging())
    if settings.queue_manager_auth_code is None:
        settings.queue_manager_auth_code = os.environ.get(SECRET)
    if queue_file is not None:
        settings.queue_file = str(queue_file)
    return settings


@click.group()
def events():
    """Run a pipeline on files as they arrive, and look after a queue that several processes share.

    The queue is a file. With a secret, queue_manager_auth_code in the configuration or
    PHOTOMETRY_EVENTS_SECRET in the environment, it is reached through a server, also from other
    hosts."""


@events.command()
@click.argument("pipeline")
@click.argument("files", nargs=-1, type=click.Path())
@click.option(
    "-frames",
    "-infiles",
    "--infiles",
    "named",
    multiple=True,
    type=click.Path(),
    help="Files; same as FILES.",
)
@click.option(
    "-l", "--list", "listed", type=click.File(), help="A file with names of files, one per line."
)
@click.option("-d", "--directory", type=click.Path(), help="Take the files of this directory.")
@click.option(
    "-m", "--monitor", is_flag=True, help="Go on taking files as they arrive there; implies -W."
)
@click.option(
    "-i",
    "--ingest-only",
    "--ingest_data_only",
    is_flag=True,
    help="Put the events on the shared queue, and end.",
)
@click.option(
    "-w", "--wait-for-event", "--wait_for_event", is_flag=True, help="Wait for the first event."
)
@click.option("-W", "--continue", "continuous", is_flag=True, help="Wait for events for ever.")
@click.option(
    "-s",
    "--queue-only",
    "--start_queue_manager_only",
    is_flag=True,
    help="No processing; wait for a signal.",
)
@click.option(
    "--ncpus", type=click.IntRange(1), default=1, show_default=True, help="Worker processes."
)
@click.option(
    "--output", type=click.Path(), help="Directory for results [output_directory of the config]."
)
@click.option("--clobber", is_flag=True, help="Also do again what the queue remembers as done.")
@json_option("At the end, what became of the events, as JSON, for programs.")
@queue_options
@logging_options
def run(pipeline, settings, files, named, listed, output, as_json, quiet, **options):
    """Run PIPELINE on FILES: a module, a class or a Python file.

    Exit code 1: some failed, now or in an earlier run on the same queue.
    """
    from ..events.startup import run as run_pipeline

    log_events()
    sys.path.insert(0, "")  # pipelines are looked for in the current directory, as by 'python -m'
    if output is not None:
        Path(output).mkdir(parents=True, exist_ok=True)
        settings.output_directory = output
    lines = [line.strip() for line in listed or ()]
    names = [*files, *named, *(line for line in lines if line and not line.startswith("#"))]
    code = run_pipeline(pipeline, settings, files=names, **options)
    if as_json:
        show_json(_interface(settings).info())
    return code


@events.command()
@json_option()
@queue_options
def start(settings, as_json):
    """Make a shared queue, and start its server where there is a secret; let workers work again
    after 'stop'."""
    path = _interface(settings, start=True).queue.path
    if as_json:
        show_json({"queue": path})
    else:
        click.echo(f"queue {path} is open")
    return EXIT_OK


@events.command()
@json_option()
@queue_options
def stop(settings, as_json):
    """Ask all workers to end after their present item; with a secret, end the server. What is
    pending stays."""
    _interface(settings).stop_event_queue()
    served = settings.queue_manager_auth_code is not None
    if as_json:
        show_json({"stopped": "server" if served else "workers"})
        return EXIT_OK
    click.echo(
        "the server ends"
        if served
        else "workers end after their present item; 'start' lets them work again"
    )
    return EXIT_OK


@events.command()
@json_option()
@click.option(
    "--limit",
    type=click.IntRange(0),
    default=20,
    show_default=True,
    help="Show at most N events per state.",
)
@queue_options
def info(settings, as_json, limit):
    """Show what is pending, in progress and failed, and who works."""
    found = _interface(settings).info(limit)
    if found is None:
        raise TryAgainError(
            "the queue cannot be read; expected a queue that is whole and within reach"
        )
    if as_json:
        show_json(found)
    else:
        _show(found)
    return EXIT_OK


@events.command()
@click.argument("event")
@click.argument("argument")
@click.option(
    "--arg",
    "keywords",
    multiple=True,
    metavar="KEY=VALUE",
    help="A further argument; numbers become numbers.",
)
@json_option()
@queue_options
def add(settings, event, argument, keywords, as_json):
    """Add EVENT to the queue, with ARGUMENT as the name in its arguments."""
    from ..events import Arguments, Event

    new = Event(event, Arguments(name=argument, **dict(map(_keyword, keywords))))
    _interface(settings).add_event(new)
    if as_json:
        show_json({"added": [event, argument]})
    else:
        click.echo(f"added {event}, {argument}")
    return EXIT_OK


@events.command()
@click.argument("states", nargs=-1, type=click.Choice(["failed", "skipped", "done"]))
@json_option()
@queue_options
def retry(settings, states, as_json):
    """Make items pending again: those that failed, or those of STATES."""
    number = _interface(settings).queue.requeue(*(states or ("failed",)))
    if as_json:
        show_json({"pending": number})
    else:
        click.echo(f"{number} items are pending again")
    return EXIT_OK if number else EXIT_FAILED


@events.command()
@click.argument("path", metavar="FILE.py", type=PATHS)
@json_option()
def new(path, as_json):
    """Write a pipeline to change, FILE.py, and its configuration with all keys, FILE.cfg."""
    import inspect

    from ..events import template_pipeline
    from ..events.config import as_file
    from ..files import atomic_write

    texts = {
        path.with_suffix(".py"): inspect.getsource(template_pipeline),
        path.with_suffix(".cfg"): as_file(),
    }
    if there := [str(name) for name in texts if name.exists()]:
        raise WrongUseError(f"{', '.join(there)}: exists already; choose another name")
    for name, text in texts.items():
        with atomic_write(name) as part:
            part.write_text(text, encoding="utf-8")
        if not as_json:
            click.echo(f"wrote {name}")
    if as_json:
        show_json({"wrote": list(texts)})
    return EXIT_OK


@events.command()
@click.argument("pipeline")
@click.option("-c", "--config", type=PATHS, help="Configuration file (INI).")
@json_option()
def table(pipeline, config, as_json):
    """Show the events of PIPELINE: what each calls and what follows. Checks that all of it is
    there."""
    from ..events import Framework

    set_up_logging(logging.WARNING)
    log_events()
    sys.path.insert(0, "")
    settings = settings_of(config, None)
    settings.want_multiprocessing, settings.queue_file = False, None
    rows = Framework(pipeline, settings).pipeline.event_table
    if as_json:
        show_json(rows)
    else:
        for event, row in rows.items():
            click.echo(f"{event} = {', '.join(map(repr, row))}")
    return EXIT_OK


def _interface(settings, start=False):
    """The interface to a queue that is there; with ``start`` it is made if it is missing."""
    from ..events.interface import FrameworkInterface, queue_name

    interface = FrameworkInterface(settings)
    if start:
        interface.start_event_queue()
    if not interface.is_queue_ok():
        raise WrongUseError(
            f"{queue_name(settings)}: there is no such queue; name one with --queue, or "
            "'photometry events start'"
        )
    return interface


def _keyword(text):
    from ..events.config import literal

    key, equals, value = text.partition("=")
    if not equals:
        raise click.BadParameter(f"{text!r}: expected KEY=VALUE")
    return key, literal(value)


def _show(found):
    click.echo(f"{found['queue']}{'  (stopping)' if found['stopping'] else ''}")
    click.echo("  ".join(f"{state} {number}" for state, number in found["counts"].items()))
    click.echo(f"waiting for: {found['waiting_for']}")
    for worker in found["workers"]:
        click.echo(f"worker {worker['id']}")
    for state in ("running", "pending", "failed"):
        for event in found[state]:
            name = event["args"]["kwargs"]["name"]
            more = f": {event['error']}" if event["error"] else ""
            if event["worker"]:
                more = f" on {event['worker']}"
            click.echo(f"{state:8} {event['name']}, {name}, attempt {event['attempt']}{more}")


# --- watch

PATTERNS = ("*.fits", "*.fits.gz", "*.fit")


@click.command()
@folder_argument(exists=True, file_okay=False, path_type=Path)
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    help="Folder for light curves and pictures [DIR/quicklook].",
)
@click.option(
    "--pipeline",
    default="photometry.events.quicklook",
    show_default=True,
    help="Another pipeline to run.",
)
@click.option(
    "--config", type=click.Path(path_type=Path), help="Configuration file of the pipeline (INI)."
)
@click.option(
    "--pattern",
    "patterns",
    multiple=True,
    metavar="P",
    help=f"Which files; repeatable {list(PATTERNS)}.",
)
@click.option("--recursive", is_flag=True, default=None, help="Sub-directories too.")
@click.option(
    "--settle",
    "settle_time",
    type=click.FloatRange(0),
    metavar="S",
    help="Take a file unchanged for S s [2].",
)
@click.option(
    "--method",
    "monitor_method",
    type=click.Choice(["auto", "native", "polling"]),
    help="How to watch; auto: polling on network disks [auto].",
)
@click.option(
    "--interval",
    "monitor_interval",
    type=click.FloatRange(0.1),
    metavar="S",
    help="When polling, every S s [10].",
)
@click.option(
    "--ncpus", type=click.IntRange(1), default=1, show_default=True, help="Worker processes."
)
@click.option(
    "--no-pictures", is_flag=True, help="Light curves only, which takes a twentieth of the time."
)
@click.option("--once", is_flag=True, help="Do what is there, and end.")
@click.option("--clobber", is_flag=True, help="Also do again what was done in an earlier run.")
@click.option("--retry-failed", is_flag=True, help="Also try again what failed in an earlier run.")
@json_option("At the end, what became of the files, as JSON, for programs.")
@logging_options
def watch(
    folder, output, pipeline, config, patterns, ncpus, no_pictures, once, clobber, retry_failed,
    as_json, quiet, **keys,
):  # fmt: skip
    """Turn target pixel files into light curves, and FITS images into pictures, as they arrive in
    DIR.

    OUTPUT/index.html shows all pictures. OUTPUT/events.sqlite remembers what was done: start again
    at any time; look at it with 'photometry events info'. The first Ctrl-C ends after the present
    file, the second one at once.

    Exit code 1: some failed, now or in an earlier run.
    """
    from ..events.config import ConfigClass
    from ..events.interface import FrameworkInterface, shared_queue
    from ..events.startup import run

    log_events()
    defaults = {
        "name": "Quick look",
        "file_type": PATTERNS,
        "output_directory": str(output or folder / "quicklook"),
        "print_trace": debugging(),
    }
    settings = ConfigClass(config, **defaults)
    given = {
        "file_type": patterns or None,
        "output_directory": str(output) if output else None,
        "pictures": False if no_pictures else None,
        **keys,
    }
    for key, value in given.items():
        if value is not None:
            setattr(settings, key, value)
    settings.want_multiprocessing = True
    if retry_failed:
        queue = shared_queue(settings)
        queue.requeue("failed")
        queue.close()
    code = run(
        pipeline, settings, directory=str(folder), monitor=not once, ncpus=ncpus, clobber=clobber
    )
    if as_json:
        show_json(FrameworkInterface(settings).info())
    return code
