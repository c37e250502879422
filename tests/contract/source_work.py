"""The work on the tasks of `sources`, and its packer: all that the workers import."""

import time

from photometry.status import STATUS

STARS = {"A": 1, "B": 2, "C": 3}  # from bright to faint


def pack_squares(results):
    """The packer of `Packing`."""
    return [(result["number"], result.get("square")) for result in results]


def square(task):
    """The handler of numbers."""
    return {"status": STATUS.OK, "square": task["number"] ** 2}


def measure(task, *, masks, seconds):
    """The handler of stars: takes as long as its task says, and reports the stars in its mask."""
    name = "ABC"[task["starid"] - 1]
    time.sleep(seconds[name])
    held = [STARS[other] for other in masks[name]]
    return {**task, "status": STATUS.OK, "method_used": "test", "details": {"skip_targets": held}}
