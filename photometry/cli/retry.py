"""``photometry retry``: do failed tasks again, perhaps in another way."""

import click

from ._todo_selection import constraints_of, open_for_selection, selection_options, show


@click.command(short_help="Put failed tasks back to do, perhaps with another method or settings.")
@selection_options
@click.option("--method", help="Photometric method for the retry.")
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    help="Setting for these tasks only; repeatable.",
)
def command(
    todo_file,
    statuses,
    error_class,
    message,
    dry_run,
    as_json,
    steal_lock,
    method,
    settings,
    **constraints,
):
    """Put finished tasks of TODO_FILE (or its folder) back to do, and lose their results.

    Without --status these are the tasks with status ERROR. Tasks that took their worker down too often are left alone:
    `photometry reset` brings them back.

    \b
    photometry retry DIR --error-class TargetTimeoutError --set task_timeout=600
    photometry retry DIR --status WARNING --tmag-max 8 --method halo --dry-run
    """
    from ..taskmanager.cleanup import select_tasks

    settings = dict(_parse_setting(text) for text in settings)
    with open_for_selection(todo_file, dry_run=dry_run, steal_lock=steal_lock) as tm:
        tasks = select_tasks(
            tm.conn,
            statuses=statuses or ("ERROR",),
            error_class=error_class,
            message=message,
            quarantined_after=tm.max_attempts,
            **constraints_of(constraints),
        )
        if dry_run:
            tm.discard()
        else:
            tm.retry_tasks([task["priority"] for task in tasks], method=method, settings=settings)
    looked_at = (
        f"tasks with status {' or '.join(statuses or ('ERROR',)).upper()} that were not set aside"
    )
    show(tasks, done="put back to do", dry_run=dry_run, as_json=as_json, looked_at=looked_at)


def _parse_setting(text):
    """``key=value``; the value is read as TOML reads it: numbers, true and false are what they look like."""
    key, separator, value = text.partition("=")
    if not separator or not key.strip():
        raise click.BadParameter(f"{text!r}: expected KEY=VALUE", param_hint="--set")
    return key.strip(), _value(value.strip())


def _value(text):
    if text in ("true", "false"):
        return text == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
