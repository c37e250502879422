"""``photometry export``: results and light curves for other programs."""

import click

from ._options import todo_path


@click.command()
@click.argument(
    "folder", metavar="DIR", required=False, envvar="TESSPHOT_INPUT", default=".", type=click.Path()
)
@click.argument("table", metavar="TABLE", type=click.Path(dir_okay=False))
@click.option("--light-curves", is_flag=True, help="The light curves, not the results.")
@click.option(
    "--output",
    type=click.Path(file_okay=False),
    help="Folder of the light curves [where the last run wrote].",
)
@click.option(
    "--rows-per-file",
    type=click.IntRange(min=1),
    metavar="N",
    help="Several files, of so many rows each.",
)
def command(folder, table, light_curves, output, rows_per_file):
    """Export the results of a run as one table, with units, for other programs.

    TABLE is the file to write; its ending is the format: .parquet, .ecsv or .csv. Exit code 1: some
    light curves could not be read.
    """
    from ..report.export import lightcurve_table, results_table, write_table

    path = todo_path(folder)
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
    for file in write_table(content, table, rows_per_file=rows_per_file):
        click.echo(file)
    for reason in failed.values():
        click.echo(f"photometry: {reason}", err=True)
    return 1 if failed else 0
