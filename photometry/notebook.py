"""What objects look like in a notebook: one line, or a small table of HTML; numbers of things.

Whatever comes from a file is escaped.
"""

import html
import sys


def counted(number, what):
    """``1 target``, ``2 targets``."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def table(title, pairs):
    """A title and names with values below it, as HTML.

    Parameters
    ----------
    title : str
    pairs : iterable of (name, value)
    """
    rows = "".join(
        f'<tr><td style="text-align:left">{html.escape(str(name))}</td>'
        f'<td style="text-align:left">{html.escape(str(value))}</td></tr>'
        for name, value in pairs
    )
    return f"<table><thead><tr><th colspan=2>{html.escape(title)}</th></tr></thead>{rows}</table>"


class Shown:
    """A class whose objects are shown by what their method ``_shown`` returns.

    ``_shown()`` gives the title, a line that says it all, and a list of (name, value).
    """

    def __repr__(self):
        title, line, _ = self._shown()
        return f"<{title}: {line}>"

    def _repr_html_(self):
        title, _, pairs = self._shown()
        return table(title, pairs)


class Task(Shown, dict):
    """A task as `TaskManager.get_task` gives it: a dict, see "Task" in docs/architecture."""

    def _shown(self):
        line = f"{_label(self)}, {_observed(self)}, magnitude {_number(self.get('tmag'))}"
        method = self.get("method") or "chosen by the target"
        return f"Task {self.get('priority')}", f"{line}, method {method}", list(self.items())


class TargetResult(Shown, dict):
    """A result as `photometry.photometry` gives it: a dict, see "Result" in docs/architecture."""

    def _shown(self):
        details = self.get("details") or {}
        status = getattr(self.get("status"), "name", self.get("status"))
        line = f"{_label(self)}, {status}, {self.get('method_used')}"
        if "mean_flux" in details:
            line += f", {details['mean_flux']:.6g} e-/s"
        pairs = [(name, value) for name, value in self.items() if name != "details"]
        return f"Result {self.get('priority')}", line, [*pairs, *details.items()]


def _label(task):
    from .taskmanager.schema import star_label

    return star_label(task.get("starid"), task.get("datasource"), task.get("cadence"))


def _observed(task):
    return f"sector {task.get('sector')}, {task.get('cadence')} s, {task.get('datasource')}"


def _number(value):
    return "unknown" if value is None else f"{value:.2f}"


def notebook_axes(**figure_options):
    """New axes that a notebook shows below the cell; None where this is no notebook.

    Parameters
    ----------
    **figure_options : see matplotlib's ``subplots``
    """
    ipython = sys.modules.get("IPython")
    if ipython is None or ipython.get_ipython() is None:
        return None
    try:
        from matplotlib import pyplot
    except ImportError:
        return None  # who draws says what is missing
    return pyplot.subplots(layout="constrained", **figure_options)[1]
