"""``photometry export``: results and light curves for other programs."""

import click

from ._options import default_folder, json_option, output_option, show_json, todo_path


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
def command(words, light_curves, output, as_json, rows_per_file):
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
