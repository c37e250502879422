"""``photometry doctor``: what would fail in hours, in seconds."""

import click

from . import EXIT_FAILED, EXIT_OK
from ._options import folder_argument, json_option, new_output_option, settings_option

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
def command(where, output, settings_file, mpi, method, plot, as_json):
    """Check everything that 'photometry run DIR' needs, in seconds, and leave nothing behind.

    Folders, TODO-file, lock, journal, methods, input files, catalogue, disks, memory, threads,
    packages, time limit, and MPI. Run it where the run is going to be: in the batch job, or on a
    node of the same kind.

    Each line is ok, warn (the run works, but not well) or fail (the run would end, or bring
    nothing), with the way out.

    Exit code 1: something fails.
    """
    from pathlib import Path

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
    from pathlib import Path

    from ..errors import WrongUseError
    from ._options import todo_path

    path = todo_path(where)
    if not path.parent.is_dir() or (path == Path(where) and not path.exists()):
        raise WrongUseError(f"{where}: there is no such folder or TODO-file")
    return path.resolve()


def _sum_up(checks, as_json):
    counts = {state: sum(check.state == state for check in checks) for state in COLOURS}
    if as_json:
        import dataclasses
        import json

        click.echo(
            json.dumps(
                {"checks": [dataclasses.asdict(check) for check in checks], **counts}, indent=1
            )
        )
    else:
        click.echo(", ".join(f"{number} {state}" for state, number in counts.items()))
