"""``photometry cotrend``: make the basis vectors of the stars of a run."""

import logging

import click

from ._options import folder_argument, json_option, logging_options, output_option

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
def command(folder, output, vectors, min_quiet, no_plots, as_json, quiet):
    """Make the basis vectors of a run: what its stars have in common, per sector, cadence and area.

    DIR is the folder of the TODO-file. The vectors go into OUTPUT/cotrend, as FITS files in the
    layout of the missions' own, each with the list of the quiet stars that it is made of and a
    picture. 'photometry correct DIR' then uses them. Exit code 1: some stars got no vectors.
    """
    import json
    from pathlib import Path

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
        click.echo(json.dumps({"made": made, "missing": missing}, indent=1))
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
    from ..lightcurve.cotrended import FOLDER
    from ..lightcurve.vectors import vectors_name, write_vectors

    folder = output / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / vectors_name(basis.header)
    write_vectors(path, basis, curves.starid)
    if plots:
        try:
            from ..lightcurve.plots import plot_vectors
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
