"""``photometry plan``: what a run would do and cost."""

import click

from ._options import filters, folder_argument, json_option, settings_option, show_json, todo_path


@click.command()
@folder_argument()
@filters
@settings_option
@click.option(
    "--no-measure", is_flag=True, help="Measure no targets: no costs without earlier results."
)
@json_option()
def command(folder, constraints, settings_file, no_measure, as_json):
    """Say what 'photometry run DIR' would do, what it would leave out and why, and what it would
    cost.

    Costs come from earlier results of the same kind, else from a dozen targets of each kind that
    are measured now, into a folder that is removed again: core-hours as a range, and disk.
    """
    import math

    from ..report.machine import size
    from ..report.plan import plan
    from ..settings import load_settings
    from ..taskmanager import open_view

    path = todo_path(folder)
    default = path.parent / "photometry.toml"
    settings = load_settings(settings_file or (default if default.is_file() else None))
    with open_view(path) as view:
        planned = plan(view, view.path.parent, settings, constraints, measure=not no_measure)
    low, high = planned.core_hours
    if as_json:
        content = {
            "targets": planned.targets, "left_out": planned.left_out,
            "core_hours": None if math.isnan(low) else [low, high],
            "bytes": planned.bytes,
            "kinds": [kind.__dict__ for kind in planned.kinds],
        }  # fmt: skip
        show_json(content)
        return
    for kind in planned.kinds:
        cost = (
            "unknown"
            if math.isnan(kind.seconds)
            else f"{kind.seconds:.3g} ± {kind.error:.2g} s each"
        )
        method = kind.method or "the program's choice"
        click.echo(
            f"{kind.targets:>9,} {kind.datasource}, {kind.cadence} s, {method}: {cost} "
            f"({kind.source})"
        )
        for problem in kind.problems[:3]:
            click.echo(f"{'':10}one of them failed: {problem.splitlines()[0]}")
    for why, number in planned.left_out.items():
        click.echo(f"{number:>9,} left out: {why}")
    if not planned.targets:
        click.echo("nothing to do")
        return
    cost = "unknown" if math.isnan(low) else f"{_hours(low)} to {_hours(high)} of one core"
    click.echo(f"{'':10}time: {cost}")
    disk = "unknown" if math.isnan(planned.bytes) else f"about {size(planned.bytes)}"
    click.echo(f"{'':10}disk: {disk}")


def _hours(hours):
    if hours < 1 / 60:
        return f"{3600 * hours:.2g} s"
    return f"{60 * hours:.2g} min" if hours < 2 else f"{hours:.3g} h"
