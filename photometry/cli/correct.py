"""Light curves with less of the instrument in them: the verbs cotrend, correct and stitch."""

import contextlib
import logging
from pathlib import Path

import click

from ..errors import TargetError
from ..processes import ALGEBRA_VARIABLES, Pool, limit_threads, threads_limited
from ._options import Bars, folder_argument, json_option, logging_options, output_option, show_json
from ._transits import INPUT, Finite, read_lightcurves

# --- cotrend

log = logging.getLogger(__name__)


@click.command()
@folder_argument(exists=True, file_okay=False)
@output_option
@click.option(
    "--vectors",
    type=click.Path(exists=True, dir_okay=False),
    help="Take the mission's vectors from this file; the run's stars give only their weights.",
)
@click.option(
    "--min-quiet",
    type=click.IntRange(min=20),
    default=150,
    show_default=True,
    metavar="N",
    help="Quiet stars that vectors need; areas with fewer are joined.",
)
@click.option("--no-plots", is_flag=True, help="Draw no pictures.")
@json_option()
@logging_options
def cotrend(folder, output, vectors, min_quiet, no_plots, as_json, quiet):
    """Make the basis vectors of a run: what its stars have in common, per sector, cadence and area.

    DIR is the folder of the TODO-file. The vectors go into OUTPUT/cotrend, as FITS files in the
    layout of the missions' own, each with the list of the quiet stars that it is made of and a
    picture. 'photometry correct DIR' then uses them. Exit code 1: some stars got no vectors.
    """
    limit_threads(names=ALGEBRA_VARIABLES)
    from ..errors import WrongUseError
    from ..report.status import output_folder

    output = output_folder(Path(folder) / "todo.sqlite", output)
    groups = _groups(Path(folder), output)
    if not groups:
        raise WrongUseError(f"{folder}: no light curves; make them with photometry run {folder}")
    made, missing = [], []
    for group, members in groups.items():
        for report in _vectors_of(group, members, output, vectors, min_quiet, not no_plots):
            (made if "file" in report else missing).append(report)
            _report(report, as_json)
    if as_json:
        show_json({"made": made, "missing": missing})
    return 1 if missing or not made else 0


def _report(report, as_json):
    if as_json:
        return
    where = (
        f"sector {report['sector']}, {report['camera']}-{report['ccd']}, areas {report['areas']}"
    )
    if "file" in report:
        click.echo(
            f"{report['file']}: {report['vectors']} vectors ({report['additive']} of scattered "
            f"light) from {report['quiet']} quiet stars of {report['stars']}"
        )
    else:
        click.echo(f"photometry: {where}: {report['why']}", err=True)


def _groups(folder, output):
    """{(sector, camera, ccd, cadence): {area: [path]}} of the light curves that a run made."""
    import numpy as np

    from ..taskmanager import read_results

    groups = {}
    for row in read_results(folder / "todo.sqlite"):
        if not row["lightcurve"] or row["status"] not in (1, 3):  # OK, WARNING
            continue
        group = tuple(int(row[name]) for name in ("sector", "camera", "ccd", "cadence"))
        area = 0 if np.isnan(row["cbv_area"]) else int(row["cbv_area"])  # 0: not known
        groups.setdefault(group, {}).setdefault(area, []).append(output / str(row["lightcurve"]))
    return groups


def _vectors_of(group, areas, output, vectors, min_quiet, plots):
    """Make the vectors of a CCD; yield a report on each file, or on areas that get none.

    Neighbouring areas are joined until enough of their stars are quiet.
    """
    from ..errors import BadInputError

    made, pending, failure = [], [], None
    for area in [*sorted(areas), None]:
        if area is None and pending and made:  # the last areas go with those before them
            joined = made.pop()
            pending = joined[0]["areas"] + pending
        elif area is None:
            joined = None
        if area is not None:
            pending.append(area)
        if not pending:
            continue
        curves, report = _curves(group, areas, pending)
        try:
            made.append((report, _basis(curves, report, vectors, min_quiet), curves))
        except BadInputError as error:
            failure = report | {"why": str(error)}
            if area is None and joined:  # they spoil it: the others go without them
                made.append(joined)
                failure["areas"] = [a for a in pending if a not in joined[0]["areas"]]
            continue
        pending, failure = [], None
    for report, basis, curves in made:
        yield report | _written(basis, curves, output, plots)
    if failure:
        yield failure


def _curves(group, areas, joined):
    """The light curves of some areas of a CCD, and what to report of them."""
    from ..lightcurve.vectors import LightCurves

    curves = LightCurves([path for area in joined for path in areas[area]])
    for reason in curves.failed.values():
        log.warning("%s", reason)
    report = dict(zip(("sector", "camera", "ccd", "cadence"), group, strict=True))
    return curves, report | {"areas": list(joined), "stars": len(curves)}


def _basis(curves, report, vectors, min_quiet):
    """Vectors of the curves' own, or the mission's with the curves' weights."""
    import numpy as np

    from ..errors import BadInputError
    from ..lightcurve.basis import basis_vectors, with_stars
    from ..lightcurve.vectors import read_vectors

    if not len(curves):
        raise BadInputError("none of the light curves can be used")
    stars = {name: getattr(curves, name) for name in ("column", "row", "tmag", "starid", "level")}
    header = {key: report[key] for key in ("sector", "camera", "ccd", "cadence", "areas")}
    header["mission"] = curves.mission
    if vectors is None:
        return basis_vectors(
            curves.flux,
            **stars,
            time=curves.time,
            background=curves.background,
            cadenceno=curves.cadenceno,
            min_quiet=min_quiet,
            header=header,
        )
    basis, _ = read_vectors(vectors, (report["camera"], report["ccd"]))
    common, theirs, ours = np.intersect1d(basis.cadenceno, curves.cadenceno, return_indices=True)
    if len(common) < 0.5 * len(curves.cadenceno):
        raise BadInputError(
            f"{vectors}: has {len(common)} of the {len(curves.cadenceno)} cadences of the light "
            f"curves"
        )
    flux = np.full((len(curves), len(basis.time)), np.nan)
    flux[:, theirs] = curves.flux[:, ours]
    basis.header.update(header)
    return with_stars(basis, flux, **stars, min_quiet=min_quiet)


def _written(basis, curves, output, plots):
    """Write the file and its picture; what to report of it."""
    from ..lightcurve.correct import FOLDER
    from ..lightcurve.vectors import vectors_name, write_vectors

    folder = output / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / vectors_name(basis.header)
    write_vectors(path, basis, curves.starid)
    if plots:
        try:
            from ..lightcurve.views import plot_vectors
        except ImportError:
            log.warning("no pictures: they need matplotlib: pip install 'photometry[plots]'")
        else:
            plot_vectors(path.with_suffix(".png"), basis)
    return {
        "file": str(path),
        "vectors": len(basis.vectors),
        "additive": int(basis.additive.sum()),
        "quiet": len(basis.starid),
    }


# --- correct


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@folder_argument(exists=True)
@click.option(
    "--window",
    type=click.FloatRange(min=0, min_open=True),
    default=1.5,
    show_default=True,
    metavar="DAYS",
    help="Window of the trend: at least 3 times the longest transit to keep.",
)
@click.option(
    "--method",
    type=click.Choice(["cotrend", "roll", "biweight"]),
    help="How [cotrend where there are basis vectors, else roll for K2, biweight for others].",
)
@click.option(
    "--vectors",
    type=click.Path(exists=True, dir_okay=False),
    help="File of basis vectors [OUTPUT/cotrend, made by photometry cotrend].",
)
@click.option(
    "--pixels",
    type=click.Path(exists=True, file_okay=False),
    help="Folder of K2's target pixel files, for roll [DIR].",
)
@click.option("--overwrite", is_flag=True, help="Also light curves that are corrected already.")
@click.option("--dry-run", is_flag=True, help="Compute, but write nothing.")
@click.option(
    "--jobs",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Processes that share the work.",
)
@json_option("One JSON object per light curve, for programs.")
def correct(folder, window, method, vectors, pixels, overwrite, dry_run, jobs, as_json):
    """Correct all light curves in DIR and below it (or one light curve).

    With basis vectors (photometry cotrend), what a star has in common with others is taken out, and
    its own variation stays. Without, of stars of K2 what the roll of the spacecraft does to them is
    taken out, from the position of the star and from its target pixel file where that is found. Of
    other stars the slow trend is divided out, a sliding biweight that keeps transits and nothing
    else. The result is in the columns FLUX_CORR and FLUX_CORR_ERR (ppm) of the same file, how it
    was made in its header. Files that are corrected already are left alone, so that an interrupted
    run is continued by calling it again. Exit code 1: some light curves could not be corrected.
    """
    limit_threads(names=ALGEBRA_VARIABLES)
    paths = _paths(folder)
    # a file that is named says itself what it is, or that it is damaged
    is_folder = Path(folder).is_dir()
    if method == "roll" and is_folder and not any(p.name.startswith("ktwo") for p in paths):
        raise click.UsageError(
            f"{folder}: none of the {len(paths)} light curves has a name of K2 (ktwo...), whose "
            "spacecraft rolls; take --method cotrend or biweight"
        )
    options = {
        "window": window,
        "overwrite": overwrite,
        "dry_run": dry_run,
        "method": method,
        "vectors": vectors,
        "pixel_folder": pixels or (folder if is_folder else Path(folder).parent),
    }
    counts = {"corrected": 0, "already": 0, "failed": 0}
    with Bars(quiet=as_json) as bars:
        for result in bars.track(_results(paths, options, jobs), "correcting", len(paths)):
            counts[
                "failed" if "error" in result else "corrected" if result["corrected"] else "already"
            ] += 1
            if as_json:
                show_json(result, indent=None)
            elif "error" in result:
                click.echo(f"photometry: {result['error']}", err=True)
    if not as_json:
        wrote = "would be corrected" if dry_run else "corrected"
        click.echo(
            f"{counts['corrected']} light curves {wrote}, {counts['already']} were corrected "
            f"before, {counts['failed']} failed"
        )
    return 1 if counts["failed"] else 0


def _paths(folder):
    from ..lightcurve.correct import lightcurve_files

    paths = [Path(folder)] if Path(folder).is_file() else lightcurve_files(folder)
    if not paths:
        raise click.UsageError(
            f"{folder}: no light curves (*_lc.fits, *_lc.fits.gz) in this folder or below it"
        )
    return paths


def _results(paths, options, jobs):
    """One dict per light curve, as they get ready"""
    # the processes share the cores already; numba's threads, which remove trends, do not survive a
    # fork
    limited = threads_limited() if jobs > 1 else contextlib.nullcontext()
    with limited, Pool(jobs, _correct, options, start="spawn") as pool:
        yield from pool.as_done(paths)


def _correct(options, path):
    from ..lightcurve.correct import correct_file

    options = dict(options)
    try:
        pixel_folder = options.pop("pixel_folder")
        if options["method"] in (None, "roll") and Path(path).name.startswith("ktwo"):
            options["pixels"] = _pixels_of(path, pixel_folder)
        return correct_file(path, **options)
    except TargetError as error:
        return {"path": str(path), "corrected": False, "error": str(error)}


def _pixels_of(path, folder):
    """The target pixel file of a light curve of K2, in a folder or below it; None without."""
    from ..fitsfile import open_fits
    from ..pixels.find import find_target_pixel_file

    with open_fits(path) as hdulist:
        header = hdulist[0].header
    task = {
        "starid": header.get("KEPLERID"),
        "datasource": header.get("DATASRC") or "",
        "sector": header.get("CAMPAIGN"),
        "cadence": 60 if "-c0060-" in Path(path).name else 1800,
    }
    if not task["datasource"].startswith("tpf"):
        return None
    try:
        return find_target_pixel_file(folder, task)
    except TargetError as error:
        log.debug("%s: %s", path, error)
        return None


# --- stitch


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("files", type=INPUT, nargs=-1, required=True, metavar="FILE...")
@click.option(
    "--output",
    "-o",
    type=click.Path(dir_okay=False),
    required=True,
    metavar="FITS",
    help="The file to write.",
)
@click.option("--flux", metavar="COLUMN", help="Column; by default the corrected flux.")
@click.option(
    "--detrend",
    type=Finite(min=0),
    default=0.0,
    show_default=True,
    metavar="DAYS",
    help="Remove the trend of each part with this window; 0: keep it.",
)
@json_option()
def stitch(files, output, flux, detrend, as_json):
    """Join FILEs, parts (sectors, quarters, campaigns) of one star, into one light curve.

    Each part is divided by its level, after the light of other stars (CROWDSAP) was taken from it,
    unless its flux has that correction already. Exit code 1: some parts could not be joined.
    """
    from ..lightcurve import detrend as joining

    def report(error, path):
        message = str(error) if str(path) in str(error) else f"{path}: {error}"
        click.echo(f"photometry: {message}", err=True)

    lightcurves, failed = read_lightcurves(files, flux, report)
    if not lightcurves:
        return 1
    try:
        with Bars(quiet=as_json) as bars:
            lc = joining.stitch(lightcurves, window=detrend or None, progress=bars.stage("joining"))
    except TargetError as error:
        click.echo(f"photometry: {error}", err=True)
        return 1
    joining.write_stitched(lc, output)
    parts = lc.metadata["parts"]
    if as_json:
        show_json({"path": output, "samples": len(lc), "parts": [vars(part) for part in parts]})
        return 1 if failed else 0
    click.echo(f"{output}: {len(parts)} parts, {len(lc)} samples, {lc.duration():.1f} d")
    for part in parts:
        crowding = "unknown" if part.crowding != part.crowding else f"{part.crowding:.4f}"
        click.echo(
            f"  {part.name}: {part.samples} good samples, level {part.level:.6g}, "
            f"crowding {crowding}, scatter {1e6 * part.noise:.0f} ppm"
        )
    if len(parts) == 1:
        click.echo("  one part only: nothing was joined")
    return 1 if failed else 0
