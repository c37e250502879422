"""From results to the changes that save them."""

from ..status import STATUS
from .result import NULL
from .skipping import skip

_SKIPPED = int(STATUS.SKIPPED)


def in_turn(results, overtaken):
    """Split results into lists that can be saved together.

    A result that touches other targets goes alone, so that those that come after it meet with what it did. So does one
    of a task that was overtaken: SKIPPED by another result while it was running.
    """
    together = []
    for result in results:
        if result.skip_targets or result.priority in overtaken:
            yield from ([together] if together else [])
            together = []
            yield [result]
        else:
            together.append(result)
    if together:
        yield together


def only_attempt(result):
    """Changes that record the work on a task that was overtaken: it stays SKIPPED, as if it had never begun."""
    return [("attempt", [(result.priority, *result.attempt)])] if result.attempt else []


def saving(cursor, results):
    """Changes that save results: status, diagnostics, attempts, and who is skipped.

    Parameters
    ----------
    cursor : sqlite3.Cursor, rows as tuples
    results : list of result.Result, of tasks that exist; one of `in_turn`'s lists

    Returns
    -------
    changes : list, as in `changes.apply`
    errors : list of str or None, the text of the errors of each result
    """
    statuses, diagnostics, attempts, skips, texts = [], [], [], [], []
    for result in results:
        status, errors = result.status, result.errors
        if result.skip_targets:
            of_others, others, is_skipped, error = skip(
                cursor, result.priority, result.skip_targets
            )
            statuses += of_others
            skips += others
            status = _SKIPPED if is_skipped else status
            errors = (*errors, error) if error else errors
        text = "\n".join(errors) if errors else None
        statuses.append((status, result.priority))
        diagnostics.append((result.priority, *result.diagnostics, NULL if text is None else text))
        texts.append(text)
        if result.attempt:
            attempts.append((result.priority, *result.attempt))
    changes = [("status", statuses), ("diagnostics", diagnostics), *skips]
    if attempts:
        changes.append(("attempt", attempts))
    return changes, texts
