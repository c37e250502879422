"""A pipeline of your own: copy this file, rename it, and change it. ``photometry events new
my_pipeline.py`` does that.

    photometry events table my_pipeline.py                 # check it
    photometry events run my_pipeline.py FILES             # run it on files
    photometry events run my_pipeline.py -d DIR -m --ncpus 4   # on files as they arrive, with 4
    processes

A primitive is a plain function. It gets the action, whose ``args`` hold what the step before has
found (for the first step the file's ``name``), and the context with the configuration and the
logger. It returns the arguments for the next step. To say that a file

- needs nothing done: raise NothingToDoError("why"),
- should be tried again later: raise TryAgainError("why"),
- is bad: raise anything else; the run goes on with the next file, and the reason is in the report.
"""

from pathlib import Path

import numpy as np
from astropy.io import fits

from photometry.errors import NothingToDoError

event_table = {
    # event: (function, state of the context afterwards, next event); None where there is none
    "next_file": ("measure_image", None, "image_measured"),
    "image_measured": ("write_result", None, None),
}


def pre_measure_image(action, context):
    """Whether `measure_image` is to run at all; a pre-condition is optional, and so is a
    post_measure_image."""
    return Path(action.args.name).is_file()


def measure_image(action, context):
    """The median of the first image in the file."""
    image = fits.getdata(action.args.name)
    if image is None or image.ndim != 2:
        raise NothingToDoError(f"{action.args.name}: no image in its first part")
    action.args.median = float(np.median(image))
    return action.args


def write_result(action, context):
    """One line of text per file."""
    folder = Path(context.config.output_directory)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{Path(action.args.name).stem}.txt"
    path.write_text(f"{action.args.name} {action.args.median}\n")
    context.logger.info("%s: median %g", action.args.name, action.args.median)
    return action.args
