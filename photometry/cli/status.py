"""``photometry status``: how far a run is."""

import click


@click.command()
@click.argument("where", metavar="DIR", type=click.Path())
@click.option("--json", "as_json", is_flag=True, help="The summary itself, for programs.")
def command(where, as_json):
    """Show how far the last run is, and why targets failed.

    DIR is the folder of the TODO-file or of the light curves. Reads only the summary: it can be asked at any time.
    """
    import json

    from ..report.status import print_status, read_summary, state

    summary = read_summary(where)
    if as_json:
        click.echo(json.dumps({**summary, "state": state(summary)}, indent=1))
    else:
        print_status(summary)
