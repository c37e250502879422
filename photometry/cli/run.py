"""``photometry run``: do the photometry of the tasks in a TODO-file."""

import functools
import shlex
import sys
from pathlib import Path

import click

from ..notebook import counted
from . import EXIT_OK
from ._options import (
    check_matches,
    filters,
    folder_argument,
    json_option,
    logging_options,
    new_output_option,
    settings_option,
    show_json,
    steal_lock_option,
    todo_path,
)
from ._run import changes_of, injection_paths, put_back_changed, record_run, refuse_injection

RUN_OPTIONS = {  # command-line option -> name in the section [run] of the settings
    "task_timeout": "task_timeout",
    "isolate": "isolate",
    "recycle": "recycle",
    "grace": "grace",
    "time_limit": "time_limit",
    "max_attempts": "max_attempts",
    "durability": "durability",
}


def _show_version(ctx, param, value):
    """--version without a number shows the program's version."""
    if value == "show":
        from .._version import __version__

        click.echo(f"photometry, version {__version__}")
        ctx.exit()
    if value is not None and not (value.isdigit() and int(value) < 100):
        raise click.BadParameter(f"{value!r}: expected a whole number from 0 to 99")
    return None if value is None else int(value)


@click.command()
@folder_argument("where")
@new_output_option
@click.option(
    "--workers",
    type=click.IntRange(0),
    help="Local processes [number of cores]; 0: all in this process. Not under mpiexec.",
)
@filters
@click.option("--random", "randomly", is_flag=True, help="Take tasks in random order.")
@click.option("--limit", type=click.IntRange(0), metavar="N", help="Do at most N tasks.")
@click.option(
    "--method",
    help="Use this method for all tasks instead of the TODO-file's; your own as 'module:function'.",
)
@click.option(
    "--handler",
    default="photometry",
    show_default=True,
    help=(
        "What does the work: 'photometry', or your own function(task) -> result as "
        "'package.module:function'."
    ),
)
@click.option(
    "--mask",
    type=click.Choice(["own", "pipeline"]),
    help="Aperture from our own pixel mask, or the one in the target pixel file [own].",
)
@click.option("--plot", is_flag=True, help="Draw each target beside its light curve.")
@click.option(
    "--overwrite",
    is_flag=True,
    help="Start over: discard earlier results, of the selected targets only.",
)
@click.option(
    "--changed",
    is_flag=True,
    help=(
        "Also do again what other input, settings or another version of the program would change; "
        "with --dry-run: say why."
    ),
)
@click.option(
    "--reproducible",
    is_flag=True,
    help="Light-curve files of equal bytes from equal input: without the id of the run.",
)
@click.option(
    "--inject",
    multiple=True,
    metavar="WHAT",
    help=(
        "Put signals into the pixels and see how they come out: a table of them, or drawn, as "
        "transits:depth=0.0005..0.01,period=3 or flares:amplitude=0.01. Goes to DIR/injected, away "
        "from real results; repeatable."
    ),
)
@click.option("--inject-seed", type=click.IntRange(0), default=1, help="Of what is drawn [1].")
@click.option(
    "--inject-search",
    type=click.Choice(["bls", "tls", "none"]),
    default="tls",
    help="How to search for what was injected [tls].",
)
@click.option(
    "--version",
    callback=_show_version,
    is_flag=False,
    flag_value="show",
    metavar="[N]",
    help="Version number of the light-curve files [1]; without N: show the program's version.",
)
@settings_option
@click.option(
    "--summary",
    type=click.Path(path_type=Path),
    help="Where to write the progress as JSON [OUTPUT/summary.json].",
)
@click.option(
    "--no-in-memory", is_flag=True, help="Work on the TODO-file on disk: slower, less memory."
)
@click.option(
    "--durability",
    type=click.Choice(["process", "second", "record"]),
    help=(
        "What a saved result survives: the death of this process [process], or of the machine, up "
        "to a second or up to the last record."
    ),
)
@click.option(
    "--time-limit",
    metavar="TIME",
    help="Be done in this time: 90s, 15m, 1.5h, 12:00:00, or 'auto': what the batch system says.",
)
@click.option(
    "--task-timeout",
    type=float,
    metavar="S",
    help=(
        "Seconds that one task may take [3600]. With --workers 0, compiled code is not ended by "
        "it without --isolate."
    ),
)
@click.option(
    "--grace",
    type=float,
    metavar="S",
    help="Seconds that running tasks get to end after a signal to stop [60].",
)
@click.option(
    "--max-attempts",
    type=click.IntRange(1),
    help="Set a task aside that took its worker down this often [3].",
)
@click.option(
    "--isolate",
    is_flag=True,
    default=None,
    help="Run each task in a child process: a crash costs one task, not the job.",
)
@click.option(
    "--recycle",
    type=click.IntRange(1),
    metavar="N",
    help="Replace the process that does the tasks after N tasks.",
)
@steal_lock_option
@click.option("--dry-run", is_flag=True, help="Print what would be done; change nothing.")
@click.option(
    "--pdb", is_flag=True, help="Stop in the debugger where a target fails; implies --workers 0."
)
@json_option("The summary at the end as JSON, for programs.")
@logging_options
def run(where, **options):
    """Make the light curves of the tasks in a TODO-file.

    DIR is the folder of the TODO-file and the data, or a TODO-file. Under mpiexec, rank 0 assigns
    the tasks and the other ranks work; without, local processes do. Run the same command again to
    continue: what is done is not done again.
    """
    if options["overwrite"] and options["randomly"] and options["limit"] is not None:
        raise click.UsageError(
            "--overwrite with --limit and --random: which results to discard is not known; choose "
            "tasks with filters"
        )
    if options["changed"] and options["overwrite"]:
        raise click.UsageError("--changed with --overwrite: give one of them")
    if options["changed"] and options["handler"] != "photometry":
        raise click.UsageError("--changed: only results of the handler 'photometry' say what from")
    if options["inject"] and options["handler"] != "photometry":
        raise click.UsageError("--inject with --handler: give one of them")
    from ..processes import limit_threads
    from ..scheduler.limits import on_all_ranks

    limit_threads()
    if options["pdb"] and options["workers"]:
        raise click.UsageError("--pdb: works in this process alone; expected --workers 0, or none")
    return on_all_ranks(functools.partial(_prepare, where, options))()


def _prepare(where, options):
    """The run, or what tells of it, as a function; refuses what cannot be run."""
    from ..methods import get_method
    from ..provenance import new_run_id
    from ..scheduler.protocol import check_handler

    if options["handler"] != "photometry":
        check_handler(options["handler"])
    if options["method"] is not None:
        get_method(options["method"])
    todo_file = todo_path(where)
    settings = _settings(todo_file, options)
    output = Path(options["output"] or todo_file.parent / "lightcurves")
    options |= {"input_folder": todo_file.parent, "run_id": new_run_id()}
    if options["inject"]:
        todo_file, output = injection_paths(todo_file, options)
    else:
        refuse_injection(todo_file, output)
    if options["dry_run"]:
        return functools.partial(_tell, todo_file, settings, output, options)
    from ..scheduler import run as scheduler

    summary = options["summary"] or output / "summary.json"
    plan = scheduler.Plan(
        open_source=functools.partial(open_todo, todo_file, output, summary, settings, options),
        handler=_handler(output, settings, options),
        output_folder=output,
        settings=settings.run,
        records=settings.model_dump(mode="json"),
        workers=options["workers"],
        constraints=options["constraints"],
        randomly=options["randomly"],
        limit=options["limit"],
        quiet=options["quiet"] or options["as_json"],
        command=shlex.join(sys.argv),
        pdb=options["pdb"],
        report=functools.partial(_report, summary, options),
    )
    return functools.partial(scheduler.run, plan)


def _settings(todo_file, options):
    from ..errors import SettingsError
    from ..settings import load_settings

    path = options["settings_file"]
    if path is None and (todo_file.parent / "photometry.toml").is_file():
        path = todo_file.parent / "photometry.toml"
    run = {
        name: options[option] for option, name in RUN_OPTIONS.items() if options[option] is not None
    }
    if options["no_in_memory"]:
        run["in_memory"] = False
    photometry = {}
    if options["mask"]:
        photometry["aperture"] = {"mask": options["mask"]}
    if options["version"] is not None:
        photometry["output"] = {"version": options["version"]}
    overrides = {"run": run, "photometry": photometry}
    try:
        return load_settings(path, overrides)
    except SettingsError:
        if not _register_methods(todo_file):
            raise
    return load_settings(path, overrides)


def _register_methods(todo_file):
    """Import the methods ``'module:function'`` of a TODO-file, whose sections may be in the
    settings; False without any.
    """
    from ..methods import get_method
    from ..taskmanager import open_view

    with open_view(todo_file) as view:
        names = view.query("SELECT DISTINCT method FROM todolist WHERE instr(method, ':')")
    for (name,) in names:
        get_method(name)
    return bool(names)


def _report(summary, options):
    """Print how the run went."""
    from ..report.status import print_status, read_summary, state

    if options["inject"]:
        from ..injection.recovery import write_recovered

        write_recovered(options["injection_folder"])
    if options["as_json"]:
        content = read_summary(summary)
        show_json({**content, "state": state(content)})
    elif not options["quiet"]:
        print_status(read_summary(summary))


def _handler(output, settings, options):
    from ..scheduler.protocol import Handler

    if options["handler"] != "photometry":
        return Handler(options["handler"])
    from ..methods.extraction import can_plot

    folders = {"input_folder": options["input_folder"], "output_folder": output}
    plot = options["plot"] and can_plot()
    work = {"settings": settings.photometry, "plot": plot, "method": options["method"]}
    if not options["reproducible"]:
        work["run_id"] = options["run_id"]
    if options["inject"]:
        from ..injection import TRUTH

        work |= {"truth": options["injection_folder"] / TRUTH, "search": options["inject_search"]}
        return Handler("photometry.injection.work:injected_photometry", {**folders, **work})
    return Handler("photometry", {**folders, **work})


def open_todo(todo_file, output, summary, settings, options):
    """The task manager of a run. Its summary can be found from the TODO-file's folder too. What the
    light curves will lack is said on standard error.
    """
    from ..errors import PhotometryError
    from ..report.status import link_summary
    from ..taskmanager import TaskManager

    constraints, run = options["constraints"], settings.run
    if options["overwrite"] and options["limit"] is not None:
        constraints = _first_ones(todo_file, options)
    manager = TaskManager(
        todo_file, overwrite=options["overwrite"], cleanup_constraints=constraints,
        summary=summary, summary_interval=run.summary_interval, load_into_memory=run.in_memory,
        backup_interval=run.backup_interval, durability=run.durability,
        steal_lock=options["steal_lock"], max_attempts=run.max_attempts,
    )  # fmt: skip
    try:
        check_matches(manager, options["constraints"])
        if options["changed"]:
            put_back_changed(manager, settings, options)
        record_run(manager, todo_file, output, settings, options)
    except (PhotometryError, OSError):
        manager.close()
        raise
    manager.task_timeout, manager.task_timeouts = run.task_timeout, dict(run.task_timeouts)
    link_summary(summary, [todo_file.parent, output])
    if options["handler"] == "photometry":
        from ..catalog.ccd import has_catalog
        from ..methods.extraction import PLOT_HINT, can_plot

        if options["plot"] and not can_plot():
            click.echo(f"photometry: {PLOT_HINT}; the run goes on without", err=True)
        if not has_catalog(options["input_folder"]):
            click.echo(
                f"photometry: {options['input_folder']}: no star catalogue: contamination is "
                "unknown, and masks are split only at peaks that the image shows; 'photometry "
                "catalog' makes one",
                err=True,
            )
    return manager


def _first_ones(todo_file, options):
    """Constraints for the tasks that ``--overwrite --limit N`` means."""
    from ..taskmanager import open_view

    with open_view(todo_file) as view:
        tasks = view.tasks(view.to_do(options["constraints"], overwrite=True), options["limit"])
    return {"priority": [task["priority"] for task in tasks]} if tasks else ["0"]


def _tell(todo_file, settings, output, options):
    """What a run would do."""
    from ..errors import WrongUseError
    from ..taskmanager import open_view

    with open_view(todo_file) as view:
        if options["constraints"] and not view.matches(options["constraints"]):
            raise WrongUseError(f"{todo_file}: has no target that matches the filters")
        to_do = view.to_do(
            options["constraints"],
            max_attempts=settings.run.max_attempts,
            overwrite=options["overwrite"],
        )
        changes = None
        if options["changed"]:
            changes = changes_of(view.conn, settings, options)
            to_do = f"({to_do} OR priority IN ({','.join(map(str, changes.priorities))}))"
        kinds, first = view.kinds(to_do), view.tasks(to_do, limit=5)
    if options["as_json"]:
        causes = {} if changes is None else {"changed": dict(changes.causes)}
        show_json({"targets": sum(kind[-1] for kind in kinds), "first": first, **causes})
        return EXIT_OK
    why = () if changes is None else changes.lines()
    for line in [*why, *_preview(kinds, first, options["limit"])]:
        click.echo(line)
    click.echo(f"Light curves would go to {output}. Nothing was changed.")
    return EXIT_OK


def _preview(kinds, first, limit):
    from ..taskmanager.schema import star_label

    total = sum(kind[-1] for kind in kinds)
    number = total if limit is None else min(total, limit)
    yield f"{counted(number, 'target')} would be done" + (
        "" if limit is None else f" of {total} that match"
    )
    for source, camera, ccd, cadence, method, number in kinds:
        chosen = method or "chosen by the target"
        yield f"{number:>9}  {source}  camera {camera}  CCD {ccd}  {cadence} s  method {chosen}"
    for task in first:
        label = star_label(task["starid"], task["datasource"], task["cadence"])
        tmag = "unknown" if task["tmag"] is None else f"{task['tmag']:.2f}"
        yield f"priority {task['priority']}: {label} ({task['datasource']}), magnitude {tmag}"
