"""Before a run, and help: the verbs plan, doctor, jobscript, demo and completion."""

import dataclasses
import math
from pathlib import Path

import click

from . import EXIT_FAILED, EXIT_OK
from ._options import (
    default_folder,
    filters,
    folder_argument,
    json_option,
    new_output_option,
    settings_option,
    show_json,
    todo_path,
)

# --- plan


@click.command()
@folder_argument()
@filters
@settings_option
@click.option(
    "--no-measure", is_flag=True, help="Measure no targets: no costs without earlier results."
)
@json_option()
def plan(folder, constraints, settings_file, no_measure, as_json):
    """Say what 'photometry run DIR' would do, what it would leave out and why, and what it would
    cost.

    Costs come from earlier results of the same kind, else from a dozen targets of each kind that
    are measured now, into a folder that is removed again: core-hours as a range, and disk.
    """
    from ..report import plan as planning
    from ..report.machine import size
    from ..settings import load_settings
    from ..taskmanager import open_view

    path = todo_path(folder)
    default = path.parent / "photometry.toml"
    settings = load_settings(settings_file or (default if default.is_file() else None))
    with open_view(path) as view:
        planned = planning.plan(
            view, view.path.parent, settings, constraints, measure=not no_measure
        )
    low, high = planned.core_hours
    if as_json:
        content = {
            "targets": planned.targets, "left_out": planned.left_out,
            "core_hours": None if math.isnan(low) else [low, high],
            "bytes": planned.bytes,
            "kinds": [kind.__dict__ for kind in planned.kinds],
        }  # fmt: skip
        show_json(content)
        return
    for kind in planned.kinds:
        cost = (
            "unknown"
            if math.isnan(kind.seconds)
            else f"{kind.seconds:.3g} ± {kind.error:.2g} s each"
        )
        method = kind.method or "the program's choice"
        click.echo(
            f"{kind.targets:>9,} {kind.datasource}, {kind.cadence} s, {method}: {cost} "
            f"({kind.source})"
        )
        for problem in kind.problems[:3]:
            click.echo(f"{'':10}one of them failed: {problem.splitlines()[0]}")
    for why, number in planned.left_out.items():
        click.echo(f"{number:>9,} left out: {why}")
    if not planned.targets:
        click.echo("nothing to do")
        return
    cost = "unknown" if math.isnan(low) else f"{_hours(low)} to {_hours(high)} of one core"
    click.echo(f"{'':10}time: {cost}")
    disk = "unknown" if math.isnan(planned.bytes) else f"about {size(planned.bytes)}"
    click.echo(f"{'':10}disk: {disk}")


def _hours(hours):
    if hours < 1 / 60:
        return f"{3600 * hours:.2g} s"
    return f"{60 * hours:.2g} min" if hours < 2 else f"{hours:.3g} h"


# --- doctor

COLOURS = {"ok": "green", "warn": "yellow", "fail": "red"}


@click.command()
@folder_argument("where")
@new_output_option
@settings_option
@click.option(
    "--mpi/--no-mpi",
    default=True,
    help="Start two ranks, or leave MPI alone, as login nodes want it [--mpi].",
)
@click.option("--method", help="As the run will be given it.")
@click.option("--plot", is_flag=True, help="The run will be given it.")
@json_option()
def doctor(where, output, settings_file, mpi, method, plot, as_json):
    """Check everything that 'photometry run DIR' needs, in seconds, and leave nothing behind.

    Folders, TODO-file, lock, journal, methods, input files, catalogue, disks, memory, threads,
    packages, time limit, and MPI. Run it where the run is going to be: in the batch job, or on a
    node of the same kind.

    Each line is ok, warn (the run works, but not well) or fail (the run would end, or bring
    nothing), with the way out.

    Exit code 1: something fails.
    """
    from ..scheduler.limits import is_master

    if not is_master():  # under mpiexec one rank looks
        return EXIT_OK
    todo_file = _todo_file(where)

    from ..report.doctor import FAIL, MPI_TIMEOUT, diagnose

    output = Path(output) if output else todo_file.parent / "lightcurves"
    checks = []
    options = {
        "settings_file": settings_file and Path(settings_file),
        "mpi_timeout": MPI_TIMEOUT if mpi else None,
        "method": method,
        "plot": plot,
    }
    for check in diagnose(todo_file, output, **options):
        checks.append(check)
        if not as_json:
            click.echo(
                f"{click.style(f'{check.state:<4}', fg=COLOURS[check.state])}  {check.name:<11}  "
                f"{check.message}"
            )
    _sum_up(checks, as_json)
    return EXIT_FAILED if any(check.state == FAIL for check in checks) else EXIT_OK


def _todo_file(where):
    """The TODO-file, which may be missing; its folder may not."""
    from ..errors import WrongUseError
    from ._options import todo_path

    path = todo_path(where)
    if not path.parent.is_dir() or (path == Path(where) and not path.exists()):
        raise WrongUseError(f"{where}: there is no such folder or TODO-file")
    return path.resolve()


def _sum_up(checks, as_json):
    counts = {state: sum(check.state == state for check in checks) for state in COLOURS}
    if as_json:
        show_json({"checks": [dataclasses.asdict(check) for check in checks], **counts})
    else:
        click.echo(", ".join(f"{number} {state}" for state, number in counts.items()))


# --- jobscript


@click.command()
@click.argument("words", metavar="[DIR] [-- OPTIONS OF RUN]", nargs=-1)
@new_output_option
@click.option(
    "--ranks",
    type=click.IntRange(2),
    default=64,
    show_default=True,
    help="MPI ranks, one core each.",
)
@click.option(
    "--time",
    default="12:00:00",
    show_default=True,
    metavar="TIME",
    help="How long the job may take: 12:00:00, 90m, 2d.",
)
@click.option("--account", help="Whom it is charged to.")
@click.option("--partition", help="Queue.")
@click.option("--qos", help="Quality of service.")
@click.option("--nodes", type=click.IntRange(1), help="Nodes [as SLURM likes].")
@click.option("--memory", default="2G", show_default=True, help="Per rank.")
@click.option(
    "--mpiexec",
    "launcher",
    default="srun",
    show_default=True,
    metavar="srun|mpiexec",
    help="What starts the ranks; options of it may follow, as in 'srun --mpi=pmi2'.",
)
@click.option(
    "--module",
    "modules",
    multiple=True,
    metavar="NAME",
    help="'module load' this first; repeatable.",
)
@click.option(
    "--sbatch",
    "directives",
    multiple=True,
    metavar="OPTION",
    help="Another option of sbatch; repeatable.",
)
@click.option("--name", default="photometry", show_default=True, help="Of the job and its log.")
@click.option(
    "--signal",
    "warning",
    type=click.IntRange(61),
    default=300,
    show_default=True,
    metavar="S",
    help="Seconds before the end at which the ranks are asked to stop.",
)
@click.option(
    "--max-restarts",
    type=click.IntRange(0),
    default=20,
    show_default=True,
    help="How often it queues itself again.",
)
@json_option()
def jobscript(words, as_json, **options):
    """Print a commented SLURM script that makes the light curves of DIR.

    The job stops in time before its end, queues itself again, and continues, until all is done.

    \b
    photometry jobscript DIR --ranks 128 --time 24:00:00 --partition long > job.sh
    photometry jobscript DIR --mpiexec 'srun --mpi=pmi2' -- --isolate --max-attempts 2 > job.sh
    sbatch job.sh
    """
    from ..report.jobscript import job_script
    from .run import run

    given = bool(words) and not words[0].startswith("-")
    where, run_options = (words[0], words[1:]) if given else (default_folder(), words)
    try:
        run.make_context(
            "run", [where, *run_options], parent=click.get_current_context().find_root()
        )
    except click.exceptions.Exit:
        raise click.UsageError(f"{' '.join(run_options)}: expected options of a run") from None
    script = job_script(where, run_options=run_options, **options)
    if as_json:
        show_json({"script": script})
    else:
        click.echo(script, nl=False)


# --- demo


@click.command()
@click.argument(
    "folder", metavar="[FOLDER]", required=False, default="demo", type=click.Path(file_okay=False)
)
def demo(folder):
    """Show the program at work: simulate stars, measure them with MPI, look at the result.

    Every command is shown before it is run, so that it can be typed by hand afterwards. FOLDER
    [demo] is emptied first, if it is the demo's own.
    """
    from ..demo.show import show

    show(Path(folder))


# --- completion


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell):
    """Print what makes SHELL complete verbs and options; put it into the shell's start-up file.

    \b
    bash:  photometry completion bash >> ~/.bashrc
    zsh:   photometry completion zsh  >> ~/.zshrc
    fish:  photometry completion fish > ~/.config/fish/completions/photometry.fish
    """
    from click.shell_completion import get_completion_class

    from . import cli

    click.echo(get_completion_class(shell)(cli, {}, "photometry", "_PHOTOMETRY_COMPLETE").source())
