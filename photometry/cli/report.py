"""``photometry report``: one page of HTML on a run."""

import click

from ._options import folder_argument, json_option, output_option, show_json, todo_path


@click.command()
@folder_argument()
@output_option
@click.option("--page", type=click.Path(dir_okay=False), help="File to write [OUTPUT/report.html].")
@json_option()
@click.option("--open", "show", is_flag=True, help="Open it in the browser.")
def command(folder, output, page, as_json, show):
    """Write a page on a run: one HTML file that opens offline, on a screen or a phone.

    Summary, workers against time, failures and warnings by cause, where and how bright they are,
    noise against magnitude, methods, slowest targets, and all that is known of each star that is
    named. Also of a run that is under way or was killed; reads only.
    """
    from pathlib import Path

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
