"""``photometry retry``: do failed tasks again, perhaps in another way."""

import click

from ._todo_selection import constraints_of, opened, selection_options, show


@click.command(short_help="Put failed tasks back to do, perhaps with another method or settings.")
@selection_options
@click.option("--method", help="Photometric method for the retry.")
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    help="Setting for these tasks only, as aperture.threshold=0.9 or task_timeout=600; repeatable.",
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
    """Put finished tasks of the TODO-file in DIR (or a TODO-file) back to do, and lose their
    results.

    Without --status these are the tasks with status ERROR. Tasks that took their worker down too
    often are left alone: `photometry reset` brings them back.

    \b
    photometry retry DIR --error-class TargetTimeoutError --set task_timeout=600
    photometry retry DIR --status WARNING --set aperture.threshold=1.2
    photometry retry DIR --status WARNING --tmag-max 8 --method halo --dry-run
    """
    from ..taskmanager.selection import select_tasks

    settings, constraints = _nested(settings), constraints_of(constraints)
    _check_method(method)
    with opened(todo_file, constraints, dry_run=dry_run, steal_lock=steal_lock) as tm:
        tasks = select_tasks(
            tm.conn,
            statuses=statuses or ("ERROR",),
            error_class=error_class,
            message=message,
            set_aside_after=tm.max_attempts,
            **constraints,
        )
        _check_settings(settings, {method or task["method"] for task in tasks})
        if not dry_run:
            tm.retry_tasks([task["priority"] for task in tasks], method=method, settings=settings)
    looked_at = (
        f"tasks with status {' or '.join(statuses or ('ERROR',)).upper()} that were not set aside"
    )
    show(tasks, done="put back to do", dry_run=dry_run, as_json=as_json, looked_at=looked_at)


def _check_method(method):
    """Refuse a method that there is not, before any result is lost."""
    if method is not None:
        from ..methods import get_method

        get_method(method)


def _check_settings(settings, methods):
    """Refuse settings that no task could be done with; those of methods of one's own are known when
    these are loaded.
    """
    from ..errors import SettingsError
    from ..methods import get_method
    from ..settings import photometry_settings

    if not settings:
        return
    for method in methods:
        if method is not None:
            get_method(method)
    others = dict(settings)
    seconds = others.pop("task_timeout", None)
    if seconds is not None and not (
        isinstance(seconds, (int, float)) and 0 < seconds < float("inf")
    ):
        raise SettingsError(f"task_timeout={seconds!r}: expected seconds, more than 0")
    photometry_settings(None, others)


def _nested(texts):
    """``key=value`` texts as a nested dict: the dots in a key separate sections."""
    nested = {}
    for text in texts:
        key, separator, value = text.partition("=")
        *sections, name = key.strip().split(".")
        if not separator or not all([*sections, name]):
            raise click.BadParameter(f"{text!r}: expected KEY=VALUE", param_hint="--set")
        inner = nested
        for section in sections:
            inner = inner.setdefault(section, {})
            if not isinstance(inner, dict):
                raise click.BadParameter(f"{text!r}: {section} has a value", param_hint="--set")
        inner[name] = _value(value.strip())
    return nested


def _value(text):
    """As TOML reads it: numbers, true and false are what they look like."""
    if text in ("true", "false"):
        return text == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
