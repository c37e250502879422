"""``transit_search_*``: search a light curve for transits; whether they are the injected ones is a
result, not a failure."""

import inspect
import math

from ..tasktype import Setting, TaskType

OUTCOMES = ("PASS", "FAIL", "UNDEFINED")


def _search_settings(name):
    """A function that returns the settings of a search, which is imported when it is called."""

    def names():
        from ..searches import SEARCHES

        parameters = inspect.signature(SEARCHES[name]).parameters.values()
        return [
            item.name
            for item in parameters
            if item.kind is item.KEYWORD_ONLY and item.name != "threads"
        ]

    return names


def _settings(name):
    return {
        "lc_duration": Setting("number", "d; only 0 <= t < lc_duration is searched", required=True),
        "search_settings": Setting(
            "dict", "settings of the search", default={}, keys=_search_settings(name)
        ),
    }


class TransitSearch(TaskType):
    """What the searches share."""

    inputs = ("lightcurve",)

    def run(self, task):
        from ..searches import run_search

        lc = task.lightcurve()
        return run_search(
            self.name, lc, task.setting("lc_duration"), task.setting("search_settings"), threads=1
        )

    def qc(self, task, results):
        """The results are complete, and the period lies within what was searched."""
        found = []
        period = results.get("period")
        if period is None or math.isinf(period) or period < 0:
            found.append(f"period={period!r}, expected days, NaN or 0 where nothing was found")
        elif period > task.setting("lc_duration"):
            found.append(
                f"period={period:g} d, longer than the {task.setting('lc_duration'):g} d searched"
            )
        else:
            low = task.setting("search_settings").get("period_min") or 0
            if 0 < period < 0.99 * low:
                found.append(f"period={period:g} d, shorter than period_min={low:g} d")
        if results.get("outcome") not in OUTCOMES:
            found.append(
                f"outcome={results.get('outcome')!r}, expected one of {', '.join(OUTCOMES)}"
            )
        return found


class TransitSearchTls(TransitSearch):
    """Transit least squares."""

    settings = _settings("transit_search_tls")
    containers = ("eas_worker_tls",)


class TransitSearchBlsReference(TransitSearch):
    """Box least squares on astropy's grid."""

    settings = _settings("transit_search_bls_reference")
    containers = ("eas_worker_bls_reference",)


class TransitSearchBlsKovacs(TransitSearch):
    """Box least squares as Kovács wrote it."""

    settings = _settings("transit_search_bls_kovacs")
    containers = ("eas_worker_bls_kovacs",)


class TransitSearchQats(TransitSearch):
    """Quasi-periodic transits; the output ``debugging``, where it is named, holds the table of all
    trials."""

    settings = _settings("transit_search_qats")
    containers = ("eas_worker_qats",)
    optional_outputs = ("debugging",)

    def run(self, task):
        results = super().run(task)
        if task.has_output("debugging"):
            from ...transits import quasi_periodic_search

            cut = task.lightcurve().truncate_to_length(task.setting("lc_duration"))
            search = quasi_periodic_search(cut, **task.setting("search_settings"), threads=1)
            path = task.folder / "debugging.tar.gz"
            search.write_debugging(path)
            task.add_output("debugging", path)
        return results
