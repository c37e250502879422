"""What came of a run, for people and programs: the verbs plot, report, export and compare."""

from pathlib import Path

import click

from ..notebook import counted
from ._options import (
    default_folder,
    folder_argument,
    json_option,
    output_option,
    show_json,
    todo_path,
)

# --- plot


@click.command()
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=click.Path())
@click.option(
    "--output",
    type=click.Path(),
    help="Picture (.png, .pdf, .svg), or a folder for pictures [beside the light curves].",
)
@click.option("--fold", type=float, metavar="DAYS", help="Fold with this period.")
@click.option("--t0", type=float, metavar="DAYS", help="Time to put in the middle of the fold.")
@json_option()
@click.option("--sheet", is_flag=True, help="All on one page, which --output names.")
@click.option(
    "--format", "ending", type=click.Choice(["png", "pdf", "svg"]), default="png", show_default=True
)
def plot(files, output, fold, t0, as_json, sheet, ending):
    """Draw light curves: stamp and mask, flux, background and centroid, or folded, or many on a
    sheet.

    FILE is a light-curve file of photometry, or a folder of them. Nothing else is read: pictures
    can be made where the pixels are not. Exit code 1: some files could not be drawn.
    """
    from ..errors import BadInputError
    from ..lightcurve.correct import lightcurve_files
    from ..report.plots import plot_file, plot_sheet, read_curve

    paths = []
    for name in map(Path, files):
        paths += lightcurve_files(name) if name.is_dir() else [name]
    if not paths:
        raise click.UsageError(f"{files[0]}: no light curves (*_lc.fits, *_lc.fits.gz) in it")
    if sheet and not output:
        raise click.UsageError("--sheet: say with --output which picture to write")
    curves, pictures, problems = [], [], []
    for path in paths:
        try:
            curves.append(read_curve(path))
            if not sheet:
                picture = _picture(path, output, ending, several=len(paths) > 1)
                plot_file(picture, curves.pop(), fold=fold, t0=t0)
                pictures.append(str(picture))
                if not as_json:
                    click.echo(picture)
        except (BadInputError, FileNotFoundError) as error:
            reason = error if isinstance(error, BadInputError) else f"{path}: there is no such file"
            problems.append(str(reason))
            click.echo(f"photometry: {reason}", err=True)
    if sheet and curves:
        plot_sheet(Path(output), curves)
        pictures.append(output)
        if not as_json:
            click.echo(output)
    if as_json:
        show_json({"pictures": pictures, "problems": problems})
    return 1 if problems else 0


def _picture(path, output, ending, several):
    from ..report.plots import ENDINGS

    name = path.name.removesuffix(".gz").removesuffix(".fits") + f".{ending}"
    if output is None:
        return path.with_name(name)
    if not several and Path(output).suffix in ENDINGS:
        return Path(output)
    try:
        Path(output).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise click.UsageError(
            f"{output}: cannot be made ({error.strerror}); expected a folder, or a file that ends "
            f"with one of {', '.join(ENDINGS)}"
        ) from None
    return Path(output) / name


# --- report


@click.command()
@folder_argument()
@output_option
@click.option("--page", type=click.Path(dir_okay=False), help="File to write [OUTPUT/report.html].")
@json_option()
@click.option("--open", "show", is_flag=True, help="Open it in the browser.")
def report(folder, output, page, as_json, show):
    """Write a page on a run: one HTML file that opens offline, on a screen or a phone.

    Summary, workers against time, failures and warnings by cause, where and how bright they are,
    noise against magnitude, methods, slowest targets, and all that is known of each star that is
    named. Also of a run that is under way or was killed; reads only.
    """
    from ..report.run import run_page
    from ..report.status import as_typed, output_folder
    from ..taskmanager import open_view

    with open_view(todo_path(folder)) as view:
        output = output_folder(view.path, output)
        page = Path(page) if page else output / "report.html"
        page.parent.mkdir(parents=True, exist_ok=True)
        run_page(view, output).write(page)
    if as_json:
        show_json({"page": page})
    else:
        click.echo(as_typed(page))
    if show:
        click.launch(str(page))


# --- export


@click.command()
@click.argument("words", metavar="[DIR] TABLE", nargs=-1, required=True)
@click.option("--light-curves", is_flag=True, help="The light curves, not the results.")
@output_option
@json_option()
@click.option(
    "--rows-per-file",
    type=click.IntRange(min=1),
    metavar="N",
    help="Several files, of so many rows each.",
)
def export(words, light_curves, output, as_json, rows_per_file):
    """Export the results of a run as one table, with units, for other programs.

    TABLE is the file to write; its ending is the format: .parquet, .ecsv or .csv. Exit code 1: some
    light curves could not be read.
    """
    from ..report.results import lightcurve_table, results_table, write_table

    if output is not None and not light_curves:
        raise click.UsageError("--output: where light curves are; expected with --light-curves")
    if len(words) > 2:
        raise click.UsageError(f"{' '.join(words)!r}: expected one TABLE, and at most one DIR")
    *folders, table = words
    path = todo_path(folders[0] if folders else default_folder())
    failed = {}
    if light_curves:
        from ..report.status import output_folder
        from ..taskmanager import open_view

        with open_view(path) as view:
            output = output_folder(view.path, output)
            rows = view.query(
                "SELECT lightcurve FROM diagnostics WHERE lightcurve IS NOT NULL ORDER BY priority"
            )
        content, failed = lightcurve_table([output / row[0] for row in rows])
    else:
        content = results_table(path)
    files = [str(file) for file in write_table(content, table, rows_per_file=rows_per_file)]
    if as_json:
        show_json({"files": files, "failed": list(failed.values())})
    else:
        click.echo("\n".join(files))
    for reason in failed.values():
        click.echo(f"photometry: {reason}", err=True)
    return 1 if failed else 0


# --- compare


@click.command()
@click.argument("before", metavar="A", type=click.Path())
@click.argument("after", metavar="B", type=click.Path())
@click.option(
    "--flux-tolerance",
    type=click.FloatRange(min=0),
    default=1e-6,
    show_default=True,
    help="Largest relative difference of a target's flux.",
)
@click.option(
    "--noise-tolerance",
    type=click.FloatRange(min=0),
    default=0.01,
    show_default=True,
    help="Largest relative difference of the median noise of a magnitude.",
)
@json_option()
def compare(before, after, flux_tolerance, noise_tolerance, as_json):
    """Compare two runs: targets gained and lost, status, flux and noise by magnitude, run time.

    A and B are TODO-files or their folders; only read. Exit code 0: alike within the tolerances,
    1: they differ.
    """
    from ..report import results

    comparison = results.compare(todo_path(before), todo_path(after))
    alike = comparison.within(flux_tolerance, noise_tolerance)
    if as_json:
        changes = {f"{a} -> {b}": keys for (a, b), keys in comparison.changes.items()}
        show_json({**comparison.__dict__, "changes": changes, "alike": alike})
        return 0 if alike else 1
    for name, keys in (("gained", comparison.gained), ("lost", comparison.lost)):
        click.echo(f"{name:<9}{counted(len(keys), 'target')}{_examples(keys)}")
    for (old, new), keys in sorted(comparison.changes.items()):
        click.echo(f"{'status':<9}{len(keys):,} {old} -> {new}{_examples(keys)}")
    for name, groups in (("flux", comparison.flux), ("noise", comparison.noise)):
        for magnitude, (n, ratio, worst) in groups.items():
            bin_name = "unknown" if magnitude is None else f"{magnitude}-{magnitude + 1}"
            click.echo(
                f"{name:<9}magnitude {bin_name:<8}{n:>7,} target{'' if n == 1 else 's'}: "
                f"median B/A {ratio:.6f}, farthest from 1 {worst:.2g}"
            )
    click.echo(f"{'time':<9}{comparison.seconds[0]:.4g} s -> {comparison.seconds[1]:.4g} s of work")
    click.echo("alike" if alike else "they differ")
    return 0 if alike else 1


def _examples(keys):
    stars = ", ".join(str(key[0]) for key in keys[:3])
    return f": star {stars}{' …' if len(keys) > 3 else ''}" if keys else ""
