"""``photometry explain``: all that is known of one star."""

import click

from ._options import folder_and_star, json_option, output_option, todo_path


@click.command()
@click.argument("words", metavar="[DIR] STAR", nargs=-1, required=True)
@output_option
@json_option()
@click.option("--html", type=click.Path(dir_okay=False), help="Write a page with the picture, too.")
@click.option(
    "--plot", type=click.Path(dir_okay=False), help="Write the picture of its light curve."
)
def command(words, output, as_json, html, plot):
    """Explain what became of a star, and why: rows, attempts, method, mask, neighbours, file, log.

    STAR is its number; DIR the folder of the TODO-file, by default TESSPHOT_INPUT or this folder.
    Reads only: it can be asked at any time.
    """
    from pathlib import Path

    from ..report.explain import explain, explain_page, lines, to_json
    from ..report.status import output_folder
    from ..taskmanager import open_view

    folder, star = folder_and_star(words)
    with open_view(todo_path(folder)) as view:
        output = output_folder(view.path, output)
        explained = explain(view, output, star)
    files = [row["file"]["path"] for row in explained if row["file"] and not row["file"]["problem"]]
    if plot:
        if not files:
            raise click.UsageError(f"star {star} has no light curve to draw")
        from ..report.plots import plot_file, read_curve

        plot_file(Path(plot), read_curve(files[0]))
    if html:
        explain_page(explained).write(html)
    if as_json:
        click.echo(to_json(explained))
        return
    for number, row in enumerate(explained):
        if number:
            click.echo()
        previous = None
        for name, text in lines(row):
            click.echo(f"{name if name != previous else '':<11}{text}")
            previous = name
