"""``photometry transients``: images in time order to sources, light curves and candidates."""

import json
import logging
from pathlib import Path

import click

from ._options import json_option, logging_options, set_up_logging, show_json

EXPORT_FORMATS = ("parquet", "ecsv", "votable")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def transients():
    """Find what changes in a series of images.

    A project is a folder with pipeline.cfg; a job is a folder in it with job_params.cfg and
    images_to_process.txt. All results are in one database, by default transients.sqlite in the
    job's folder.
    """


@transients.command()
@click.argument("job")
@click.option(
    "--images",
    multiple=True,
    metavar="PATH|PATTERN",
    help="Images of the job, as often as needed; @FILE: a list of paths.",
)
@click.option(
    "--optical", is_flag=True, help="Settings for optical frames, which need no coordinates."
)
@json_option()
def init(job, images, optical, as_json):
    """Make JOB in the current project, and the project's pipeline.cfg where there is none."""
    from ..errors import ArgumentError
    from ..files import atomic_write
    from ..transients import configuration as conf
    from ..transients import settings

    name = Path(job)
    if name.name != job or not job.replace("-", "_").isidentifier():
        raise ArgumentError(
            f"{job!r}: expected a name of letters, digits, - and _, not beginning with a digit"
        )
    name.mkdir(exist_ok=True)
    files = {
        Path(conf.PIPELINE_FILE): conf.template(settings.ProjectSettings()),
        name / conf.JOB_FILE: conf.template(
            settings.JobSettings(**(settings.OPTICAL if optical else {}))
        ),
    }
    lines = "".join(f"{_absolute(image)}\n" for image in images)
    text = (
        "# One path or pattern a line; @FILE: the paths in FILE. Relative ones begin at this "
        "folder.\n"
    )
    if images or not (name / conf.IMAGES_FILE).exists():
        files[name / conf.IMAGES_FILE] = text + lines
    written = []
    for path, content in files.items():
        if path.name == conf.IMAGES_FILE or not path.exists():
            with atomic_write(path) as part:
                part.write_text(content, encoding="utf-8")
            written.append(path)
    kept = [path for path in files if path not in written]
    if as_json:
        show_json({"wrote": written, "kept": kept})
        return
    for what, paths in (("wrote", written), ("kept", kept)):
        for path in paths:
            click.echo(f"{what} {path}")


def _absolute(image):
    mark, path = ("@", image[1:]) if image.startswith("@") else ("", image)
    return f"{mark}{Path(path).expanduser().absolute()}"


@transients.command()
@click.argument("job")
@click.option(
    "-m",
    "--monitor",
    metavar="JSON",
    help="Positions to measure in every image: [[ra, decl], ...] in degrees.",
)
@click.option(
    "-l",
    "--monitor-list",
    type=click.Path(dir_okay=False),
    metavar="FILE",
    help="The same from a JSON file.",
)
@click.option(
    "--strict", is_flag=True, help="Stop at the first image or timestep that cannot be done."
)
@json_option()
@logging_options
def run(job, monitor, monitor_list, strict, as_json, quiet):
    """Do all timesteps of JOB that are not done yet; under mpiexec, the image work goes to the
    other ranks.

    Exit code 1: images were skipped or timesteps failed.
    """
    from ..processes import limit_threads

    limit_threads()
    positions = _positions(monitor, monitor_list)
    summary = _with_executor(lambda executor: _run(job, positions, strict, executor))
    if summary is None:
        return 0
    if as_json:
        show_json({**vars(summary), "failed": summary.failed}, indent=None)
    elif not quiet:
        _show(summary)
    if summary.stopped:
        return 3
    return 1 if summary.skipped or summary.failures else 0


def _run(job, positions, strict, executor):
    from ..transients.main import run

    return run(job, positions, strict=strict, executor=executor)


def _with_executor(work):
    """Call ``work`` with an executor of the other ranks, on rank 0 of an MPI job; with None where
    there is only one."""
    from ..scheduler.limits import launched_ranks

    if (launched_ranks() or (0, 1))[1] < 2:
        return work(None)
    from mpi4py import MPI
    from mpi4py.futures import MPICommExecutor

    with MPICommExecutor(MPI.COMM_WORLD, root=0) as executor:
        return None if executor is None else work(executor)


def _show(summary):
    click.echo(
        f"dataset {summary.dataset}: {summary.done} of {summary.n_timesteps} timesteps done, "
        f"{summary.failed} failed; this "
        f"run: {summary.n_images} images, {summary.n_rejected} rejected, {len(summary.skipped)} "
        f"skipped, "
        f"{summary.n_new_sources} new sources"
    )
    for url, reason in summary.skipped.items():
        click.echo(f"skipped: {reason if url in reason else f'{url}: {reason}'}", err=True)
    for time, reason in summary.failures.items():
        click.echo(f"failed: {time}: {reason}", err=True)


def _positions(text, path):
    from ..errors import ArgumentError

    if text and path:
        raise click.UsageError("--monitor and --monitor-list exclude one another")
    if not (text or path):
        return None
    try:
        positions = json.loads(text or Path(path).read_text(encoding="utf-8"))
        return [(float(ra), float(decl)) for ra, decl in positions]
    except (ValueError, TypeError) as error:
        raise ArgumentError(
            f"monitoring positions: {error}; expected [[ra, decl], ...] in degrees"
        ) from None


def _open(job):
    """The database of a job, to look at."""
    from ..transients import configuration as conf
    from ..transients.database import Database

    path = Path(job)
    url = path if path.is_file() or "://" in job else conf.url_of_database(conf.read_pipeline(job))
    return Database(url if isinstance(url, Path) else str(url), read_only=True)


def dataset_option(function):
    return click.option(
        "--dataset", type=int, help="Number of the dataset; the last one by default."
    )(function)


@transients.command()
@click.argument("job")
@dataset_option
@json_option()
def status(job, dataset, as_json):
    """Show how far JOB is: its datasets, images, sources, and what was skipped or failed. Changes
    nothing."""
    from ..transients.export import overview

    with _open(job) as database:
        found = overview(database, dataset)
    if as_json:
        show_json(found, indent=None)
        return
    for entry in found:
        state = "finished" if entry["finished"] else "not finished"
        click.echo(f"dataset {entry['dataset']} ({entry['description']}), {state}")
        for name in (
            "timesteps_done",
            "timesteps_failed",
            "images",
            "rejected",
            "skipped",
            "measurements",
            "sources",
            "new_sources",
        ):
            value = entry[name]
            click.echo(
                f"  {name.replace('_', ' '):<17} {len(value) if isinstance(value, dict) else value}"
            )
        for name in ("skipped", "failures", "rejections"):
            for url, reason in entry[name].items():
                click.echo(f"  {name.rstrip('s')}: {url}: {reason}")


@transients.command()
@click.argument("job")
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@dataset_option
@click.option(
    "--format", "kind", type=click.Choice(EXPORT_FORMATS), default="parquet", show_default=True
)
@click.option(
    "--lightcurves",
    is_flag=True,
    help="Also one text file per source, as `photometry search` reads them.",
)
@json_option()
def export(job, folder, dataset, kind, lightcurves, as_json):
    """Write catalogue, light curves and candidates of JOB as tables into FOLDER."""
    from ..transients.export import export_dataset, write_lightcurves

    with _open(job) as database:
        files = list(export_dataset(database, folder, dataset_id=dataset, kind=kind))
        n = 0
        if lightcurves:
            n = write_lightcurves(database, folder / "lightcurves", dataset_id=dataset)
    if as_json:
        show_json({"files": files, "light_curves": n})
        return
    for path in files:
        click.echo(path)
    if lightcurves:
        click.echo(f"{n} light curves in {folder / 'lightcurves'}")


@transients.command()
@click.argument("job")
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@dataset_option
@json_option()
def ensemble(job, folder, dataset, as_json):
    """Measure the stars of optical JOB against one another: light curves, about 1, into FOLDER."""
    from ..transients.ensemble import star_lightcurves

    with _open(job) as database:
        n = len(star_lightcurves(database, folder, dataset_id=dataset))
    if as_json:
        show_json({"folder": folder, "light_curves": n})
    else:
        click.echo(f"{n} light curves in {folder}")


@transients.command()
@click.argument("job")
@click.argument("page", type=click.Path(dir_okay=False, path_type=Path))
@dataset_option
@click.option("--limit", default=50, show_default=True, help="At most so many candidates.")
@json_option()
def candidates(job, page, dataset, limit, as_json):
    """Write one HTML page of the candidates of JOB: cut-outs, light curves, V against eta, sky."""
    from ..transients.candidates import write_candidates

    with _open(job) as database:
        n = write_candidates(database, page, dataset_id=dataset, limit=limit)
    if as_json:
        show_json({"page": page, "candidates": n})
    else:
        click.echo(f"{page}: {n} candidates")


@transients.command()
@click.argument("job")
@click.argument("dataset", type=int)
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option()
def delete(job, dataset, yes, as_json):
    """Delete a DATASET of JOB with all its images, sources and light curves."""
    from ..transients import configuration as conf
    from ..transients.database import Database, delete_dataset

    if not yes:
        click.confirm(f"Delete dataset {dataset} of {job}?", abort=True)
    url = conf.url_of_database(conf.read_pipeline(job))
    with Database(url, must_exist=True) as database:
        delete_dataset(dataset, database=database)
    if as_json:
        show_json({"deleted": dataset})
    else:
        click.echo(f"deleted dataset {dataset}")


@transients.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False))
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen at.")
@click.option("--ports", default="6666,6667,6668,6669,6670,6671", show_default=True)
@click.option("--pause", default=0.0, show_default=True, help="Seconds between timesteps.")
@click.option(
    "--pixel-order", type=click.Choice(["rows", "columns"]), default="rows", show_default=True
)
@click.option(
    "--wait", default=60.0, show_default=True, help="Seconds to wait for a client to connect."
)
def emulate(files, host, ports, pause, pixel_order, wait):
    """Send FILES as a stream, each band on a port of its own, to the client that connects."""
    from ..transients.main import get_metadata_for_sorting
    from ..transients.runner import Runner
    from ..transients.stream import addresses, emulate
    from ..transients.tasks import open_as_fits

    set_up_logging(logging.INFO)
    numbers = [port for _, port in addresses("," * ports.count(","), ports)]
    groups = get_metadata_for_sorting(Runner("serial"), list(files))
    images = [[_as_sent(open_as_fits(path)) for path in paths] for _, paths in groups]
    emulate(images, numbers, host=host, pixel_order=pixel_order, pause=pause, connect_timeout=wait)


def _as_sent(found):
    from astropy.io import fits

    pixels, text = found
    return fits.Header.fromstring(text, sep="\n"), pixels
