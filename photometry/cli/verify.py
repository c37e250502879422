"""``photometry verify``: are the light curves there and whole?"""

import click

from . import EXIT_FAILED, EXIT_OK
from ._options import (
    folder_argument,
    json_option,
    logging_options,
    output_option,
    steal_lock_option,
    todo_path,
)
from ._progress import Bars

_SHOWN = 10  # leftovers; all of them with --json


@click.command()
@folder_argument("where")
@output_option
@click.option("--reset", is_flag=True, help="Put the targets of bad light curves back to do.")
@click.option("--workers", type=click.IntRange(1), help="Local processes [number of cores].")
@json_option()
@steal_lock_option
@logging_options
def command(where, output, reset, workers, as_json, steal_lock, quiet):
    """Open every light curve that the TODO-file of DIR claims, and list the bad ones.

    Each must be there, decompress, agree with its FITS checksums, be of its star, sector, camera,
    CCD, cadence and method, and have times. Light curves that no target claims, and half-written
    files of killed runs, are named as well; they do no harm and may be removed.

    Nothing is changed without --reset. While a run is working on the TODO-file, this refuses to
    start.

    Exit code 1: bad ones were found.
    """
    from ..report.verify import verify

    with Bars(quiet or as_json) as bars:
        progress = bars.stage("light curves")
        found = verify(
            todo_path(where),
            output=output,
            reset=reset,
            steal_lock=steal_lock,
            workers=workers,
            progress=progress,
        )
    if as_json:
        _show_json(found, reset)
    elif not (quiet and not found.bad):
        _show(found, reset)
    return EXIT_FAILED if found.bad else EXIT_OK


def _show_json(found, reset):
    import dataclasses
    import json

    bad = [{**problem, "reset": reset and problem["reset"]} for problem in found.bad]
    click.echo(
        json.dumps({**dataclasses.asdict(found), "bad": bad, "kinds": found.kinds}, indent=1)
    )


def _show(found, reset):
    click.echo(
        f"{found.output}: {found.checked} light curves checked, {len(found.bad)} of them "
        f"bad{_kinds(found)}"
    )
    for problem in found.bad:
        click.echo(
            f"  priority {problem['priority']}, star {problem['starid']}: {problem['lightcurve']} "
            f"{problem['problem']}"
        )
    if found.without:
        click.echo(
            f"Targets that are OK or WARNING but claim no light curve (done by a handler of your "
            f"own?): {found.without}"
        )
    _show_leftovers(
        found.orphans, f"Light curves in {found.output} that no target of this TODO-file claims"
    )
    _show_leftovers(found.parts, "Half-written files of killed runs, which can be removed")
    if found.bad:
        _tell_what_next(found, reset)


def _kinds(found):
    return (
        f" ({', '.join(f'{number} {kind}' for kind, number in found.kinds.items())})"
        if found.bad
        else ""
    )


def _show_leftovers(paths, message):
    if paths:
        click.echo(f"{message}: {len(paths)}")
    for path in paths[:_SHOWN]:
        click.echo(f"  {path}")
    if len(paths) > _SHOWN:
        click.echo(f"  … and {len(paths) - _SHOWN} more (all of them with --json)")


def _tell_what_next(found, reset):
    number = sum(problem["reset"] for problem in found.bad)
    if reset:
        click.echo(f"Targets to do again: {number}; 'photometry run' makes their light curves anew")
    else:
        click.echo(f"Nothing was changed; targets that --reset puts back to do: {number}")
    if number < len(found.bad):
        click.echo(
            f"Left alone, as the file cannot be read or the target has another outcome by now: "
            f"{len(found.bad) - number}"
        )
