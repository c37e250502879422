"""``photometry reset``: do tasks again as if they had never been tried."""

import click

from ._todo_selection import constraints_of, opened, selection_options, show


@click.command(
    short_help="Put tasks back to do as if they had never been tried, also those set aside."
)
@selection_options
@click.option("--all", "everything", is_flag=True, help="Reset all tasks that were touched.")
def command(
    todo_file,
    statuses,
    error_class,
    message,
    dry_run,
    as_json,
    steal_lock,
    everything,
    **constraints,
):
    """Put tasks of the TODO-file in DIR (or a TODO-file) back to do: results, method and settings
    of a retry and used-up attempts are gone.

    Say which ones, or --all. Light-curve files stay until they are written anew.

    \b
    photometry reset DIR --message "took its worker down"
    photometry reset DIR --starid 25155310
    """
    from ..taskmanager.selection import select_tasks

    chosen = constraints_of(constraints)
    if not (everything or statuses or error_class or message or chosen):
        raise click.UsageError(
            "say which tasks (--status, --error-class, --message, --starid, …), or --all"
        )
    with opened(todo_file, chosen, dry_run=dry_run, steal_lock=steal_lock) as tm:
        options = {"statuses": statuses, "error_class": error_class, "message": message}
        tasks = select_tasks(tm.conn, **options, changed=True, **chosen)
        if not dry_run:
            tm.reset_tasks([task["priority"] for task in tasks])
    looked_at = (
        f"tasks with status {' or '.join(statuses).upper()}"
        if statuses
        else "all tasks that were touched"
    )
    show(tasks, done="reset", dry_run=dry_run, as_json=as_json, looked_at=looked_at)
