"""What made a file: which code, in which state."""

import functools
import subprocess
from pathlib import Path

PACKAGE = Path(__file__).parent


@functools.lru_cache
def commit():
    """The git commit of the code that runs, with ``-dirty`` where it was changed since; None if it
    is no checkout of its own.
    """
    if not _git("ls-files", "--error-unmatch", "__init__.py"):
        return None  # no repository, or one that somebody keeps other things in
    return _git("describe", "--always", "--abbrev=12", "--exclude=*", "--dirty") or None


def _git(*words):
    try:
        done = subprocess.run(
            ["git", "-C", PACKAGE, *words], capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
