"""``photometry jobscript``: a batch script for SLURM."""

import click

from ._options import default_folder, json_option, new_output_option, show_json


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
def command(words, as_json, **options):
    """Print a commented SLURM script that makes the light curves of DIR.

    The job stops in time before its end, queues itself again, and continues, until all is done.

    \b
    photometry jobscript DIR --ranks 128 --time 24:00:00 --partition long > job.sh
    photometry jobscript DIR --mpiexec 'srun --mpi=pmi2' -- --isolate --max-attempts 2 > job.sh
    sbatch job.sh
    """
    from ..report.jobscript import job_script
    from .run import command as run

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
