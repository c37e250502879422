"""From results to the changes that save them."""

from ..status import STATUS
from .skipping import skip

_SKIPPED = int(STATUS.SKIPPED)


def saving(cursor, results):
    """Changes that save results one after the other: status, diagnostics, attempts, and who is skipped.

    Parameters
    ----------
    cursor : sqlite3.Cursor, rows as tuples
    results : list of result.Result, of tasks that exist

    Returns
    -------
    changes : list, as in `changes.apply`
    errors : list of str or None, the text of the errors of each result
    """
    statuses, diagnostics, attempts, skips, texts = [], [], [], [], []
    for result in results:
        status, errors = result.status, result.errors
        if result.skip_targets:
            of_others, others, is_skipped, error = skip(cursor, result.priority, result.skip_targets)
            statuses += of_others
            skips += others
            status = _SKIPPED if is_skipped else status
            errors = (*errors, error) if error else errors
        text = "\n".join(errors) if errors else None
        statuses.append((status, result.priority))
        diagnostics.append((result.priority, *result.diagnostics, text))
        texts.append(text)
        if result.attempt:
            attempts.append((result.priority, *result.attempt))
    changes = [("status", statuses), ("diagnostics", diagnostics), *skips]
    if attempts:
        changes.append(("attempt", attempts))
    return changes, texts
