"""Progress of long work: bars on a terminal, nothing in a log file."""


class Bars:
    """One bar per stage of the work. A context manager, and a callable ``(stage, done, total)``.

    Bars are drawn when something was done, not by a thread, so that processes can be forked
    meanwhile.

    Parameters
    ----------
    quiet : bool, nothing on a terminal either
    """

    def __init__(self, quiet=False):
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
        )

        console = Console(stderr=True)
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
        )
        hidden = quiet or not console.is_terminal
        self._rich = (
            None
            if hidden
            else Progress(*columns, console=console, auto_refresh=False, transient=True)
        )
        self._bars = {}

    def __call__(self, stage, done, total):
        """``done`` of ``total`` steps of a stage are finished."""
        if self._rich is None:
            return
        if stage not in self._bars:
            self._bars[stage] = self._rich.add_task(stage, total=total)
        self._rich.update(self._bars[stage], completed=done, total=total, refresh=True)

    def stage(self, name):
        """The callable ``(done, total)`` of one stage."""
        return lambda done, total: self(name, done, total)

    def track(self, things, name, total=None):
        """Iterate over things with a bar; ``total`` of them, where they do not know themselves.
        None: not known.
        """
        total = len(things) if total is None and hasattr(things, "__len__") else total
        for done, thing in enumerate(things, start=1):
            yield thing
            self(name, done, total)

    def __enter__(self):
        if self._rich is not None:
            self._rich.start()
        return self

    def __exit__(self, *exc):
        if self._rich is not None:
            self._rich.stop()
